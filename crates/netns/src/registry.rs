//! The registry: the one place where namespaces and subsystems come and go.

use crate::events::{Callback, Event, Events};
use crate::list::{HoldsNsList, NsList};
use crate::name::{NameError, NsId, NsName};
use crate::namespace::{Common, Inside, Namespace, NsState};
use crate::subsystem::{Contents, Entry, Held, Layout, Named, State, Subsystem, View};
use crate::table::Table;
use crate::teardown::{Departing, Draining, Leaving, Waiting};
use crate::worker::Workers;
use holm_lifetime::levels::{LevelGuard, LevelMutex, Locked, MayTake, Pernet, Rtnl};
use holm_lifetime::sync::{Arc, Deadline};
use holm_lifetime::{Gate, Outgoing, grace};
use std::convert::Infallible;
use std::io;

/// All the namespaces of a program, and the subsystems that each of them has.
///
/// A handle; dropping the last one removes what is left.
///
/// Methods that look (`find`, `enter`, `list`) take no lock. Methods that change (`create`,
/// `remove`, `register`, `unregister`) are called holding nothing, and take `Pernet` and `Rtnl`.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    pernet: LevelMutex<Pernet, Registered>,
    list: NsList,
    table: Table,
    common: Arc<Common>,
}

/// What `Pernet` guards beside the list.
struct Registered {
    layout: Arc<Layout>,
    next_id: u64,
}

/// Why a namespace was not created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// What was given is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is one of this name.
    #[error("namespace {0} exists already")]
    Exists(NsId),
    /// A subsystem failed. Nothing is left of the attempt.
    #[error("namespace {name} was not created: {subsystem} refused it: {why}")]
    Refused {
        /// The name it was to have.
        name: NsName,
        /// Which subsystem.
        subsystem: String,
        /// What it said.
        why: String,
    },
}

impl From<Infallible> for CreateError {
    /// For what is an [`NsName`] already.
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Why a subsystem was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It is registered.
    #[error("subsystem {0} is registered already")]
    Exists(String),
    /// It refused a namespace that exists. Nothing is left of it in any.
    #[error("subsystem {subsystem} was not registered: it refused namespace {ns}: {why}")]
    Refused {
        /// Which subsystem.
        subsystem: String,
        /// The namespace.
        ns: NsId,
        /// What it said.
        why: String,
    },
}

/// Why a subsystem is not gone.
#[derive(Debug, thiserror::Error)]
pub enum UnregisterError {
    /// It was not registered.
    #[error("the subsystem is not registered")]
    NotRegistered,
    /// It is not registered any more, and has not left these namespaces yet. It leaves each when the
    /// last who was inside has gone.
    #[error("the subsystem has not left {} namespace(s) yet", .0.len())]
    Pending(Vec<Draining>),
}

/// Why a namespace is not gone.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none of this name.
    #[error("there is no namespace {0}")]
    NotFound(String),
    /// It is removed, and something of it is still held. It is listed until it is gone, and can be
    /// [waited for](Namespace::wait_gone).
    #[error("{0}")]
    Draining(Box<Draining>),
}

/// A namespace in the list of all.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which.
    pub ns: Namespace,
    /// Where it was in its life when the list was made.
    pub state: NsState,
}

impl Registry {
    /// A registry without namespaces or subsystems.
    ///
    /// # Errors
    ///
    /// When its first worker thread can't be started.
    pub fn new() -> io::Result<Self> {
        let common = Common::new(Workers::start()?);
        let registered = Registered { layout: Arc::new(Layout::default()), next_id: 1 };
        Ok(Self(Arc::new(Shared {
            pernet: LevelMutex::new(registered),
            list: NsList::new(),
            table: Table::new(),
            common,
        })))
    }

    /// The live namespace of this name. Takes no lock.
    pub fn find(&self, name: &str) -> Option<Namespace> {
        let section = grace::section();
        self.0.table.find(name, &section).cloned()
    }

