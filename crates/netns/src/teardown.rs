//! How contents leave a namespace, and how the namespace itself goes.
//!
//! Contents that were replaced, because a subsystem came or went or because the namespace is
//! removed, are a [`Departure`]: their gate is shut, and when the last who is inside has left they
//! come out by value, and the states of the subsystems that go with them are handed to
//! [`exit`](crate::Subsystem::exit). The departures of a namespace end in the order in which they
//! began. So who comes after finds the states, which successive contents share, to itself.
//!
//! Whoever waits carries the departures out itself; but one whose `exit` may block is left to a worker
//! by who has a deadline, and every one is by the last to leave where nobody waits.

use crate::events::{Callback, Event};
use crate::namespace::{Namespace, NsState};
use crate::subsystem::{Contents, Entry, Layout, View};
use crate::worker::Job;
use holm_lifetime::levels::assert_nothing_held;
use holm_lifetime::sync::{Arc, Condvar, Deadline, Mutex, MutexGuard, Weak};
use holm_lifetime::{Gate, Held};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// A namespace that is not gone yet, and why.
#[derive(Debug, Clone)]
pub struct Draining {
    /// Which.
    pub ns: Namespace,
    /// Who is inside.
    pub held: Held,
    /// The subsystem whose `exit` is running.
    pub exiting: Option<String>,
    awaited: Departed,
}

impl Draining {
    /// Waits again.
    ///
    /// # Errors
    ///
    /// What stands in the way when `deadline` passes.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn wait(&self, deadline: Deadline) -> Result<(), Draining> {
        self.awaited.wait(deadline)
    }
}

impl fmt::Display for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.awaited.until == u64::MAX { "" } else { "what was replaced in " };
        write!(f, "{what}namespace {} is still draining: ", self.ns.id())?;
        match &self.exiting {
            Some(subsystem) => write!(f, "exit of {subsystem} is running"),
            None if self.held.count == 0 => f.write_str("its tear-down has only begun"),
            None => self.held.fmt(f),
        }
    }
}

/// Which states go with the contents.
#[derive(Clone, Copy)]
pub(crate) enum Leaving {
    /// None: a subsystem came, and the next contents have them all.
    None,
    /// That of the subsystem at this place, which goes.
    One(usize),
    /// All: the namespace goes.
    All,
}

impl Leaving {
    /// Where they stand, of so many.
    fn places(self, states: usize) -> Range<usize> {
        match self {
            Leaving::None => 0..0,
            Leaving::One(place) => place..place + 1,
            Leaving::All => 0..states,
        }
    }
}

/// Whether one of those that leave may block.
fn may_block(contents: &Contents, leaving: Leaving) -> bool {
    let entries = contents.layout.entries.get(leaving.places(contents.states.len()));
    entries.is_some_and(|entries| entries.iter().any(|entry| entry.exit_may_block()))
}

/// The departures of one namespace.
pub(crate) struct TearDown {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Oldest first.
    departures: VecDeque<Departure>,
    /// How many departures there have been.
    begun: u64,
    /// How many have ended.
    ended: u64,
    /// Somebody is carrying out the oldest one.
    busy: bool,
    exiting: Option<Arc<dyn Entry>>,
    /// How many threads wait, and so will carry out what can be.
    waiting: usize,
    /// A worker has been told, and has not come yet.
    handed_over: bool,
    /// The namespace is being removed, with these subsystems.
    removed: Option<Weak<Layout>>,
    gone: bool,
}

struct Departure {
    gate: Arc<Gate<Contents>>,
    leaving: Leaving,
    /// The contents, once nobody is inside.
    drained: Option<Contents>,
}

