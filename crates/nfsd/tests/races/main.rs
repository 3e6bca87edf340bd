//! The races of the file cache, under thousands of schedules each. Run with
//! `cargo xtask test shuttle`.
//!
//! Every harness runs the real code on files that know what became of them, and then a [`sketch`]
//! of it, a few lines with one deliberate mistake, on which the same checks must fail in some
//! schedules: a check that cannot fail is not a check.
#![cfg(shuttle)]

mod commit;
mod disposal;
mod flushing;
mod glances;
#[path = "../../../netns/tests/races/harness.rs"]
mod harness;
mod lender;
mod lender_sketch;
mod lending;
mod opening;
mod readers;
mod readers_sketch;
mod real;
mod sketch;
mod world;