    /// Enters the live namespace of this name. Takes no lock, and writes no memory that another
    /// thread writes.
    #[inline]
    #[track_caller]
    pub fn enter(&self, name: &str) -> Option<Inside> {
        let section = grace::section();
        self.0.table.find(name, &section)?.enter_in(&section)
    }

    /// The namespace that `name` or `name@id` means; the second form also finds one that is
    /// draining.
    pub fn resolve(&self, spec: &str) -> Option<Namespace> {
        let Some((name, id)) = spec.split_once('@') else { return self.find(spec) };
        let id: u64 = id.parse().ok()?;
        let live = self.find(name).filter(|ns| ns.id().id == id);
        live.or_else(|| self.0.common.draining.lock().get(&id).cloned())
            .filter(|ns| ns.id().name.as_str() == name)
    }

    /// Every namespace, live or draining, oldest first.
    pub fn list(&self) -> Vec<Listed> {
        // Live ones first: one that begins to drain meanwhile is then in both, and not in neither.
        let mut all = self.0.list.snapshot();
        all.extend(self.0.common.draining.lock().values().cloned());
        all.sort_by_key(|ns| ns.id().id);
        all.dedup();
        let listed = all.into_iter().map(|ns| Listed { state: ns.state(), ns });
        listed.filter(|listed| listed.state != NsState::Gone).collect()
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.0.common.listen()
    }

    /// Has `witness` called with each event from now on, by whoever brings it about: so a program that
    /// tells of more than namespaces can tell all of it in the order in which it happened. It must
    /// neither block nor panic. There can be one; whether this is it.
    pub fn set_witness(&self, witness: impl Fn(&Event) + Send + Sync + 'static) -> bool {
        self.0.common.speaker.set_witness(Box::new(witness))
    }

