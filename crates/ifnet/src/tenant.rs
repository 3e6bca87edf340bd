//! The interfaces of one namespace.

use crate::attic::Old;
use crate::event::{LinkChange, LinkEvent};
use crate::interface::Interface;
use crate::life::Ends;
use crate::name::IfName;
use crate::request::{Reply, Request, RequestError};
use crate::subsystem::Shared;
use holm_lifetime::levels::{DevBase, LevelMutex, Locked, MayTake};
use holm_lifetime::sync::Arc;
use holm_lifetime::{Owner, Published, Ref, WeakRef, grace};
use holm_netns::Namespace;
use holm_netns::notifier::{Member, NsHeld, Source};
use std::collections::BTreeSet;
use std::fmt;

/// The interfaces of one namespace: what
/// [`Contents::get::<IfnetSubsystem>`](holm_netns::Contents::get) finds there. A handle.
///
/// # What takes which lock
///
/// [`find`](Self::find), [`list`](Self::list) and questions take none. Changes, and what creates,
/// moves and destroys, wait for the configuration lock of the namespace; with a second namespace, for
/// `Rtnl` and both. Who calls these holds no lock level and is inside the namespaces.
#[derive(Clone)]
pub struct NsInterfaces(pub(crate) Arc<Tenant>);

pub(crate) struct Tenant {
    pub(crate) ns: Namespace,
    pub(crate) member: Arc<Member<LinkEvent>>,
    pub(crate) shared: Arc<Shared>,
    /// Changed only while the configuration lock is held.
    table: LevelMutex<DevBase, Table>,
    /// The same for those who have no lock.
    names: Published<Names>,
    pub(crate) ends: Ends,
}

#[derive(Default)]
struct Table {
    /// The namespace goes: nothing comes any more.
    closed: bool,
    /// References are recorded.
    tracked: bool,
    /// In the order in which they came.
    owners: Vec<Owner<Interface>>,
}

/// Interfaces by name, in the order of the names.
pub(crate) struct Names(Box<[(IfName, WeakRef<Interface>)]>);

impl NsInterfaces {
    /// The interface of this name. Takes no lock.
    #[inline]
    #[track_caller]
    pub fn find(&self, name: IfName) -> Option<Ref<Interface>> {
        self.0.find(name)
    }

    /// All interfaces there are, in the order of their names. Takes no lock.
    pub fn list(&self) -> Vec<Ref<Interface>> {
        let section = grace::section();
        let names = self.0.names.get(&section);
        let all = names.into_iter().flat_map(|names| &names.0);
        all.filter_map(|(_, interface)| interface.upgrade()).collect()
    }

    /// Asks or tells the interface of this name something.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; what the system would call it is its
    /// [`errno`](RequestError::errno): ENXIO for an interface that is not there, or is being destroyed.
    ///
    /// # Panics
    ///
    /// In a debug build, if it is a change and the thread holds a lock level.
    #[inline]
    pub fn request(&self, name: IfName, request: &Request) -> Result<Reply, RequestError> {
        let none = RequestError::NoInterface(name);
        if !request.is_change() {
            return self.find(name).ok_or(none)?.ask(request);
        }
        let outcome = {
            let mut held = Locked::nothing();
            let mut guard = self.0.ns.lock(&mut held);
            // Under the lock it is not destroyed.
            let interface = self.find(name).ok_or(none)?;
            if let Some(receiver) = interface.receiver() {
                receiver.allows(&interface, request)?;
            }
            interface.change(request, &mut guard.token().innermost())
        };
        self.0.shared.attic.tidy();
        outcome
    }

    /// Records from now on who refers to the interfaces here, from where in the code and when; or no
    /// longer. It makes requests dearer.
    pub fn track(&self, on: bool) {
        let mut held = Locked::nothing();
        let mut table = self.0.table.lock(&mut held);
        table.tracked = on;
        table.owners.iter().for_each(|owner| owner.track(on));
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0.ns
    }
}

