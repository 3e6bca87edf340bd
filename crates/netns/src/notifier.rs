//! Notifier chains: who wants to know what happens to the things in every namespace.
//!
//! The things belong to some subsystem (interfaces, say), and their events happen under the
//! configuration lock of their namespace. Whoever registers a notifier is first told what exists
//! already, as if it happened now, and then every event from there on: none missing in between,
//! and none twice. That is so because both the replay and the publication of the callback in a
//! namespace happen under that namespace's lock.
//!
//! A chain is a subsystem itself, registered before the one whose events it carries. So it knows the
//! namespaces that are not listed yet, and those that drain.

use crate::events::Callback;
use crate::namespace::{Common, Namespace};
use crate::registry::Registry;
use crate::subsystem::{Held, InitError, Subsystem, View, contain};
use holm_lifetime::levels::{HeldLevels, Holding, Holds, Locked, MayTake, Nothing, NsRtnl, Rtnl};
use holm_lifetime::sync::{Arc, Mutex, Weak};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

/// What a chain carries.
pub trait Notice: Send + Sync + 'static {
    /// What takes it back, for a listener that heard it and shall not have: the interface that was
    /// registered is unregistered. `None` for what leaves nothing behind.
    fn reverse(&self) -> Option<Self>
    where
        Self: Sized;
}

/// What is held while a notifier is called, and while what exists is asked for.
pub type NsHeld<'a> = Locked<'a, Holding<NsRtnl, Nothing>>;

/// Somebody who wants to know.
pub trait Notifier<N: Notice>: Send + Sync + 'static {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Hears a notice of something in `ns`, whose configuration lock is held. It must not wait.
    ///
    /// # Errors
    ///
    /// Refuses it: during the replay, the notifier is not registered and hears the reverse of what it
    /// heard so far. Later the refusal is [reported](crate::Event::Failed) and changes nothing.
    fn notify(&self, ns: &Namespace, notice: &N, held: &mut NsHeld<'_>) -> Result<(), Refusal>;
}

/// Why a notifier refuses a notice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Knows what exists in one namespace.
pub trait Source<N>: Send + Sync + 'static {
    /// The notices that bring a new listener up to date, in the order in which it wants them.
    fn existing(&self, held: &mut NsHeld<'_>) -> Vec<N>;
}

/// A chain. A handle; register a clone of it as a subsystem.
///
/// It belongs to the registry that it first had to do with, for as long as that is there: what
/// happens in its namespaces is ordered by the locks of one registry.
pub struct Chain<N>(Arc<Inner<N>>);

struct Inner<N> {
    name: String,
    state: Mutex<State<N>>,
}

/// Changed only while `Rtnl` is held, so that whoever holds it can walk both.
struct State<N> {
    registry: Option<Weak<Common>>,
    members: BTreeMap<u64, Arc<Member<N>>>,
    notifiers: Vec<Arc<dyn Notifier<N>>>,
}

/// The chain in one namespace.
pub struct Member<N> {
    ns: Namespace,
    /// Changed only while the namespace's lock is held.
    published: Mutex<Vec<Arc<dyn Notifier<N>>>>,
    source: Mutex<Option<Arc<dyn Source<N>>>>,
}

/// A registered notifier; for [`Chain::unregister`].
pub struct Registered<N>(Arc<dyn Notifier<N>>);

/// Why a notifier was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifierError {
    /// It is registered.
    #[error("notifier {0} is registered already")]
    Exists(String),
    /// It refused what exists.
    #[error(transparent)]
    Refused(#[from] NotifierRefused),
}

/// What a notifier refused, of what exists when it is registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("notifier {notifier} was not registered: in namespace {ns} it refused what exists: {why}")]
pub struct NotifierRefused {
    /// Whose refusal.
    pub notifier: String,
    /// Where.
    pub ns: String,
    /// What it said.
    pub why: String,
}

impl<N: Notice> Chain<N> {
    /// A chain without listeners. `name` is for messages.
    pub fn new(name: impl Into<String>) -> Self {
        let state = State { registry: None, members: BTreeMap::new(), notifiers: Vec::new() };
        Self(Arc::new(Inner { name: name.into(), state: Mutex::new(state) }))
    }

