//! The stacks of namespaces: over cables between namespaces, and with a real kernel as the peer.
#![cfg(not(any(shuttle, loom)))]

mod cables;
mod kernel;
mod world;
