//! One pool of worker threads that serves the event sources of many namespaces, each its share.
//!
//! A [`Source`] is a connection, a listener, an interface: something that has work now and then. It
//! belongs to a [namespace](holm_netns::Namespace), and is run by one worker at a time when its
//! descriptor becomes ready, when somebody [wakes](Handle::wake) it, or when its
//! [time](Handle::wake_at) has come.
//!
//! ```
//! use holm_lifetime::Deadline;
//! use holm_netns::Registry;
//! use holm_pool::{Config, Next, Pool, PoolSubsystem, Source, Turn};
//! use std::io::{Read, Write};
//! use std::os::fd::{AsFd, BorrowedFd};
//! use std::os::unix::net::UnixStream;
//! use std::sync::Arc;
//!
//! /// Sends back what comes.
//! struct Echo(UnixStream);
//!
//! impl Source for Echo {
//!     fn fd(&self) -> Option<BorrowedFd<'_>> {
//!         Some(self.0.as_fd())
//!     }
//!
//!     fn run(&self, turn: &Turn<'_>) -> Next {
//!         let mut buffer = turn.scratch::<Vec<u8>>();
//!         buffer.resize(4096, 0);
//!         while turn.left() > 0 {
//!             match (&self.0).read(&mut buffer) {
//!                 Ok(0) => return Next::Done,
//!                 Ok(n) if (&self.0).write_all(&buffer[..n]).is_ok() => turn.charge(1),
//!                 Ok(_) => return Next::Done,
//!                 Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Next::Idle,
//!                 Err(_) => return Next::Done,
//!             }
//!         }
//!         Next::More
//!     }
//! }
//!
//! let pool = Pool::start(Config::default())?;
//! let registry = Registry::new()?;
//! registry.register(pool.subsystem())?;
//! let blue = registry.create("blue")?;
//!
//! let (mut ours, theirs) = UnixStream::pair()?;
//! theirs.set_nonblocking(true)?;
//! let inside = blue.enter().expect("live");
//! inside.get::<PoolSubsystem>().expect("registered").add(Arc::new(Echo(theirs)))?;
//! drop(inside);
//!
//! ours.write_all(b"hello")?;
//! let mut answer = [0; 5];
//! ours.read_exact(&mut answer)?;
//! assert_eq!(&answer, b"hello");
//!
//! registry.remove([&blue], Deadline::Never).expect("no turn lasts");
//! assert_eq!(ours.read(&mut answer)?, 0, "the other end is closed");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What happens to an event
//!
//! All workers wait on one epoll, edge-triggered: each change of a descriptor is told to one of them,
//! and nothing is said to the kernel between one event and the next. If it is the only event and
//! nothing else waits, that worker runs the source there and then. Otherwise the source goes to its
//! namespace's list. The lists are served in turn, a bounded number of requests at a time, those of
//! namespaces that were quiet first; so one namespace's flood delays another by a turn, not by the
//! flood.
//!
//! # Calls that block
//!
//! What touches a file is called within [`Turn::may_block`]. A watchdog notices a worker that waits
//! in one such call, rather than for a CPU: another takes its place, so that as many as configured are always free, and the
//! namespace counts as slow. A second group of workers, bounded in all and for each namespace, serves
//! those that are slow; their work waits in their own lists. A namespace in which nothing was stuck for a while is fast
//! again. [`NsPool::spawn`] has a job run under the same rules.
//!
//! [`NsPool::limit_turns`] bounds how many workers the sources of a namespace occupy at a time, slow
//! or not.
//!
//! # The end
//!
//! The pool is a [subsystem](holm_netns::Subsystem). A worker is inside the namespace for as long as a
//! turn lasts, and a job from the moment it is accepted; so when the namespace has drained no thread
//! runs anything of it. `pre_exit` tells each source that it is [closing](Source::closing) and takes it
//! out, `exit` sweeps what some worker had picked up and could not run. After that no source, no
//! descriptor, no deadline and no job of the namespace is left.
//!
//! # Where to read on
//!
//! `slots` is how a source is found and who may run it; `lists` whose turn it is, and `limit` who waits
//! for the end of another; `worker` the loop that brings the two together; `staff` and `watchdog` what
//! happens when a worker is stuck.
//! `tests/races` runs all of it under [shuttle](https://docs.rs/shuttle), next to sketches with one
//! mistake in them.

#![forbid(unsafe_code)]

mod limit;
mod lists;
mod poller;
mod pool;
mod report;
mod running;
mod slots;
mod source;
mod staff;
mod tenant;
mod timers;
mod turn;
mod watchdog;
mod worker;

pub use poller::{Epoll, Event, Poller};
pub use pool::{Config, Metrics, Pool};
pub use report::Report;
pub use source::{Interest, Next, Source};
pub use staff::Workers;
pub use tenant::{AddError, Handle, NsMetrics, NsPool, PoolSubsystem, SpawnError};
pub use turn::{Bracket, Scratch, Turn};
