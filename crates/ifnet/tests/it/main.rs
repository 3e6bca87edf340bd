//! Interfaces with real threads.
#![cfg(not(any(shuttle, loom)))]

mod events;
mod life;
mod pair;
mod requests;
mod wire;
mod world;
