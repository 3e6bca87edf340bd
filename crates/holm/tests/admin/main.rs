//! The admin API and the command line on servers that run as programs of their own, and the parts
//! that can be tried alone.

mod api;
mod cli;
#[path = "../it/door.rs"]
mod door;
mod links;
mod local;
mod metrics;
mod monitor;
mod running;
mod socket;
mod stuck;
mod top;
#[path = "../it/world.rs"]
mod world;
