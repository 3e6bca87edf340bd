//! Wires with real sockets and, as root, with a real kernel at the other end.
#![cfg(not(any(shuttle, loom)))]

mod dgram;
mod framing;
mod packet;
mod stream;
mod tap;
mod world;
