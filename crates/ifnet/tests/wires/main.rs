//! Wires with real sockets and, as root, with a real kernel at the other end.
#![cfg(not(any(shuttle, loom)))]

mod dgram;
mod framing;
mod hosts;
mod interfaces;
mod packet;
mod stream;
mod tap;
#[allow(dead_code)] // Other tests use more of it.
#[path = "../it/world.rs"]
mod tenants;
mod world;
