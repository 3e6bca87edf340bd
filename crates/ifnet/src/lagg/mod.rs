//! Link aggregation: several ports that are one interface.

pub mod distribution;
pub mod hash;

pub use distribution::{Choice, Distribution, Member, Protocol};
pub use hash::{FlowHash, Layers};