impl Tenant {
    pub(crate) fn new(ns: Namespace, member: Arc<Member<LinkEvent>>, shared: Arc<Shared>) -> Self {
        Self {
            ns,
            member,
            shared,
            table: LevelMutex::new(Table::default()),
            names: Published::new(None),
            ends: Ends::default(),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn find(&self, name: IfName) -> Option<Ref<Interface>> {
        let section = grace::section();
        let names = &self.names.get(&section)?.0;
        let place = names.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        names.get(place)?.1.upgrade()
    }

    /// Whether an interface may have this name.
    pub(crate) fn check_free(&self, name: IfName, _: &mut NsHeld<'_>) -> Result<(), RequestError> {
        match self.find(name) {
            Some(_) => Err(RequestError::Exists { name, what: "an interface of this name".into() }),
            None => Ok(()),
        }
    }

    /// Lists an interface. The namespace does not [go](Self::is_closed).
    pub(crate) fn insert<H: MayTake<DevBase>>(
        &self,
        owner: Owner<Interface>,
        held: &mut Locked<'_, H>,
    ) {
        let mut table = self.table.lock(held);
        owner.track(table.tracked);
        table.owners.push(owner);
        self.publish(&table);
    }

    /// Takes an interface out of the list.
    pub(crate) fn remove<H: MayTake<DevBase>>(
        &self,
        index: u64,
        held: &mut Locked<'_, H>,
    ) -> Option<Owner<Interface>> {
        let mut table = self.table.lock(held);
        let place = table.owners.iter().position(|owner| owner.index() == index)?;
        let owner = table.owners.remove(place);
        table.owners.shrink_to_fit();
        self.publish(&table);
        Some(owner)
    }

    /// Lets nothing come any more.
    pub(crate) fn close<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) {
        self.table.lock(held).closed = true;
    }

    /// An interface has another name.
    pub(crate) fn republish(&self, held: &mut NsHeld<'_>) {
        self.publish(&self.table.lock(held));
    }

    /// The units of a kind that are taken, by an interface or by the name of one.
    pub(crate) fn units<H: MayTake<DevBase>>(
        &self,
        kind: &str,
        held: &mut Locked<'_, H>,
    ) -> BTreeSet<u32> {
        let table = self.table.lock(held);
        let of_kind = table.owners.iter().filter(|owner| owner.kind() == kind);
        let named = table.owners.iter().filter_map(|owner| owner.name().unit_of(kind));
        of_kind.map(|owner| owner.unit()).chain(named).collect()
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_closed<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) -> bool {
        self.table.lock(held).closed
    }

    /// All interfaces, in the order in which they came.
    pub(crate) fn all<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) -> Vec<Ref<Interface>> {
        self.table.lock(held).owners.iter().map(Owner::get).collect()
    }

    fn publish(&self, table: &Table) {
        if table.closed {
            // Who looks for one that was taken out finds that it can't be had. So when the namespace
            // goes there is nothing that a grace period is needed for.
            return;
        }
        let mut names: Box<[_]> =
            table.owners.iter().map(|owner| (owner.name(), owner.downgrade())).collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        let old = self.names.replace(Some(Box::new(Names(names))));
        self.shared.attic.keep(old.map(Old::Names));
    }
}

/// Brings who begins to listen up to date.
pub(crate) struct Existing(pub(crate) holm_lifetime::sync::Weak<Tenant>);

impl Source<LinkEvent> for Existing {
    fn existing(&self, held: &mut NsHeld<'_>) -> Vec<LinkEvent> {
        let Some(tenant) = self.0.upgrade() else { return Vec::new() };
        tenant.all(held).iter().flat_map(|interface| existing(interface)).collect()
    }
}

fn existing(interface: &Interface) -> Vec<LinkEvent> {
    let mut changes = vec![LinkChange::Registered];
    changes.extend(interface.addresses().into_iter().map(LinkChange::AddressAdded));
    changes.extend(
        interface.master().and_then(|master| Some(LinkChange::Joined(master.upgrade()?.name()))),
    );
    if interface.flags().has(crate::Flags::UP) {
        changes.push(LinkChange::Up);
    }
    changes.into_iter().map(|change| interface.event(change)).collect()
}

impl fmt::Debug for NsInterfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NsInterfaces({})", self.0.ns.id())
    }
}
