//! The races of files that are borrowed from a server, under thousands of schedules each. Run with
//! `cargo xtask test shuttle`.
//!
//! Every harness runs the real code against a model of a server and its disk, and then a [`sketch`] of
//! it, a few lines with one deliberate mistake, on which the same checks must fail in some schedules: a
//! check that cannot fail is not a check.
#![cfg(shuttle)]

mod door;
#[path = "../../../netns/tests/races/harness.rs"]
mod harness;
mod recall;
mod restart;
mod sketch;
mod world;
