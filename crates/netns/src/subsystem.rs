//! What a namespace is made of: pernet subsystems and their states.

use crate::namespace::Namespace;
use holm_lifetime::levels::{Holding, Locked, Nothing, Pernet};
use holm_lifetime::sync::Arc;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A part that every namespace of a registry has, with a state of its own in each.
///
/// A registry calls [`init`](Self::init) once for each namespace, in the order in which subsystems
/// were registered, and [`pre_exit`](Self::pre_exit) and [`exit`](Self::exit) once for each state
/// that `init` returned, in reverse. A panic in one of them counts as its failure and goes no
/// further.
pub trait Subsystem: Send + Sync + 'static {
    /// What it keeps in each namespace.
    type State: Send + Sync + 'static;

    /// Whether [`exit`](Self::exit) may block: on a disk, on a peer. Then whoever removes a namespace
    /// and has a deadline leaves it to a worker of the registry, which takes two changes of thread.
    const EXIT_MAY_BLOCK: bool = false;

    /// Its name, for messages. Asked for once, when it is registered.
    fn name(&self) -> &str;

    /// Makes the state for a namespace that nobody can enter yet. `Pernet` is held; it may take the
    /// levels after it. The states of subsystems registered before are there.
    ///
    /// # Errors
    ///
    /// Refuses the namespace: it is not created, or the subsystem is not registered.
    fn init(&self, ns: &View<'_>, held: &mut Held<'_>) -> Result<Self::State, InitError>;

    /// The namespace is going: nobody enters it any more (save who was already about to), some are
    /// inside. Ends what would keep them there: shuts gates, wakes sleepers, recalls what was lent.
    /// Nothing is held. It does not wait for anybody.
    fn pre_exit(&self, ns: &View<'_>, state: &Self::State) {
        let _ = (ns, state);
    }

    /// The namespace has drained: nobody is inside, and here is the state to destroy. The states of
    /// subsystems registered before are still there. Nothing is held.
    fn exit(&self, ns: &View<'_>, state: Self::State) {
        let _ = (ns, state);
    }
}

/// What is held while a subsystem's `init` runs.
pub type Held<'a> = Locked<'a, Holding<Pernet, Nothing>>;

/// Why a subsystem refuses a namespace.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct InitError(pub String);

/// A namespace as a subsystem's callback sees it.
pub struct View<'a> {
    pub(crate) ns: &'a Namespace,
    pub(crate) layout: &'a Layout,
    pub(crate) states: &'a [State],
}

impl View<'_> {
    /// Which namespace it is.
    pub fn namespace(&self) -> &Namespace {
        self.ns
    }

    /// The state of a subsystem that was initialised before.
    pub fn get<S: Subsystem>(&self) -> Option<&S::State> {
        self.layout.get::<S>(self.states)
    }
}

/// What somebody inside a namespace finds there: the states of its subsystems.
pub struct Contents {
    pub(crate) layout: Arc<Layout>,
    pub(crate) states: Vec<State>,
}

impl Contents {
    /// The state of subsystem `S`, if it is registered. Takes constant time.
    #[inline]
    pub fn get<S: Subsystem>(&self) -> Option<&S::State> {
        self.layout.get::<S>(&self.states)
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.layout.entries.iter().map(|entry| entry.name())).finish()
    }
}

/// A subsystem's state in one namespace. Shared between successive contents of the namespace, and
/// with nobody else: the last of them has it for itself.
pub(crate) type State = Arc<dyn Any + Send + Sync>;

/// Which subsystems there are, in the order of their registration. Never changes; registering makes
/// a new one.
#[derive(Default, Clone)]
pub(crate) struct Layout {
    pub(crate) entries: Vec<Arc<dyn Entry>>,
    places: HashMap<TypeId, usize, BuildHasherDefault<IsHash>>,
}

impl Layout {
    pub(crate) fn contains<S: Subsystem>(&self) -> bool {
        self.places.contains_key(&TypeId::of::<S>())
    }

    /// The same and one more.
    pub(crate) fn with(&self, entry: Arc<dyn Entry>) -> Self {
        Self::of(self.entries.iter().cloned().chain([entry]))
    }

    /// The same without `S`, and what it was and where it stood.
    pub(crate) fn without<S: Subsystem>(&self) -> Option<(Self, usize, Arc<dyn Entry>)> {
        let place = *self.places.get(&TypeId::of::<S>())?;
        let mut entries = self.entries.clone();
        let entry = entries.remove(place);
        Some((Self::of(entries), place, entry))
    }

    fn of(entries: impl IntoIterator<Item = Arc<dyn Entry>>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let places = entries.iter().enumerate().map(|(at, entry)| (entry.key(), at)).collect();
        Self { entries, places }
    }

    #[inline]
    fn get<'s, S: Subsystem>(&self, states: &'s [State]) -> Option<&'s S::State> {
        let place = *self.places.get(&TypeId::of::<S>())?;
        states.get(place)?.downcast_ref()
    }
}

/// A subsystem whose types have been put away. Its calls contain panics.
pub(crate) trait Entry: Send + Sync {
    fn key(&self) -> TypeId;
    fn name(&self) -> &str;
    fn exit_may_block(&self) -> bool;
    fn init(&self, ns: &View<'_>, held: &mut Held<'_>) -> Result<State, Failure>;
    fn pre_exit(&self, ns: &View<'_>, state: &State) -> Result<(), Failure>;
    fn exit(&self, ns: &View<'_>, state: State) -> Result<(), Failure>;
}

/// What went wrong in a callback, in words.
pub(crate) type Failure = String;

/// A subsystem and its name, asked for once: where the name is needed later, a panic could not be
/// reported by name.
pub(crate) struct Named<S> {
    subsystem: S,
    name: String,
}

impl<S: Subsystem> Named<S> {
    pub(crate) fn new(subsystem: S) -> Self {
        Self { name: subsystem.name().to_owned(), subsystem }
    }
}

impl<S: Subsystem> Entry for Named<S> {
    fn key(&self) -> TypeId {
        TypeId::of::<S>()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn exit_may_block(&self) -> bool {
        S::EXIT_MAY_BLOCK
    }

    fn init(&self, ns: &View<'_>, held: &mut Held<'_>) -> Result<State, Failure> {
        match contain(|| self.subsystem.init(ns, held))? {
            Ok(state) => Ok(Arc::new(state)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn pre_exit(&self, ns: &View<'_>, state: &State) -> Result<(), Failure> {
        match state.downcast_ref() {
            Some(state) => contain(|| self.subsystem.pre_exit(ns, state)),
            None => Err(WRONG_TYPE.into()),
        }
    }

    fn exit(&self, ns: &View<'_>, state: State) -> Result<(), Failure> {
        let state = state.downcast().map_err(|_| WRONG_TYPE.to_owned())?;
        match Arc::into_inner(state) {
            Some(state) => contain(|| self.subsystem.exit(ns, state)),
            None => Err("its state is shared, so it was leaked: this is a bug in netns".into()),
        }
    }
}

const WRONG_TYPE: &str = "its state has another type, so it was dropped: this is a bug in netns";

/// Calls `callback` and turns a panic into words.
pub(crate) fn contain<R>(callback: impl FnOnce() -> R) -> Result<R, Failure> {
    // What a callback leaves behind half done is its subsystem's own state, which the failure is
    // about; nothing of the registry is borrowed mutably.
    catch_unwind(AssertUnwindSafe(callback)).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        format!("panicked: {}", message.unwrap_or("(no message)"))
    })
}

/// A type id is a hash already.
#[derive(Default)]
pub(crate) struct IsHash(u64);

impl Hasher for IsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
