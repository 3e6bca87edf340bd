//! Interfaces with real threads.
#![cfg(not(any(shuttle, loom)))]

mod bonding;
mod capture;
mod events;
mod lagg;
mod life;
mod names;
mod offload;
mod pair;
mod requests;
#[path = "../support/sockets.rs"]
mod sockets;
mod wire;
mod world;
