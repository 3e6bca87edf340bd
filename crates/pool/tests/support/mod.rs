//! A pool, namespaces, and sources on socket pairs.
#![allow(dead_code)]

use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_pool::{Config, Handle, Interest, Next, Pool, PoolSubsystem, Source, Turn};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A pool and namespaces.
pub struct World {
    pub registry: Registry,
    pub pool: Pool,
}

impl World {
    pub fn new(config: Config) -> Self {
        let pool = Pool::start(config).expect("threads");
        let registry = Registry::new().expect("a thread");
        registry.register(pool.subsystem()).expect("it refuses nothing");
        Self { registry, pool }
    }

    pub fn create(&self, name: &str) -> Namespace {
        self.registry.create(name).expect("a new name")
    }

    pub fn remove(&self, ns: &Namespace) {
        self.registry.remove([ns], Deadline::Never).expect("no deadline");
    }
}

pub fn add(ns: &Namespace, source: Arc<dyn Source>) -> Handle {
    let inside = ns.enter().expect("live");
    inside.get::<PoolSubsystem>().expect("registered").add(source).expect("room")
}

/// Our end of a connection to an [`Echo`] in `ns`.
pub fn connect(ns: &Namespace) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("descriptors");
    theirs.set_nonblocking(true).expect("possible");
    add(ns, Arc::new(Echo(theirs)));
    ours
}

/// Sends back what comes, each byte a request; dies of 0xff.
pub struct Echo(pub UnixStream);

impl Source for Echo {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn interest(&self) -> Interest {
        Interest::Read
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let mut buffer = [0; 64];
        while turn.left() > 0 {
            let room = buffer.len().min(turn.left() as usize);
            match (&self.0).read(&mut buffer[..room]) {
                Ok(0) => return Next::Done,
                Ok(n) => {
                    assert!(!buffer[..n].contains(&0xff), "the one that it dies of");
                    if (&self.0).write_all(&buffer[..n]).is_err() {
                        return Next::Done;
                    }
                    turn.charge(n as u32);
                    if n < room && !turn.hung_up() {
                        return Next::Idle;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                Err(_) => return Next::Done,
            }
        }
        Next::More
    }
}

/// A source that does what a test says.
pub struct Does<F>(pub F);

impl<F: Fn(&Turn<'_>) -> Next + Send + Sync + 'static> Source for Does<F> {
    fn run(&self, turn: &Turn<'_>) -> Next {
        (self.0)(turn)
    }
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Waits until this process has no more than `most` threads. One that has been joined is still
/// listed for a moment, and one that a pool or a registry has no more use for ends by itself.
///
/// # Panics
///
/// When they don't end however often it looks. The message has the names of those that are there.
pub fn threads_settle(most: usize) {
    settles(|| {
        let threads = threads();
        if threads.len() <= most {
            return Ok(());
        }
        Err(format!("{} threads, {most} at most should be left: {threads:?}", threads.len()))
    });
}

/// The names of the threads of this process.
fn threads() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/task").expect("/proc");
    all.map(|thread| {
        let name = std::fs::read_to_string(thread.expect("/proc").path().join("comm"));
        name.map_or("(just ended)".into(), |name| name.trim_end().into())
    })
    .collect()
}

/// Waits for what comes about by itself: looks until it is so, and lets others run in between.
///
/// # Panics
///
/// With the last answer, when it was not so at any of so many looks that it will never be.
pub fn settles(mut is_so: impl FnMut() -> Result<(), String>) {
    const LOOKS: u32 = 100_000;
    for _ in 1..LOOKS {
        if is_so().is_ok() {
            return;
        }
        std::thread::yield_now();
    }
    if let Err(why) = is_so() {
        panic!("{why}");
    }
}
