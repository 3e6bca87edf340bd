//! A registry of network namespaces whose parts come and go while everything is in use.
//!
//! A [`Namespace`] is a name and whatever the registered [subsystems](Subsystem) keep in it. It is
//! created with all of them or not at all; it is used by [entering](Namespace::enter) it; it is
//! removed, with many others if need be, while threads are inside. When
//! [`remove`](Registry::remove) returns `Ok`, nobody is, and nothing is left.
//!
//! ```
//! use holm_lifetime::Deadline;
//! use holm_netns::{Held, InitError, Registry, Subsystem, View};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! /// Counts requests, in every namespace by itself.
//! struct Requests;
//!
//! impl Subsystem for Requests {
//!     type State = AtomicU64;
//!
//!     fn name(&self) -> &str {
//!         "requests"
//!     }
//!
//!     fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<AtomicU64, InitError> {
//!         Ok(AtomicU64::new(0))
//!     }
//!
//!     fn exit(&self, ns: &View<'_>, requests: AtomicU64) {
//!         // By value: nobody else has it.
//!         println!("{}: {} requests", ns.namespace().id(), requests.into_inner());
//!     }
//! }
//!
//! let registry = Registry::new()?;
//! registry.register(Requests)?;
//! let blue = registry.create("blue")?;
//!
//! let inside = registry.enter("blue").expect("live");
//! inside.get::<Requests>().expect("registered").fetch_add(1, Ordering::Relaxed);
//!
//! // Somebody is inside, so it is not gone by now; but its name is free.
//! registry.remove([&blue], Deadline::now()).unwrap_err();
//! let second = registry.create("blue")?;
//! assert_eq!(registry.list().len(), 2);
//!
//! drop(inside);
//! blue.wait_gone(Deadline::Never).expect("nobody is inside");
//! registry.remove([&second], Deadline::Never).expect("nobody is inside");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who does what on which thread
//!
//! | | takes | calls back |
//! |---|---|---|
//! | [`find`](Registry::find), [`enter`](Registry::enter), [`get`](Contents::get) | no lock | |
//! | [`create`](Registry::create) | `Pernet`, then `Rtnl` to list it | `init`, in order, holding `Pernet` |
//! | [`remove`](Registry::remove) | `Pernet` and `Rtnl` to unlist it, then nothing | `pre_exit`, `exit`, in reverse, holding nothing |
//! | [`register`](Registry::register), [`unregister`](Registry::unregister) | `Pernet` | `init`; `pre_exit`, `exit` holding nothing |
//! | [`request`](Namespace::request) | the namespace's `NsRtnl`, if it is free | the request, on whichever thread unlocks |
//! | [`Chain::register`](notifier::Chain::register) | `Rtnl`, then each `NsRtnl` | the notifier |
//!
//! One thread per registry does what its callers may not do where they are: requests that came while
//! an unlocker still held another level, and tear-downs whose last user left where nobody waits.
//!
//! # Contents and generations
//!
//! What is inside a namespace never changes; it is replaced. Registering a subsystem publishes
//! contents with one state more, unregistering with one less, removal publishes none. The
//! [gate](holm_lifetime::Gate) of the old contents is shut and drains in its own time, and then what
//! left with them is handed to `exit` **by value**. `tests/` runs all of this under
//! [shuttle](https://docs.rs/shuttle), next to variants with one mistake in them.

mod control;
mod events;
mod list;
mod name;
mod namespace;
pub mod notifier;
mod registry;
mod subsystem;
mod table;
mod teardown;
mod worker;

pub use control::{InNs, NsGuard, Pending, REQUESTS_PER_UNLOCK, RequestError, TwoNsGuard};
pub use events::{Callback, Event, Events, Failed, Heard};
pub use list::{HoldsNsList, NsList};
pub use name::{NAME_MAX, NameError, NsId, NsName};
pub use namespace::{Inside, Namespace, NsState};
pub use registry::{CreateError, Listed, RegisterError, Registry, RemoveError, UnregisterError};
pub use subsystem::{Contents, Held, InitError, Subsystem, View};
pub use teardown::Draining;
