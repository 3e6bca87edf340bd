//! The admin API and the command line on servers that run as programs of their own, and the parts
//! that can be tried alone.

mod api;
mod cli;
mod metrics;
mod monitor;
mod running;
mod socket;
mod top;
#[allow(dead_code, reason = "its server is not used here, its client is")]
#[path = "../it/world.rs"]
mod world;