impl TearDown {
    pub(crate) fn new() -> Self {
        let state = State {
            departures: VecDeque::new(),
            begun: 0,
            ended: 0,
            busy: false,
            exiting: None,
            waiting: 0,
            handed_over: false,
            removed: None,
            gone: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn state(&self) -> NsState {
        let state = self.state.lock();
        match (&state.removed, state.gone) {
            (_, true) => NsState::Gone,
            (Some(_), false) => NsState::Draining,
            (None, false) => NsState::Coming,
        }
    }

    /// Who is inside of contents that depart.
    pub(crate) fn held(&self) -> Held {
        held(&self.state.lock())
    }

    /// Whether the subsystem goes when this namespace, which is being removed, goes.
    pub(crate) fn takes_along(&self, entry: &Arc<dyn Entry>) -> bool {
        let removed = self.state.lock().removed.clone();
        // Its contents keep the layout for as long as something of them is left.
        let layout = removed.and_then(|layout| layout.upgrade());
        layout.is_some_and(|layout| layout.entries.iter().any(|other| Arc::ptr_eq(other, entry)))
    }
}

/// A departure that has begun and can't end yet: its gate is shut and not settled.
#[must_use = "a departure that is not settled never ends"]
pub(crate) struct Departing {
    gate: Arc<Gate<Contents>>,
    waiting: Waiting,
}

/// Waits for departures. While there is one, whoever drops the last pass tells it and not a worker.
pub(crate) struct Waiting(Departed);

/// That so many departures of a namespace have ended.
#[derive(Debug, Clone)]
pub(crate) struct Departed {
    ns: Namespace,
    until: u64,
}

impl Departing {
    /// Begins the departure of contents whose gate is shut. Departures of a namespace are begun in
    /// the order in which their contents were published.
    pub(crate) fn begin(ns: &Namespace, gate: Gate<Contents>, leaving: Leaving) -> Self {
        let gate = Arc::new(gate);
        let mut state = ns.tear_down().state.lock();
        let number = state.begun;
        state.begun += 1;
        state.waiting += 1;
        state.departures.push_back(Departure { gate: gate.clone(), leaving, drained: None });
        drop(state);
        gate.on_drained({
            let ns = ns.clone();
            move |contents| ns.drained(number, contents)
        });
        Self { gate, waiting: Waiting(Departed { ns: ns.clone(), until: number + 1 }) }
    }

    /// Lets the departure end when the last who is inside has left.
    pub(crate) fn settle(self) -> Waiting {
        self.gate.settle();
        self.waiting
    }
}

impl Namespace {
    /// Notes that the namespace is being removed, and which subsystems it has.
    pub(crate) fn begin_removal(&self, layout: &Arc<Layout>) {
        self.tear_down().state.lock().removed = Some(Arc::downgrade(layout));
        self.workers().draining_begins();
    }

    /// Notes that the namespace, which was never published, is being undone.
    pub(crate) fn begin_undoing(&self, layout: &Arc<Layout>) {
        self.tear_down().state.lock().removed = Some(Arc::downgrade(layout));
    }

    /// It is gone without ever having been there.
    pub(crate) fn is_undone(&self) {
        self.common().refused.lock().remove(&self.id().id);
        self.tear_down().state.lock().gone = true;
        self.tear_down().changed.notify_all();
    }

    /// Waits until the namespace is gone: until all that [`remove`](crate::Registry::remove) began
    /// has ended.
    ///
    /// # Errors
    ///
    /// What still stands in the way when `deadline` passes.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn wait_gone(&self, deadline: Deadline) -> Result<(), Draining> {
        Departed { ns: self.clone(), until: u64::MAX }.wait(deadline)
    }

    /// The last who was inside has left, on this thread, which may be any: only notes it.
    fn drained(&self, number: u64, contents: Contents) {
        let mut state = self.tear_down().state.lock();
        let place = (number - state.ended) as usize;
        if let Some(departure) = state.departures.get_mut(place) {
            departure.drained = Some(contents);
        }
        if state.waiting == 0 {
            self.hand_over(&mut state);
        } else {
            drop(state);
            self.tear_down().changed.notify_all();
        }
    }

    /// Leaves what has drained to a worker, unless somebody is at it.
    fn leave_to_worker(&self, state: &mut State) {
        if !state.busy && state.departures.front().is_some_and(|front| front.drained.is_some()) {
            self.hand_over(state);
        }
    }

    /// Tells a worker, unless one has been told already.
    fn hand_over(&self, state: &mut State) {
        if !std::mem::replace(&mut state.handed_over, true) {
            self.workers().push(Job::TearDown(self.clone()));
        }
    }

    /// A worker's part.
    pub(crate) fn go_on_tearing_down(&self) {
        let mut state = self.tear_down().state.lock();
        state.handed_over = false;
        drop(self.carry_out(state, Deadline::Never));
    }

    /// Carries out the departures that have drained, oldest first. With a deadline to meet, up to one
    /// whose `exit` may block, which a worker gets.
    fn carry_out<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Deadline,
    ) -> MutexGuard<'a, State> {
        let tear_down = self.tear_down();
        while !state.busy
            && let Some(departure) = state.departures.front_mut()
            && let Some(contents) = departure.drained.take()
        {
            let leaving = departure.leaving;
            if deadline != Deadline::Never && may_block(&contents, leaving) {
                departure.drained = Some(contents);
                self.hand_over(&mut state);
                break;
            }
            state.busy = true;
            drop(state);
            self.exit(contents, leaving);
            if matches!(leaving, Leaving::All) {
                self.is_gone();
            }
            state = tear_down.state.lock();
            state.departures.pop_front();
            state.ended += 1;
            state.busy = false;
            state.gone = matches!(leaving, Leaving::All);
            tear_down.changed.notify_all();
        }
        state
    }

    /// Hands the states that leave to their subsystems, in reverse order.
    fn exit(&self, contents: Contents, leaving: Leaving) {
        let Contents { layout, mut states } = contents;
        for place in leaving.places(states.len()).rev() {
            let Some(entry) = layout.entries.get(place) else { continue };
            self.tear_down().state.lock().exiting = Some(entry.clone());
            let state = states.remove(place);
            let view = View { ns: self, layout: &layout, states: &states[..place] };
            if let Err(why) = entry.exit(&view, state) {
                self.report(entry.name(), Callback::Exit, why);
            }
        }
        self.tear_down().state.lock().exiting = None;
    }

    /// Before the state says so: who then sees it finds the rest of the world in order.
    fn is_gone(&self) {
        let common = self.common();
        common.draining.lock().remove(&self.id().id);
        common.speaker.say(Event::Gone(self.id().clone()));
        common.workers.draining_ends();
    }
}

