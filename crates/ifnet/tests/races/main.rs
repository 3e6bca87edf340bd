//! The races that this crate exists to exclude, under thousands of schedules each. Run with
//! `cargo xtask test shuttle`.
//!
//! Every harness runs the real code, and then a [`sketch`] of it, a few lines with one deliberate
//! mistake, on which the same checks must fail in some schedules: a check that cannot fail is not a
//! check.
#![cfg(shuttle)]

mod capture;
#[path = "../../../netns/tests/races/harness.rs"]
mod harness;
mod inbox;
mod lagg;
mod outbox;
mod pair;
mod request;
mod sketch;
// What the tests of the pool need besides.
#[allow(dead_code)]
#[path = "../../../pool/tests/races/stand.rs"]
mod stand;
mod world;