    /// Registers a notifier: it hears what exists in every namespace, and what happens from then on.
    ///
    /// # Errors
    ///
    /// When it is registered already; when it refuses something that exists, or what exists can't be
    /// told: then it has heard the reverse of all it heard, and hears no more.
    ///
    /// # Panics
    ///
    /// If the chain belongs to another registry. In a debug build, if the thread holds a lock level.
    pub fn register(
        &self,
        registry: &Registry,
        notifier: Arc<dyn Notifier<N>>,
    ) -> Result<Registered<N>, NotifierError> {
        self.assert_belongs_to(registry);
        let mut held = Locked::nothing();
        let mut rtnl = registry.rtnl(&mut held);
        if self.0.state.lock().notifiers.iter().any(|other| is_same(other, &notifier)) {
            return Err(NotifierError::Exists(notifier.name().to_owned()));
        }
        let mut refused = None;
        self.walk(|member| {
            let mut guard = member.ns.lock(rtnl.token());
            refused = member.replay(&notifier, &mut guard.token().innermost()).err();
            if refused.is_none() {
                member.published.lock().push(notifier.clone());
            }
            refused.is_none()
        });
        if let Some(refused) = refused {
            self.retract(&notifier, rtnl.token());
            return Err(refused.into());
        }
        self.0.state.lock().notifiers.push(notifier.clone());
        Ok(Registered(notifier))
    }

    /// Unregisters a notifier: it hears the reverse of what exists, and then nothing more. When this
    /// returns it is not running and will not be called.
    ///
    /// # Panics
    ///
    /// If the chain belongs to another registry. In a debug build, if the thread holds a lock level.
    pub fn unregister(&self, registry: &Registry, registered: Registered<N>) {
        self.assert_belongs_to(registry);
        let mut held = Locked::nothing();
        let mut rtnl = registry.rtnl(&mut held);
        self.0.state.lock().notifiers.retain(|other| !is_same(other, &registered.0));
        self.retract(&registered.0, rtnl.token());
    }

    fn assert_belongs_to(&self, registry: &Registry) {
        let belongs = self.0.state.lock().belongs_to(registry.common());
        assert!(belongs, "chain {} belongs to another registry", self.0.name);
    }

    /// Takes a notifier out wherever it is published, and has it hear the reverse of what exists.
    fn retract<H: Holds<Rtnl> + MayTake<NsRtnl>>(
        &self,
        notifier: &Arc<dyn Notifier<N>>,
        held: &mut Locked<'_, H>,
    ) {
        self.walk(|member| {
            let mut guard = member.ns.lock(held);
            let mut published = member.published.lock();
            let before = published.len();
            published.retain(|other| !is_same(other, notifier));
            let was_published = published.len() != before;
            drop(published);
            if was_published {
                let mut held = guard.token().innermost();
                match member.existing(&mut held) {
                    Ok(existing) => member.take_back(notifier, &existing, &mut held),
                    Err(why) => member.ns.report(&self.0.name, Callback::Notify, why),
                }
            }
            true
        });
    }

    /// Calls `f` for every member, for as long as it says `true`. `Rtnl` is held, so the members are
    /// the same ones during the walk; the mutex is not, because `f` takes the members' locks.
    fn walk(&self, mut f: impl FnMut(&Member<N>) -> bool) {
        let mut next = Bound::Unbounded;
        loop {
            let state = self.0.state.lock();
            let found = state.members.range((next, Bound::Unbounded)).next();
            let Some((id, member)) = found.map(|(id, member)| (*id, member.clone())) else {
                return;
            };
            drop(state);
            if !f(&member) {
                return;
            }
            next = Bound::Excluded(id);
        }
    }
}

impl<N> State<N> {
    /// Whether the chain belongs to this registry; one that belongs to none does from now on.
    fn belongs_to(&mut self, registry: &Arc<Common>) -> bool {
        match self.registry.as_ref().and_then(Weak::upgrade) {
            Some(own) => Arc::ptr_eq(&own, registry),
            None => {
                self.registry = Some(Arc::downgrade(registry));
                true
            }
        }
    }
}

