//! Objects that may be retired while in use.
//!
//! A server that creates and destroys its parts under load has one hard question to answer, over
//! and over: *may this be freed now?* This crate answers it with types. What others may be using is
//! destroyed by whoever gets it **by value**, and it comes by value only when nobody uses it.
//!
//! | | to use it | to end it | for |
//! |---|---|---|---|
//! | [`Owner`] | [`Ref`]: one counter, as `Arc` | [`Owner::retire`], [`Retired::wait`] | things that are configured, asked, destroyed |
//! | [`Gate`] | [`Pass`]: a counter for every thread | [`Gate::close`], [`Gate::drained`], [`Gate::take`] | what every request goes through |
//! | [`Published`] | [`grace::Section`]: nothing counted | [`Published::replace`], [`grace::synchronize`] | what is looked up all the time |
//!
//! ```
//! use holm_lifetime::{Deadline, Owner};
//!
//! let owner = Owner::new(String::from("driver state"));
//! owner.track(true);
//! let weak = owner.downgrade();
//!
//! let in_use = weak.upgrade().expect("live");
//! let retired = owner.retire();
//! assert!(weak.upgrade().is_none(), "no new reference from here on");
//! assert!(in_use.again().is_none());
//!
//! // Somebody holds it still; the answer says who.
//! let still = retired.wait(Deadline::now()).unwrap_err();
//! assert_eq!(still.held.holders.len(), 1);
//! println!("{still}"); // held 1 time: from src/driver.rs:31:20 for 0.002 s (thread main)
//!
//! drop(in_use);
//! let state: String = still.retired.wait(Deadline::Never).expect("nobody holds it");
//! drop(state); // destroying takes the value, not a reference
//! ```
//!
//! # The pieces
//!
//! - [`owner`]: one owner, counted references, holders by name.
//! - [`gate`]: the same for hot paths, counted in a lane for every thread.
//! - [`grace`]: grace periods; [`published`]: pointers that are read without a lock.
//! - [`levels`]: the lock order, as types.
//! - [`sync`]: the one place that names std, parking_lot, loom and shuttle.
//!
//! # Waiting
//!
//! The calls that wait take a [`Deadline`] and no lock token: nobody waits while holding a lock
//! [level](levels). A callback (`on_drained`) runs on the thread that lets go last, which may be any,
//! and only enqueues.
//!
//! # How it is checked
//!
//! `tests/loom.rs` runs these very types under [loom](https://docs.rs/loom) through every
//! interleaving and memory ordering of the protocols that matter, each beside a variant with one
//! mistake in it that the same test must find.

mod barrier;
mod counters;
pub mod gate;
pub mod grace;
pub mod holders;
mod lane;
pub mod levels;
mod notes;
pub mod owner;
pub mod published;
pub mod sync;
mod vault;

/// For sketches that the model of the barrier is to find wrong.
#[cfg(loom)]
#[doc(hidden)]
pub use barrier::Reach;
pub use barrier::prepare;
pub use gate::{Gate, Pass};
pub use holders::{Held, Holder};
pub use owner::{Owner, Ref, Retired, StillHeld, WeakRef};
pub use published::{Outgoing, Published};
pub use sync::Deadline;
