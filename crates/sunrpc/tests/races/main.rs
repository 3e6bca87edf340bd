//! The races between a listener and who closes it, under thousands of schedules. Run with
//! `cargo xtask test shuttle`.
//!
//! The real server runs over a [`stand`]-in for epoll, with sockets of the kernel; then a sketch of it
//! with one deliberate mistake, on which the same checks must fail in some schedules.
#![cfg(shuttle)]

mod close;
#[path = "../../../netns/tests/races/harness.rs"]
mod harness;
#[path = "../../../pool/tests/races/stand.rs"]
#[allow(dead_code)]
mod stand;
