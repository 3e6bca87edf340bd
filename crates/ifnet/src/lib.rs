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

pub mod aggregation;
mod attic;
pub mod capture;
pub mod cidr;
pub mod counters;
pub mod driver;
mod ends;
pub mod ether;
pub mod event;
pub mod flags;
pub mod frame;
mod inbox;
pub mod interface;
pub mod lacp;
pub mod lagg;
pub mod life;
pub mod lo;
pub mod name;
mod names;
pub mod offload;
pub mod pair;
pub mod receiver;
pub mod request;
mod spare;
pub mod stack;
mod subsystem;
mod tenant;
pub mod wire;
mod wire_driver;
pub mod wires;

pub use capture::Capture;
pub use cidr::Cidr;
pub use counters::{CounterValues, Counters, DropReason};
pub use driver::{Cloner, Driver, DriverError};
pub use ends::{DestroyError, Leaving};
pub use ether::MacAddress;
pub use event::{LinkChange, LinkEvent};
pub use flags::{Flags, LinkState, Media};
pub use frame::{Frame, Frames};
pub use interface::Interface;
pub use life::{CreateError, MoveError, NewInterface};
pub use name::IfName;
pub use receiver::{Receiver, Tap, Way};
pub use request::{Reply, Request, RequestError};
pub use subsystem::IfnetSubsystem;
pub use tenant::NsInterfaces;
pub use wire::Wire;
pub use wire_driver::WireDriver;