/// Whether they are one object. What `Arc::ptr_eq` compares beside the address may differ.
fn is_same<N>(one: &Arc<dyn Notifier<N>>, other: &Arc<dyn Notifier<N>>) -> bool {
    std::ptr::addr_eq(&raw const **one, &raw const **other)
}

impl<N: Notice> Member<N> {
    /// Says who knows what exists in this namespace: the `init` of the subsystem whose events the
    /// chain carries does.
    pub fn set_source(&self, source: Arc<dyn Source<N>>) {
        *self.source.lock() = Some(source);
    }

    /// Tells everybody. Called with the lock of this namespace held, by whoever made it happen.
    pub fn notify<Outer: HeldLevels>(
        &self,
        notice: &N,
        held: &mut Locked<'_, Holding<NsRtnl, Outer>>,
    ) {
        let published = self.published.lock().clone();
        for notifier in &published {
            self.tell(notifier, notice, &mut held.innermost());
        }
    }

    /// Tells one, who can't refuse any more.
    fn tell(&self, notifier: &Arc<dyn Notifier<N>>, notice: &N, held: &mut NsHeld<'_>) {
        if let Err(why) = self.call(notifier, notice, held) {
            self.ns.report(notifier.name(), Callback::Notify, why);
        }
    }

    fn call(
        &self,
        notifier: &Arc<dyn Notifier<N>>,
        notice: &N,
        held: &mut NsHeld<'_>,
    ) -> Result<(), String> {
        let outcome = contain(|| notifier.notify(&self.ns, notice, held))?;
        outcome.map_err(|refusal| refusal.to_string())
    }

    /// Tells a new one what exists; all of it, or what it heard is taken back.
    fn replay(
        &self,
        notifier: &Arc<dyn Notifier<N>>,
        held: &mut NsHeld<'_>,
    ) -> Result<(), NotifierRefused> {
        let refused = |why| {
            let notifier = notifier.name().to_owned();
            NotifierRefused { notifier, ns: self.ns.id().to_string(), why }
        };
        let existing = self.existing(held).map_err(refused)?;
        for (at, notice) in existing.iter().enumerate() {
            if let Err(why) = self.call(notifier, notice, held) {
                self.take_back(notifier, &existing[..at], held);
                return Err(refused(why));
            }
        }
        Ok(())
    }

    /// What exists, or how the source failed.
    fn existing(&self, held: &mut NsHeld<'_>) -> Result<Vec<N>, String> {
        let source = self.source.lock().clone();
        source.map_or_else(|| Ok(Vec::new()), |source| contain(|| source.existing(held)))
    }

    /// Tells one the reverse of what it heard, last first.
    fn take_back(&self, notifier: &Arc<dyn Notifier<N>>, heard: &[N], held: &mut NsHeld<'_>) {
        for reverse in heard.iter().rev().filter_map(Notice::reverse) {
            self.tell(notifier, &reverse, held);
        }
    }
}

impl<N: Notice> Subsystem for Chain<N> {
    type State = Arc<Member<N>>;

    fn name(&self) -> &str {
        &self.0.name
    }

    fn init(&self, ns: &View<'_>, held: &mut Held<'_>) -> Result<Arc<Member<N>>, InitError> {
        let ns = ns.namespace();
        let _rtnl = ns.rtnl(held);
        let mut state = self.0.state.lock();
        if !state.belongs_to(ns.common()) {
            return Err(InitError(format!("chain {} belongs to another registry", self.0.name)));
        }
        let member = Arc::new(Member {
            ns: ns.clone(),
            published: Mutex::new(state.notifiers.clone()),
            source: Mutex::new(None),
        });
        state.members.insert(ns.id().id, member.clone());
        Ok(member)
    }

    fn exit(&self, ns: &View<'_>, member: Arc<Member<N>>) {
        let mut held = Locked::nothing();
        let _rtnl = ns.namespace().rtnl(&mut held);
        self.0.state.lock().members.remove(&ns.namespace().id().id);
        // The source may lead back to the namespace.
        member.source.lock().take();
    }
}

impl<N> Clone for Chain<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N> fmt::Debug for Chain<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.0.name)
    }
}

impl<N> fmt::Debug for Registered<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registered")
    }
}
