//! The client against a server in this process, and against one that is wrong.
#![cfg(not(shuttle))]

mod door;
mod fake_door;
mod faults;
mod files;
mod mounting;
mod proxy;
mod server_door;
mod trees;
mod world;