    /// Waits for the lock that serialises what comes and goes.
    pub fn pernet<'a, H: MayTake<Pernet>>(
        &'a self,
        held: &'a mut Locked<'_, H>,
    ) -> LevelGuard<'a, Pernet, H, impl Sized> {
        self.0.pernet.lock(held)
    }

    /// Waits for the global configuration lock.
    pub fn rtnl<'a, H: MayTake<Rtnl>>(
        &'a self,
        held: &'a mut Locked<'_, H>,
    ) -> LevelGuard<'a, Rtnl, H, ()> {
        self.0.common.rtnl.lock(held)
    }

    /// Calls `f` for every live namespace, oldest first, for as long as it says `true`. They are
    /// the same ones during the whole walk.
    pub fn for_each<'a, H: HoldsNsList>(
        &self,
        held: &mut Locked<'a, H>,
        f: impl FnMut(&Namespace, &mut Locked<'a, H>) -> bool,
    ) {
        self.0.list.for_each(held, f);
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.0.common
    }

    /// Creates a namespace. When this returns it can be entered.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; then nothing of it is left.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn create<N>(&self, name: N) -> Result<Namespace, CreateError>
    where
        N: TryInto<NsName>,
        CreateError: From<N::Error>,
    {
        let name: NsName = name.try_into()?;
        let mut held = Locked::nothing();
        let mut pernet = self.0.pernet.lock(&mut held);
        if let Some(other) = self.find(name.as_str()) {
            return Err(CreateError::Exists(other.id().clone()));
        }
        let id = NsId { name, id: pernet.next_id };
        pernet.next_id += 1;
        let layout = pernet.layout.clone();
        let ns = Namespace::new(id, self.0.common.clone());

        let states = match init_all(&ns, &layout, pernet.token()) {
            Ok(states) => states,
            Err(refused) => {
                self.0.common.refused.lock().insert(ns.id().id, ns.clone());
                ns.begin_undoing(&layout);
                drop(pernet);
                return Err(refused.undo(&ns, &layout));
            }
        };

        let mut rtnl = self.0.common.rtnl.lock(pernet.token());
        let _ = ns.publish(Contents { layout, states });
        self.0.list.insert(ns.clone(), rtnl.token());
        self.0.table.insert(ns.clone());
        // Under the locks, so that listeners hear of a namespace's life in its order.
        self.0.common.speaker.say(Event::Created(ns.id().clone()));
        drop(rtnl);
        drop(pernet);
        // Subsystems may have made requests while it could not be entered.
        ns.after_unlock(true);
        Ok(ns)
    }

    /// Removes namespaces, all at once: none can be entered any more, and their names are free, as
    /// soon as this has begun. Then waits for those inside and destroys the contents.
    ///
    /// When this returns `Ok`, nobody is inside any of them and nothing of them is left. One that
    /// somebody else is removing is waited for as well.
    ///
    /// # Errors
    ///
    /// Those that were not gone when `deadline` passed, and why. They go when they can, are listed
    /// until then, and can be [waited for](Namespace::wait_gone) again.
    ///
    /// # Panics
    ///
    /// If one of them belongs to another registry. In a debug build, if the thread holds a lock level.
    pub fn remove<'a>(
        &self,
        batch: impl IntoIterator<Item = &'a Namespace>,
        deadline: Deadline,
    ) -> Result<(), Vec<Draining>> {
        let batch: Vec<Namespace> = batch.into_iter().cloned().collect();
        Waiting::carry_out_all(self.0.begin_removal(&batch), deadline);
        let draining: Vec<_> = batch.iter().filter_map(|ns| ns.wait_gone(deadline).err()).collect();
        if draining.is_empty() { Ok(()) } else { Err(draining) }
    }

    /// Removes the namespace that `name` or `name@id` means. See [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// [`RemoveError`].
    pub fn remove_named(&self, spec: &str, deadline: Deadline) -> Result<(), RemoveError> {
        let ns = self.resolve(spec).ok_or_else(|| RemoveError::NotFound(spec.to_owned()))?;
        let begun = self.0.begin_removal(std::slice::from_ref(&ns));
        let outcome = ns.wait_gone(deadline);
        drop(begun);
        outcome.map_err(|draining| RemoveError::Draining(Box::new(draining)))
    }

    /// Removes every namespace there is. See [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// Those that were not gone when `deadline` passed.
    pub fn remove_all(&self, deadline: Deadline) -> Result<(), Vec<Draining>> {
        let all: Vec<_> = self.list().into_iter().map(|listed| listed.ns).collect();
        self.remove(&all, deadline)
    }

    /// Registers a subsystem: makes its state in every namespace there is, and in each that comes.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; then nothing of it is left in any namespace.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn register<S: Subsystem>(&self, subsystem: S) -> Result<(), RegisterError> {
        let entry: Arc<dyn Entry> = Arc::new(Named::new(subsystem));
        let mut held = Locked::nothing();
        let mut pernet = self.0.pernet.lock(&mut held);
        if pernet.layout.contains::<S>() {
            return Err(RegisterError::Exists(entry.name().to_owned()));
        }

        let mut made: Vec<(Namespace, Inside, State)> = Vec::new();
        let mut refused = None;
        self.0.list.for_each(pernet.token(), |ns, held| {
            let Some(inside) = ns.enter() else { return true };
            let view = View { ns, layout: &inside.layout, states: &inside.states };
            match entry.init(&view, held) {
                Ok(state) => made.push((ns.clone(), inside, state)),
                Err(why) => refused = Some((ns.clone(), why)),
            }
            refused.is_none()
        });
        if let Some((ns, why)) = refused {
            // `exit` is called holding nothing. The passes keep the namespaces meanwhile.
            drop(pernet);
            undo(made, &*entry);
            ns.report(entry.name(), Callback::Init, why.clone());
            let (subsystem, ns) = (entry.name().to_owned(), ns.id().clone());
            return Err(RegisterError::Refused { subsystem, ns, why });
        }

        let layout = Arc::new(pernet.layout.with(entry));
        let next = made.into_iter().map(|(ns, inside, state)| {
            let states = inside.states.iter().cloned().chain([state]).collect();
            (ns, Contents { layout: layout.clone(), states })
        });
        let departing = replace_contents(next, Leaving::None);
        pernet.layout = layout;
        drop(pernet);
        for departing in departing {
            // What departs is memory, which goes when it can; nobody needs to wait for it.
            let _ = departing.settle().wait(Deadline::now());
        }
        Ok(())
    }

    /// Unregisters a subsystem: no namespace that comes has it, and it leaves those there are.
    ///
    /// # Errors
    ///
    /// [`UnregisterError`].
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn unregister<S: Subsystem>(&self, deadline: Deadline) -> Result<(), UnregisterError> {
        let mut held = Locked::nothing();
        let mut pernet = self.0.pernet.lock(&mut held);
        let (layout, place, entry) =
            pernet.layout.without::<S>().ok_or(UnregisterError::NotRegistered)?;
        let layout = Arc::new(layout);

        let mut leaves: Vec<(Namespace, Inside)> = Vec::new();
        self.0.list.for_each(pernet.token(), |ns, _| {
            leaves.extend(ns.enter().map(|inside| (ns.clone(), inside)));
            true
        });
        let next = leaves.iter().map(|(ns, inside)| {
            let mut states = inside.states.clone();
            states.remove(place);
            (ns.clone(), Contents { layout: layout.clone(), states })
        });
        let departing = replace_contents(next, Leaving::One(place));
        pernet.layout = layout;
        // It leaves namespaces that drain with the rest of them.
        let mut elsewhere: Vec<_> = self.0.common.draining.lock().values().cloned().collect();
        elsewhere.extend(self.0.common.refused.lock().values().cloned());
        elsewhere.retain(|ns| ns.tear_down().takes_along(&entry));
        drop(pernet);

        for (ns, inside) in leaves.drain(..) {
            let view = View { ns: &ns, layout: &inside.layout, states: &inside.states[..place] };
            pre_exit(&view, &*entry, &inside.states[place]);
        }
        grace::synchronize();
        let departing: Vec<_> = departing.into_iter().map(Departing::settle).collect();
        let departures: Vec<_> = departing.iter().map(Waiting::departure).collect();
        Waiting::carry_out_all(departing, deadline);
        let ended = departures.into_iter().map(|departure| departure.wait(deadline));
        let mut pending: Vec<_> = ended.filter_map(Result::err).collect();
        elsewhere.retain(|ns| !pending.iter().any(|pending| pending.ns == *ns));
        pending.extend(elsewhere.iter().filter_map(|ns| ns.wait_gone(deadline).err()));
        if pending.is_empty() { Ok(()) } else { Err(UnregisterError::Pending(pending)) }
    }
}

