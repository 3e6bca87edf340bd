//! The file caches of all namespaces: who closes their files, who hears of changes, who grows old.
//!
//! [`start`] gives the subsystem, to be registered after the pool, and a keeper: one thread of the
//! process that has the collector run every second and the watcher whenever the kernel has a notice.
//! Neither blocks; files are closed by the pool, as jobs of their namespace.

use anyhow::{Context, Result};
use holm_netns::Namespace;
use holm_nfsd::cache::{Caches, Clock, Job, Limits, Object, Watcher, Worker};
use holm_pool::PoolSubsystem;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Makes the caches, for as many files as the process may have open, and starts their keeper.
pub fn start() -> Result<(Caches<Object>, Keeper)> {
    raise_descriptor_limit();
    let watcher = Watcher::new().unwrap_or_else(|error| {
        tracing::info!(%error, "changes behind our back are not told: files are asked instead");
        Watcher::refusing()
    });
    let caches = Caches::new(Limits::of_process(), watcher, Clock::monotonic(), ByThePool);
    let keeper = Keeper::start(caches.clone())?;
    Ok((caches, keeper))
}

/// Has a namespace's files closed by the pool, as a job of the namespace.
struct ByThePool;

impl Worker for ByThePool {
    fn spawn(&self, ns: &Namespace, job: Job) {
        // Of a namespace on its way out, the cache closes everything by itself.
        if let Some(inside) = ns.enter()
            && let Some(pool) = inside.get::<PoolSubsystem>()
        {
            let _ = pool.spawn(move |turn| turn.may_block(job));
        }
    }
}

/// Runs collector and watcher until it is dropped.
pub struct Keeper {
    end: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(caches: Caches<Object>) -> Result<Self> {
        let failed = "could not start the keeper of the file caches";
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context(failed)?);
        let ended = end.clone();
        let thread = std::thread::Builder::new()
            .name("file caches".into())
            .stack_size(STACK)
            .spawn(move || keep(&caches, &ended))
            .context(failed)?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The counter of a new eventfd has room for a one.
        let _ = rustix::io::write(&*self.end, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(caches: &Caches<Object>, end: &OwnedFd) {
    let mut next = Instant::now() + ROUND;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        if left.is_zero() {
            caches.collect();
            next = Instant::now() + ROUND;
            continue;
        }
        let mut fds = vec![PollFd::new(end, PollFlags::IN)];
        let notices = caches.watcher_fd();
        fds.extend(notices.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        let timeout = Timespec::try_from(left).unwrap_or_default();
        // Interrupted, it says nothing.
        let _ = poll(&mut fds, Some(&timeout));
        if fds.first().is_some_and(|end| !end.revents().is_empty()) {
            return;
        }
        if fds.get(1).is_some_and(|notices| !notices.revents().is_empty()) {
            while caches.readable() {}
        }
    }
}

/// As many descriptors as the administrator lets us have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::info!(%error, "the limit of open files stays as it is");
        }
    }
}

const ROUND: Duration = Duration::from_secs(1);
const STACK: usize = 128 << 10;
