//! Link aggregation: several ports that are one interface.

pub mod distribution;
pub mod hash;

pub use distribution::{Choice, Distribution, MOST_PORTS, Member};
pub use hash::FlowHash;