impl Shared {
    /// Takes namespaces out of reach and begins their departure. Those that are on their way already
    /// are left alone.
    fn begin_removal(&self, batch: &[Namespace]) -> Vec<Waiting> {
        let mut removed = self.unlink(batch);
        if removed.is_empty() {
            return Vec::new();
        }
        let shut: Vec<_> =
            removed.drain(..).filter_map(|ns| shut(&ns).map(|gate| (ns, gate))).collect();
        // One grace period for the whole batch, for the table, and for what `pre_exit` has shut.
        let elapsed = grace::synchronize();
        self.table.reclaim(&elapsed);
        let departing = shut.into_iter().map(|(ns, gate)| {
            Departing::begin(&ns, *gate.reclaim(&elapsed), Leaving::All).settle()
        });
        departing.collect()
    }

    /// Frees the names. Returns those namespaces that this call has unlinked.
    fn unlink(&self, batch: &[Namespace]) -> Vec<Namespace> {
        for ns in batch {
            assert!(Arc::ptr_eq(ns.common(), &self.common), "{ns:?} is of another registry");
        }
        let mut held = Locked::nothing();
        let mut pernet = self.pernet.lock(&mut held);
        let pernet_layout = pernet.layout.clone();
        let mut rtnl = self.common.rtnl.lock(pernet.token());
        let mut removed = Vec::new();
        for ns in batch {
            if self.list.contains(ns, rtnl.token()) {
                // First, so that who looks for it finds it in one place or the other.
                self.common.draining.lock().insert(ns.id().id, ns.clone());
                self.list.remove(ns, rtnl.token());
                self.table.remove(ns);
                ns.begin_removal(&pernet_layout);
                self.common.speaker.say(Event::Draining(ns.id().clone()));
                removed.push(ns.clone());
            }
        }
        removed
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.begin_removal(&self.list.snapshot()));
        self.common.workers.stop();
    }
}

