//! What stands in for epoll, and a pool over it.

use holm_netns::{Contents, Namespace, Registry};
use holm_pool::{Config, Event, Interest, Next, NsPool, Poller, Pool, PoolSubsystem, Source, Turn};
use shuttle::sync::{Arc, Condvar, Mutex};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// Events happen when a test says so, and time passes when it says so.
#[derive(Clone)]
pub struct Stand(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    base: Instant,
}

#[derive(Default)]
struct State {
    added: BTreeMap<RawFd, u64>,
    events: Vec<Event>,
    /// Several wake-ups may be told as one.
    woken: bool,
    time: Duration,
}

impl Stand {
    pub fn new() -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { state, changed, base: Instant::now() }))
    }

    /// The descriptors become ready, all at once.
    pub fn ready(&self, fds: &[RawFd]) {
        let mut state = self.0.state.lock().unwrap();
        for fd in fds {
            if let Some(&token) = state.added.get(fd) {
                state.events.push(Event { token, hung_up: false });
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    pub fn advance(&self, by: Duration) {
        self.0.state.lock().unwrap().time += by;
        self.0.changed.notify_all();
    }

    pub fn added(&self) -> usize {
        self.0.state.lock().unwrap().added.len()
    }
}

impl Poller for Stand {
    fn add(&self, fd: BorrowedFd<'_>, _: Interest, token: u64) -> io::Result<()> {
        self.0.state.lock().unwrap().added.insert(fd.as_raw_fd(), token);
        Ok(())
    }

    fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.state.lock().unwrap().added.remove(&fd.as_raw_fd());
        Ok(())
    }

    fn wait(&self, timeout: Option<Duration>, each: &mut dyn FnMut(Event)) -> io::Result<()> {
        let mut state = self.0.state.lock().unwrap();
        let end = timeout.map(|timeout| state.time + timeout);
        while state.events.is_empty() && !state.woken && end.is_none_or(|end| state.time < end) {
            state = self.0.changed.wait(state).unwrap();
        }
        let mut events = std::mem::take(&mut state.events);
        if std::mem::take(&mut state.woken) {
            events.push(Event::WOKEN);
        }
        drop(state);
        events.into_iter().for_each(each);
        Ok(())
    }

    fn wake(&self) {
        self.0.state.lock().unwrap().woken = true;
        self.0.changed.notify_one();
    }

    fn now(&self) -> Instant {
        self.0.base + self.0.state.lock().unwrap().time
    }
}

/// A pool and namespaces.
pub struct World {
    pub stand: Stand,
    pub registry: Registry,
    pub pool: Pool,
}

impl World {
    pub fn new(workers: usize) -> Self {
        let stand = Stand::new();
        let config = Config { workers, tick: None, calm_ticks: 1, ..Config::default() };
        let pool = Pool::start_over(config, stand.clone()).unwrap();
        let registry = Registry::new().unwrap();
        registry.register(pool.subsystem()).unwrap();
        Self { stand, registry, pool }
    }

    /// Ends everything, in order.
    pub fn end(&self) {
        self.registry.remove_all(holm_lifetime::Deadline::Never).unwrap();
        assert_eq!(self.stand.added(), 0, "a descriptor is still waited for");
        self.pool.stop();
    }
}

pub fn in_pool<R>(ns: &Namespace, f: impl FnOnce(&NsPool) -> R) -> R {
    let inside = ns.enter().unwrap();
    let contents: &Contents = &inside;
    f(contents.get::<PoolSubsystem>().unwrap())
}

/// A source that does what a test says.
pub struct Does<F> {
    fd: Option<std::fs::File>,
    run: F,
}

pub fn does<F>(run: F) -> Arc<dyn Source>
where
    F: Fn(&Turn<'_>) -> Next + Send + Sync + 'static,
{
    Arc::new(Does { fd: None, run })
}

/// The same, with a descriptor, and its number.
pub fn does_on_event<F>(run: F) -> (Arc<dyn Source>, RawFd)
where
    F: Fn(&Turn<'_>) -> Next + Send + Sync + 'static,
{
    let fd = std::fs::File::open("/dev/null").unwrap();
    let number = fd.as_raw_fd();
    (Arc::new(Does { fd: Some(fd), run }), number)
}

impl<F: Fn(&Turn<'_>) -> Next + Send + Sync + 'static> Source for Does<F> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        (self.run)(turn)
    }
}