impl Departed {
    /// Waits until it is so.
    pub(crate) fn wait(&self, deadline: Deadline) -> Result<(), Draining> {
        self.ns.tear_down().state.lock().waiting += 1;
        Waiting(self.clone()).wait(deadline)
    }
}

impl Waiting {
    /// What is waited for.
    pub(crate) fn departure(&self) -> Departed {
        self.0.clone()
    }

    /// Carries out what has drained by now, and waits no longer: who waits for one of many must not
    /// keep the workers from the others.
    pub(crate) fn carry_out_all(all: Vec<Self>, deadline: Deadline) {
        for Self(Departed { ns, .. }) in &all {
            drop(ns.carry_out(ns.tear_down().state.lock(), deadline));
        }
    }

    /// Waits until the departures have ended.
    pub(crate) fn wait(&self, deadline: Deadline) -> Result<(), Draining> {
        assert_nothing_held();
        let Self(Departed { ns, until }) = self;
        let tear_down = ns.tear_down();
        let mut state = tear_down.state.lock();
        loop {
            state = ns.carry_out(state, deadline);
            if state.gone || state.ended >= *until {
                return Ok(());
            }
            if deadline.passed() {
                let held = held(&state);
                let exiting = state.exiting.as_ref().map(|entry| entry.name().to_owned());
                return Err(Draining { ns: ns.clone(), held, exiting, awaited: self.0.clone() });
            }
            state = tear_down.changed.wait_until(state, deadline).0;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Self(Departed { ns, .. }) = self;
        let mut state = ns.tear_down().state.lock();
        state.waiting -= 1;
        // Something may have drained since this thread last looked, and then it was not a worker that
        // was told.
        if state.waiting == 0 {
            ns.leave_to_worker(&mut state);
        }
    }
}

fn held(state: &State) -> Held {
    let mut all = Held::default();
    for departure in &state.departures {
        let held = departure.gate.held();
        all.count += held.count;
        all.holders.extend(held.holders);
    }
    all
}
