//! Control requests: work that needs a namespace's configuration lock, and never waits for it.
//!
//! A sender puts its request in the namespace's queue and tries the lock. If it gets it, it runs the
//! queue; if not, whoever holds the lock runs the queue when it unlocks. None is lost in between:
//! every unlock is followed by a look at the queue, and every enqueuing by a try at the lock, so
//! one of the two sees the other.

use crate::namespace::{Namespace, NsState};
use crate::subsystem::{Contents, contain};
use crate::worker::Job;
use holm_lifetime::levels::{
    HeldLevels, Holding, Holds, LevelGuard, LevelMutex, Locked, MayTake, Nothing, NsRtnl, Rtnl,
    assert_nothing_held,
};
use holm_lifetime::sync::{Arc, Condvar, Deadline, Mutex};
use std::cmp::Ordering;
use std::collections::VecDeque;

/// The configuration lock of one namespace and the requests that wait for it.
pub(crate) struct Control {
    lock: LevelMutex<NsRtnl, ()>,
    queue: Mutex<Queue>,
}

struct Queue {
    requests: VecDeque<Request>,
    /// The workers have been told.
    handed_over: bool,
    /// The namespace is going: nothing is accepted any more.
    closed: bool,
}

/// Called once, with the namespace or with the reason why it can't be had.
type Request = Box<dyn FnOnce(Result<InNs<'_>, RequestError>) + Send>;

/// How many requests one unlocker runs before it leaves the rest to a worker.
pub const REQUESTS_PER_UNLOCK: usize = 16;

/// What a request works on: a namespace that is live, and locked.
pub struct InNs<'a> {
    /// Which namespace.
    pub ns: &'a Namespace,
    /// What is in it. It stays for as long as the request runs.
    pub contents: &'a Contents,
    /// Its configuration lock is held.
    pub held: Locked<'a, Holding<NsRtnl, Nothing>>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The namespace was removed first.
    #[error("namespace {0} is gone")]
    Gone(String),
    /// The request panicked.
    #[error("a request in namespace {ns} {why}")]
    Failed {
        /// In which namespace.
        ns: String,
        /// What it said.
        why: String,
    },
}

/// The answer to a request, when it is there.
#[must_use = "nobody hears the answer"]
pub struct Pending<R>(Arc<Answer<R>>);

struct Answer<R> {
    given: Mutex<Option<Result<R, RequestError>>>,
    wake: Condvar,
}

/// Holds the configuration lock of a namespace. Unlocking runs the requests that came meanwhile, or
/// leaves them to a worker if another level is still held.
pub struct NsGuard<'a, H: HeldLevels> {
    // Taken only by `drop`.
    guard: Option<LevelGuard<'a, NsRtnl, H, ()>>,
    ns: &'a Namespace,
}

/// Holds the configuration locks of two namespaces, or of one if both are the same. `Rtnl` is held
/// still when they are unlocked, so a worker runs the requests that came meanwhile.
pub struct TwoNsGuard<'a, H: HeldLevels> {
    // Taken only by `drop`.
    guard: Option<LevelGuard<'a, NsRtnl, H, ()>>,
    both: [&'a Namespace; 2],
}

impl Control {
    pub(crate) fn new() -> Self {
        let queue = Queue { requests: VecDeque::new(), handed_over: false, closed: false };
        Self { lock: LevelMutex::new(()), queue: Mutex::new(queue) }
    }

    /// Accepts no more requests and gives up those that wait.
    pub(crate) fn close(&self, ns: &Namespace) {
        let given_up = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.requests)
        };
        for request in given_up {
            answer(request, Err(gone(ns)));
        }
    }
}

