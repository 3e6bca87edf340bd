//! Network interfaces that live and die inside the namespaces of one process.
//!
//! An interface is made by the cloner of its kind, belongs to one namespace, and can be asked,
//! reconfigured, unplugged and destroyed at any instant by several parties at once. What leads out of
//! the process is a [`Wire`].

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod ether;
pub mod frame;
pub mod wire;

pub use ether::MacAddress;
pub use frame::{Frame, Frames};
pub use wire::Wire;
