//! One namespace: a name, a number, and contents that can be entered while it lives.

use crate::control::Control;
use crate::events::{Callback, Event, Events, Failed, Speaker};
use crate::name::NsId;
use crate::subsystem::Contents;
use crate::teardown::TearDown;
use crate::worker::Workers;
use holm_lifetime::grace::{self, Section};
use holm_lifetime::levels::{LevelGuard, LevelMutex, Locked, MayTake, Rtnl};
use holm_lifetime::sync::atomic::{AtomicBool, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use holm_lifetime::{Gate, Held, Outgoing, Pass, Published};
use std::collections::BTreeMap;
use std::fmt;

/// A handle to a namespace. It keeps a little memory, not the namespace: whoever wants to use what
/// is in it [enters](Self::enter).
#[derive(Clone)]
pub struct Namespace(Arc<Shell>);

/// Being inside a namespace: its contents are there until this is dropped.
pub type Inside = Pass<Contents>;

/// Where a namespace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsState {
    /// It is being made; nobody can enter it yet.
    Coming,
    /// It can be entered.
    Live,
    /// It can't be entered any more, and something of it is still held.
    Draining,
    /// Nothing is left of it.
    Gone,
}

// In this order, because the first two are what a look-up reads.
#[repr(C)]
struct Shell {
    id: NsId,
    /// What there is inside, while it can be entered. Registering a subsystem and removing one puts
    /// other contents in place, and the gate of the old ones is shut.
    contents: Published<Gate<Contents>>,
    tracked: AtomicBool,
    control: Control,
    tear_down: TearDown,
    common: Arc<Common>,
}

/// What the namespaces of a registry have in common, and what outlives the registry until the last
/// of them is gone.
pub(crate) struct Common {
    pub(crate) rtnl: LevelMutex<Rtnl, ()>,
    pub(crate) speaker: Speaker,
    pub(crate) workers: Arc<Workers>,
    /// The namespaces that drain, by id.
    pub(crate) draining: Mutex<BTreeMap<u64, Namespace>>,
    /// Those that a subsystem refused and that are being undone: nobody finds them, and yet other
    /// subsystems have not left them.
    pub(crate) refused: Mutex<BTreeMap<u64, Namespace>>,
}

impl Namespace {
    /// A namespace that nobody can enter yet.
    pub(crate) fn new(id: NsId, common: Arc<Common>) -> Self {
        Self(Arc::new(Shell {
            id,
            contents: Published::new(None),
            tracked: AtomicBool::new(false),
            control: Control::new(),
            tear_down: TearDown::new(),
            common,
        }))
    }

    /// Its name and number.
    pub fn id(&self) -> &NsId {
        &self.0.id
    }

    /// Enters the namespace, unless it is on its way out. Takes no lock, and writes no memory that
    /// another thread writes.
    #[inline]
    #[track_caller]
    pub fn enter(&self) -> Option<Inside> {
        self.enter_in(&grace::section())
    }

    /// Like [`enter`](Self::enter), by somebody who is in a section already.
    #[inline]
    #[track_caller]
    pub(crate) fn enter_in(&self, section: &Section) -> Option<Inside> {
        loop {
            let gate = self.0.contents.get(section)?;
            if let Some(inside) = gate.enter_in(section) {
                return Some(inside);
            }
            // These contents are being replaced: the next ones were published before the gate was
            // shut.
            std::hint::spin_loop();
        }
    }

    /// Waits for the global configuration lock, which all namespaces of a registry share.
    pub fn rtnl<'a, H: MayTake<Rtnl>>(
        &'a self,
        held: &'a mut Locked<'_, H>,
    ) -> LevelGuard<'a, Rtnl, H, ()> {
        self.0.common.rtnl.lock(held)
    }

    /// Where it is in its life.
    pub fn state(&self) -> NsState {
        let section = grace::section();
        if self.0.contents.get(&section).is_some() {
            return NsState::Live;
        }
        drop(section);
        self.0.tear_down.state()
    }

    /// Who is inside. The number is a snapshot; the names are those who came while
    /// [tracking](Self::track) was on.
    pub fn held(&self) -> Held {
        let mut held = self.0.tear_down.held();
        let section = grace::section();
        if let Some(gate) = self.0.contents.get(&section) {
            let current = gate.held();
            held.count += current.count;
            held.holders.extend(current.holders);
        }
        held.holders.sort_by_key(|holder| holder.since);
        held
    }

    /// Records from now on who enters, from where in the code and when; or no longer. It makes
    /// entering dearer.
    pub fn track(&self, on: bool) {
        self.0.tracked.store(on, Ordering::SeqCst);
        self.apply_tracking();
    }

    /// Has the gate of the current contents track as was last asked for. Called by whoever asks, and
    /// by whoever has just published contents.
    pub(crate) fn apply_tracking(&self) {
        let section = grace::section();
        if let Some(gate) = self.0.contents.get(&section) {
            gate.track(self.0.tracked.load(Ordering::SeqCst));
        }
    }

    /// Puts contents in place of those there are.
    pub(crate) fn publish(&self, contents: Contents) -> Option<Outgoing<Gate<Contents>>> {
        let old = self.0.contents.replace(Some(Box::new(Gate::new(contents))));
        self.apply_tracking();
        old
    }

    pub(crate) fn contents(&self) -> &Published<Gate<Contents>> {
        &self.0.contents
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    pub(crate) fn tear_down(&self) -> &TearDown {
        &self.0.tear_down
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.0.common
    }

    pub(crate) fn workers(&self) -> &Arc<Workers> {
        &self.0.common.workers
    }

    /// Tells listeners that a callback failed.
    pub(crate) fn report(&self, subsystem: &str, callback: Callback, why: String) {
        self.0.common.speaker.say(Event::Failed(Failed {
            ns: self.id().clone(),
            subsystem: subsystem.to_owned(),
            callback,
            why,
        }));
    }
}

impl Common {
    pub(crate) fn new(workers: Arc<Workers>) -> Arc<Self> {
        Arc::new(Self {
            rtnl: LevelMutex::new(()),
            speaker: Speaker::new(),
            workers,
            draining: Mutex::new(BTreeMap::new()),
            refused: Mutex::new(BTreeMap::new()),
        })
    }

    pub(crate) fn listen(&self) -> Events {
        self.speaker.listen()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Namespace {}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({}, {:?})", self.0.id, self.state())
    }
}
