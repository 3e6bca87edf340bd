//! The pool's part in each namespace: its sources and jobs, and their end.

use crate::lists::{Item, Key, Tell};
use crate::pool::Shared;
use crate::report::contain;
use crate::slots::{Ended, Removed};
use crate::source::{Source, SourceId};
use crate::turn::Turn;
use holm_lifetime::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use holm_netns::{Held, InitError, Inside, Namespace, NsId, Subsystem, View};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::time::Instant;

/// The pool as a part that every namespace has. Made by [`Pool::subsystem`](crate::Pool::subsystem).
pub struct PoolSubsystem(pub(crate) Arc<Shared>);

/// The pool in one namespace: what [`Contents::get::<PoolSubsystem>`](holm_netns::Contents::get)
/// finds there.
pub struct NsPool {
    shared: Arc<Shared>,
    tenant: Arc<Tenant>,
}

/// A source in the pool. Dropping it changes nothing.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    tenant: Arc<Tenant>,
    id: SourceId,
}

/// Why a source was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The namespace can't be entered: it goes, or it is being made and nobody can be inside yet.
    #[error("namespace {0} can't be entered")]
    NotLive(NsId),
    /// There are as many sources as there can be.
    #[error("the pool has no room for another source")]
    Full,
    /// Its descriptor can't be waited for.
    #[error("a descriptor of namespace {ns} can't be waited for: {error}")]
    Poll {
        /// In which namespace.
        ns: NsId,
        /// What the system said.
        error: io::Error,
    },
}

/// A job was not taken: the namespace can't be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("namespace {0} can't be entered")]
pub struct SpawnError(pub NsId);

/// How the pool does in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NsMetrics {
    /// Sources and jobs that wait to be run.
    pub queued: usize,
    /// Those of them that wait because of [`limit_turns`](NsPool::limit_turns).
    pub held_back: usize,
    /// Sources there are.
    pub sources: usize,
    /// Calls that took longer than they should.
    pub stuck_calls: u64,
    /// Whether it is served by the second group.
    pub slow: bool,
    /// Sources and jobs that panicked.
    pub panics: u64,
}

pub(crate) struct Tenant {
    pub(crate) ns: Namespace,
    pub(crate) key: Key,
    pub(crate) gauge: Arc<Gauge>,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    /// The namespace goes.
    stopped: bool,
    all: BTreeMap<SourceId, Arc<dyn Source>>,
}

/// What is known of a namespace without a lock.
pub(crate) struct Gauge {
    pub(crate) ns: NsId,
    pub(crate) queued: AtomicUsize,
    pub(crate) held_back: AtomicUsize,
    pub(crate) slow: AtomicBool,
    /// Nothing is run but what the lists say: it is slow, or has a limit.
    pub(crate) in_turn: AtomicBool,
    pub(crate) stuck_calls: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// A job that waits. It holds the namespace from the beginning: what was accepted is run.
pub(crate) struct Job {
    // In this order: whatever the job holds is dropped before the namespace is left.
    run: Box<dyn FnOnce(&Turn<'_>) + Send>,
    pub(crate) inside: Inside,
}

impl NsPool {
    /// Gives a source to the pool. Events of its descriptor run it from now on, perhaps before this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`AddError`]; then the pool has not kept it.
    pub fn add(&self, source: Arc<dyn Source>) -> Result<Handle, AddError> {
        let Self { shared, tenant } = self;
        let gone = || AddError::NotLive(tenant.ns.id().clone());
        // The namespace does not go before this is done.
        let _inside = tenant.enter().ok_or_else(gone)?;
        let added = shared.slots.insert(source.clone(), tenant.clone());
        let (id, slot) = added.ok_or(AddError::Full)?;
        let handle = Handle::new(shared.clone(), tenant.clone(), id);

        let mut sources = tenant.sources.lock();
        let stopped = sources.stopped;
        if !stopped {
            sources.all.insert(id, source.clone());
        }
        drop(sources);
        if stopped {
            shared.finish(id, slot.contents(), false);
            return Err(gone());
        }
        // The slot is this thread's until `end`: whoever removes the source meanwhile leaves it to us.
        if let Some(fd) = source.fd()
            && let Err(error) = shared.poller.add(fd, source.interest(), id.token())
        {
            shared.finish(id, slot.contents(), false);
            return Err(AddError::Poll { ns: tenant.ns.id().clone(), error });
        }
        match slot.end(id, false) {
            Ended::Idle => {}
            Ended::Queued => shared.push(tenant.key, Item::Source(id)),
            Ended::Gone => {
                shared.finish(id, slot.contents(), true);
                return Err(gone());
            }
        }
        Ok(handle)
    }

