//! Link aggregation: several interfaces, the ports, that are one.
//!
//! A lagg is driven by its ports. What it knows is in its driver and nowhere else: a port's frames reach
//! it by a [`Receiver`](crate::Receiver) that holds the lagg weakly, its clock by a source of the pool
//! that does, and what happens to the ports by a notifier. So when a lagg goes, all of it goes.
//!
//! **Locks.** What is configured changes under the configuration lock of the namespace. LACP changes
//! whenever a LACPDU comes or time passes, so the driver has a lock of its own for both. Who carries
//! frames takes neither: what there is to know for it is made anew with each change, and shared.
//!
//! **Ports** come and go while frames do. The first one gives the lagg its MTU, unless that was set. The
//! MAC address is the lagg's own, whatever ports it has: peers would go on sending to one that it had before
//! until they ask again, because what it tells them when that changes may be lost with the port that fails.
//! Each port takes over both, and has its own back when it leaves.

pub mod distribution;
mod driver;
pub mod hash;
mod membership;
mod plan;
mod port;
mod state;
mod watch;

pub use distribution::{Choice, Distribution, MOST_PORTS, Member};
pub use driver::NewLagg;
pub use hash::FlowHash;
pub(crate) use watch::Watch;