impl Namespace {
    /// Waits for the configuration lock.
    pub fn lock<'a, H: MayTake<NsRtnl>>(&'a self, held: &'a mut Locked<'_, H>) -> NsGuard<'a, H> {
        NsGuard { guard: Some(self.control().lock.lock(held)), ns: self }
    }

    /// Waits for the configuration locks of two namespaces, always in the same order. For that the
    /// global lock must be held.
    pub fn lock_two<'a, H>(
        &'a self,
        other: &'a Namespace,
        held: &'a mut Locked<'_, H>,
    ) -> TwoNsGuard<'a, H>
    where
        H: MayTake<NsRtnl> + Holds<Rtnl>,
    {
        let (own, others) = (&self.control().lock, &other.control().lock);
        let guard = match self.id().id.cmp(&other.id().id) {
            Ordering::Equal => own.lock(held),
            Ordering::Less => LevelMutex::lock_two(own, others, held),
            Ordering::Greater => LevelMutex::lock_two(others, own, held),
        };
        TwoNsGuard { guard: Some(guard), both: [self, other] }
    }

    /// Has `work` done in the namespace, under its configuration lock, without waiting for it: here
    /// and now, by whoever holds the lock, or by a worker of the registry if this thread holds another
    /// level.
    pub fn request<H, R>(
        &self,
        held: &mut Locked<'_, H>,
        work: impl FnOnce(&mut InNs<'_>) -> R + Send + 'static,
    ) -> Pending<R>
    where
        H: HeldLevels,
        R: Send + 'static,
    {
        let answer = Arc::new(Answer { given: Mutex::new(None), wake: Condvar::new() });
        let pending = Pending(answer.clone());
        self.request_then(held, work, move |given| {
            *answer.given.lock() = Some(given);
            answer.wake.notify_all();
        });
        pending
    }

    /// Like [`request`](Self::request); the answer goes to `done`, on the thread that did the work
    /// and with the lock still held. `done` must not block.
    pub fn request_then<H, R>(
        &self,
        _held: &mut Locked<'_, H>,
        work: impl FnOnce(&mut InNs<'_>) -> R + Send + 'static,
        done: impl FnOnce(Result<R, RequestError>) + Send + 'static,
    ) where
        H: HeldLevels,
    {
        let request: Request = Box::new(move |turn| {
            done(turn.and_then(|mut in_ns| {
                let ns = in_ns.ns;
                contain(|| work(&mut in_ns))
                    .map_err(|why| RequestError::Failed { ns: ns.id().to_string(), why })
            }));
        });
        let mut queue = self.control().queue.lock();
        if queue.closed {
            drop(queue);
            return answer(request, Err(gone(self)));
        }
        queue.requests.push_back(request);
        drop(queue);
        self.after_unlock(H::NOTHING);
    }

    /// What everybody does who has unlocked, or has put something in the queue.
    pub(crate) fn after_unlock(&self, nothing_held: bool) {
        if nothing_held {
            self.run_requests();
        } else {
            self.hand_over_requests();
        }
    }

    /// Runs the requests that wait, as far as nobody else holds the lock: who does looks at the
    /// queue when it unlocks.
    fn run_requests(&self) {
        let control = self.control();
        for _ in 0..REQUESTS_PER_UNLOCK {
            // After the unlock at the end of the turn before: a request that came while the lock
            // was held is seen here, one that comes later finds the lock free.
            if control.queue.lock().requests.is_empty() {
                return;
            }
            // Whoever makes the namespace looks at the queue when it can be entered.
            if self.state() == NsState::Coming {
                return;
            }
            let mut held = Locked::nothing();
            let Some(mut guard) = control.lock.try_lock(&mut held) else { return };
            let request = control.queue.lock().requests.pop_front();
            if let Some(request) = request {
                self.run_request(request, guard.token());
            }
        }
        self.hand_over_requests();
    }

    /// Runs one request, inside the namespace if it can still be entered.
    fn run_request(&self, request: Request, held: &mut Locked<'_, Holding<NsRtnl, Nothing>>) {
        match self.enter() {
            Some(inside) => {
                answer(request, Ok(InNs { ns: self, contents: &inside, held: held.innermost() }));
            }
            None => answer(request, Err(gone(self))),
        }
    }

    /// Leaves the requests to a worker, unless one knows of them already.
    fn hand_over_requests(&self) {
        let mut queue = self.control().queue.lock();
        if !queue.requests.is_empty() && !std::mem::replace(&mut queue.handed_over, true) {
            drop(queue);
            self.workers().push(Job::Requests(self.clone()));
        }
    }

    /// A worker's part of [`hand_over_requests`](Self::hand_over_requests).
    pub(crate) fn run_handed_over_requests(&self) {
        self.control().queue.lock().handed_over = false;
        self.run_requests();
    }
}

impl<R> Pending<R> {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// The pending answer itself when `deadline` passes first, to wait on. Within `Ok`, why the
    /// request was not carried out.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level, which the request may be waiting for.
    pub fn wait(self, deadline: Deadline) -> Result<Result<R, RequestError>, Self> {
        assert_nothing_held();
        let mut given = self.0.given.lock();
        loop {
            if let Some(answer) = given.take() {
                return Ok(answer);
            }
            if deadline.passed() {
                drop(given);
                return Err(self);
            }
            given = self.0.wake.wait_until(given, deadline).0;
        }
    }
}

impl<'a, H: HeldLevels> NsGuard<'a, H> {
    /// What is held now.
    pub fn token(&mut self) -> &mut Locked<'a, Holding<NsRtnl, H>> {
        token(&mut self.guard)
    }
}

impl<H: HeldLevels> Drop for NsGuard<'_, H> {
    fn drop(&mut self) {
        self.guard = None;
        self.ns.after_unlock(H::NOTHING);
    }
}

impl<'a, H: HeldLevels> TwoNsGuard<'a, H> {
    /// What is held now: it stands for both locks.
    pub fn token(&mut self) -> &mut Locked<'a, Holding<NsRtnl, H>> {
        token(&mut self.guard)
    }
}

impl<H: HeldLevels> Drop for TwoNsGuard<'_, H> {
    fn drop(&mut self) {
        self.guard = None;
        for ns in self.both {
            ns.after_unlock(H::NOTHING);
        }
    }
}

fn token<'g, 'a, H: HeldLevels>(
    guard: &'g mut Option<LevelGuard<'a, NsRtnl, H, ()>>,
) -> &'g mut Locked<'a, Holding<NsRtnl, H>> {
    match guard {
        Some(guard) => guard.token(),
        None => unreachable!("only drop takes it"),
    }
}

/// Calls a request. The work's own panic is its answer; one in what hears the answer ends here.
fn answer(request: Request, turn: Result<InNs<'_>, RequestError>) {
    let _ = contain(|| request(turn));
}

fn gone(ns: &Namespace) -> RequestError {
    RequestError::Gone(ns.id().to_string())
}