    /// Has `job` run by a worker, under the same rules as a source. It is inside the namespace from
    /// now on: once accepted it is run, and the namespace waits for it; who asks what holds the
    /// namespace is told this call.
    ///
    /// # Errors
    ///
    /// [`SpawnError`].
    #[track_caller]
    pub fn spawn(&self, job: impl FnOnce(&Turn<'_>) + Send + 'static) -> Result<(), SpawnError> {
        let inside = self.tenant.enter().ok_or_else(|| SpawnError(self.tenant.ns.id().clone()))?;
        self.shared.push(self.tenant.key, Item::Job(Job { run: Box::new(job), inside }));
        Ok(())
    }

    /// From now on runs at most `most` turns of the namespace's sources at a time, so that they occupy
    /// as many workers, of whichever group; `None`: as many as the pool allows. What happens to others
    /// waits for the end of such a turn, and costs no worker anything until then. A turn that has begun
    /// without a limit is not counted.
    ///
    /// Jobs are not counted either, and never wait for this.
    pub fn limit_turns(&self, most: Option<NonZero<usize>>) {
        if self.shared.lists.limit_turns(self.tenant.key, most) == Tell::First {
            self.shared.wake_worker();
        }
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.tenant.gauge
    }

    /// How the pool does here.
    pub fn metrics(&self) -> NsMetrics {
        let gauge = &self.tenant.gauge;
        NsMetrics {
            queued: gauge.queued.load(Ordering::Relaxed),
            held_back: gauge.held_back.load(Ordering::Relaxed),
            sources: self.tenant.sources.lock().all.len(),
            stuck_calls: gauge.stuck_calls.load(Ordering::Relaxed),
            slow: gauge.slow.load(Ordering::Relaxed),
            panics: gauge.panics.load(Ordering::Relaxed),
        }
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>, tenant: Arc<Tenant>, id: SourceId) -> Self {
        Self { shared, tenant, id }
    }

    /// Has the source run. What the caller did before is seen by that run. Takes no lock but a
    /// short one of the pool, and may be called with anything held.
    pub fn wake(&self) {
        self.shared.happened(self.id, false);
    }

    /// Has the source run at `deadline`, or no longer; in place of what was said before.
    pub fn wake_at(&self, deadline: Option<Instant>) {
        self.shared.set_deadline(self.id, deadline);
    }

    /// Takes the source out of the pool. It is dropped by the pool before this returns, or if it is
    /// being run, at the end of that.
    pub fn remove(&self) {
        // So that the namespace is not gone while this thread lets go of the source. If it can't be
        // entered it goes, and the source with it.
        if let Some(_inside) = self.tenant.enter() {
            self.shared.remove(self.id);
        }
    }
}

impl Tenant {
    /// Enters the namespace as one that has the pool. One that was entered may have the pool no
    /// longer, and then nobody would wait for who is inside.
    #[inline]
    #[track_caller]
    pub(crate) fn enter(&self) -> Option<Inside> {
        let inside = self.ns.enter()?;
        let here = inside
            .get::<PoolSubsystem>()
            .is_some_and(|pool| std::ptr::eq(Arc::as_ptr(&pool.tenant), std::ptr::from_ref(self)));
        here.then_some(inside)
    }

    pub(crate) fn forget(&self, id: SourceId) {
        let source = self.sources.lock().all.remove(&id);
        drop(source);
    }
}

impl Job {
    /// Runs it. The namespace is left with the pass, which the caller drops last.
    pub(crate) fn into_parts(self) -> (impl FnOnce(&Turn<'_>), Inside) {
        (self.run, self.inside)
    }
}

impl Subsystem for PoolSubsystem {
    type State = NsPool;

    fn name(&self) -> &str {
        "pool"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<NsPool, InitError> {
        let ns = ns.namespace().clone();
        let gauge = Arc::new(Gauge {
            ns: ns.id().clone(),
            queued: AtomicUsize::new(0),
            held_back: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            in_turn: AtomicBool::new(false),
            stuck_calls: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        });
        let key = self.0.lists.add(gauge.clone());
        let sources = Mutex::new(Sources::default());
        let tenant = Arc::new(Tenant { ns, key, gauge, sources });
        Ok(NsPool { shared: self.0.clone(), tenant })
    }

    /// Takes the sources out. One that runs, or is about to, is left to whoever has it, or to `exit`.
    fn pre_exit(&self, _: &View<'_>, pool: &NsPool) {
        let mut sources = pool.tenant.sources.lock();
        sources.stopped = true;
        let all: Vec<_> = sources.all.iter().map(|(id, source)| (*id, source.clone())).collect();
        drop(sources);
        for (id, source) in all {
            if let Err(why) = contain(|| source.closing()) {
                self.0.panicked(&pool.tenant.gauge, why);
            }
            self.0.remove(id);
        }
    }

    /// Nobody is inside, so nobody runs a source. What some worker has taken from a list and could
    /// not run, because the namespace could not be entered any more, is ended here.
    fn exit(&self, _: &View<'_>, pool: NsPool) {
        let left: Vec<SourceId> = pool.tenant.sources.lock().all.keys().copied().collect();
        for id in left {
            if let Some(slot) = self.0.slots.get(id.index) {
                self.0.finish(id, slot.contents(), true);
            }
        }
        drop(self.0.lists.remove(pool.tenant.key));
    }
}

impl crate::pool::Shared {
    /// Takes a source out: now, or whoever has it does.
    pub(crate) fn remove(&self, id: SourceId) {
        if let Some(slot) = self.slots.get(id.index)
            && slot.remove(id) == Removed::Mine
        {
            self.finish(id, slot.contents(), true);
        }
    }
}

macro_rules! debug_by_namespace {
    ($($type:ident: $ns:expr),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let ns: fn(&$type) -> &NsId = $ns;
                f.debug_struct(stringify!($type)).field("ns", ns(self)).finish_non_exhaustive()
            }
        }
    )*};
}
debug_by_namespace!(NsPool: |pool| pool.tenant.ns.id(), Handle: |handle| handle.tenant.ns.id());

impl fmt::Debug for PoolSubsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolSubsystem(..)")
    }
}