/// Ends the ways into a namespace, and tells its subsystems.
fn shut(ns: &Namespace) -> Option<Outgoing<Gate<Contents>>> {
    let inside = ns.enter()?;
    let gate = ns.contents().replace(None)?;
    gate.shut();
    ns.control().close(ns);
    for (place, entry) in inside.layout.entries.iter().enumerate().rev() {
        let view = View { ns, layout: &inside.layout, states: &inside.states[..place] };
        pre_exit(&view, &**entry, &inside.states[place]);
    }
    Some(gate)
}

/// Publishes new contents in namespaces that are listed and begins the departure of the old ones.
/// `Pernet` is held, so that departures begin in the order of what was published.
fn replace_contents(
    next: impl Iterator<Item = (Namespace, Contents)>,
    leaving: Leaving,
) -> Vec<Departing> {
    let replaced: Vec<_> = next
        .filter_map(|(ns, contents)| {
            let old = ns.publish(contents)?;
            old.shut();
            Some((ns, old))
        })
        .collect();
    if replaced.is_empty() {
        return Vec::new();
    }
    let elapsed = grace::synchronize();
    let begin = |(ns, old): (Namespace, Outgoing<Gate<Contents>>)| {
        Departing::begin(&ns, *old.reclaim(&elapsed), leaving)
    };
    replaced.into_iter().map(begin).collect()
}

/// Makes the states of a new namespace, up to the first that is refused.
fn init_all(ns: &Namespace, layout: &Layout, held: &mut Held<'_>) -> Result<Vec<State>, Refused> {
    let mut states = Vec::with_capacity(layout.entries.len());
    for entry in &layout.entries {
        match entry.init(&View { ns, layout, states: &states }, held) {
            Ok(state) => states.push(state),
            Err(why) => return Err(Refused { states, why }),
        }
    }
    Ok(states)
}

/// A namespace that one of its subsystems has refused.
struct Refused {
    /// Those of the subsystems before it.
    states: Vec<State>,
    why: String,
}

impl Refused {
    /// Destroys the states, in reverse. Nothing is held.
    fn undo(self, ns: &Namespace, layout: &Layout) -> CreateError {
        let Self { mut states, why } = self;
        let subsystem = layout.entries[states.len()].name().to_owned();
        ns.report(&subsystem, Callback::Init, why.clone());
        ns.control().close(ns);
        for (place, state) in states.iter().enumerate().rev() {
            let view = View { ns, layout, states: &states[..place] };
            pre_exit(&view, &*layout.entries[place], state);
        }
        grace::synchronize();
        while let Some(state) = states.pop() {
            exit(&View { ns, layout, states: &states }, &*layout.entries[states.len()], state);
        }
        ns.is_undone();
        CreateError::Refused { name: ns.id().name, subsystem, why }
    }
}

/// Destroys a subsystem's states that were made in live namespaces and never published, last first.
fn undo(made: Vec<(Namespace, Inside, State)>, entry: &dyn Entry) {
    fn view<'a>(ns: &'a Namespace, inside: &'a Inside) -> View<'a> {
        View { ns, layout: &inside.layout, states: &inside.states }
    }
    for (ns, inside, state) in made.iter().rev() {
        pre_exit(&view(ns, inside), entry, state);
    }
    grace::synchronize();
    for (ns, inside, state) in made.into_iter().rev() {
        exit(&view(&ns, &inside), entry, state);
    }
}

fn pre_exit(view: &View<'_>, entry: &dyn Entry, state: &State) {
    if let Err(why) = entry.pre_exit(view, state) {
        view.namespace().report(entry.name(), Callback::PreExit, why);
    }
}

fn exit(view: &View<'_>, entry: &dyn Entry, state: State) {
    if let Err(why) = entry.exit(view, state) {
        view.namespace().report(entry.name(), Callback::Exit, why);
    }
}
