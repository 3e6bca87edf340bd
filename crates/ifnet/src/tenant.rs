//! The interfaces of one namespace.

use crate::ends::Ends;
use crate::event::{LinkChange, LinkEvent};
use crate::interface::Interface;
use crate::name::{IfName, NoIfName};
use crate::names::Names;
use crate::request::{Reply, Request, RequestError};
use crate::subsystem::Shared;
use holm_lifetime::levels::{DevBase, LevelMutex, Locked, MayTake};
use holm_lifetime::sync::Arc;
use holm_lifetime::{Owner, Ref};
use holm_netns::Namespace;
use holm_netns::notifier::{Member, NsHeld, Source};
use std::collections::{BTreeMap, BTreeSet};
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
    names: Names,
    pub(crate) ends: Ends,
}

#[derive(Default)]
struct Table {
    /// The namespace goes: nothing comes any more.
    closed: bool,
    /// By their numbers, and so mostly in the order in which they came.
    owners: BTreeMap<u64, Owner<Interface>>,
    /// The units that each kind has here.
    units: Vec<(&'static str, Units)>,
}

/// The units of one kind.
#[derive(Default)]
struct Units {
    taken: BTreeSet<u32>,
    /// All before this one are taken.
    full_below: u32,
}

impl NsInterfaces {
    /// The interface of this name. Takes no lock.
    #[inline]
    #[track_caller]
    pub fn find(&self, name: IfName) -> Option<Ref<Interface>> {
        self.0.find(name)
    }

    /// All interfaces there are, in the order of their names. Takes no lock.
    pub fn list(&self) -> Vec<Ref<Interface>> {
        let mut all = Vec::new();
        self.0.names.for_each(|interface| all.push(interface));
        all.sort_by_cached_key(|interface| interface.name());
        all
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
    #[track_caller]
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
            names: Names::new(),
            ends: Ends::default(),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn find(&self, name: IfName) -> Option<Ref<Interface>> {
        self.names.find(name)
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
        table.units(owner.kind()).take(owner.unit());
        let (name, interface) = (owner.name(), owner.downgrade());
        table.owners.insert(owner.index(), owner);
        self.names.insert(name, interface, table.owners.len(), &self.shared.attic);
    }

    /// Takes an interface out of the list.
    pub(crate) fn remove<H: MayTake<DevBase>>(
        &self,
        index: u64,
        held: &mut Locked<'_, H>,
    ) -> Option<Owner<Interface>> {
        let mut table = self.table.lock(held);
        let owner = table.owners.remove(&index)?;
        table.units(owner.kind()).give_back(owner.unit());
        // When the namespace goes, who looks for one that was taken out finds that it can't be had. So
        // then there is nothing that a grace period is needed for.
        if !table.closed {
            self.names.remove(owner.name(), table.owners.len(), &self.shared.attic);
        }
        Some(owner)
    }

    /// Lets nothing come any more.
    pub(crate) fn close<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) {
        self.table.lock(held).closed = true;
    }

    /// An interface has another name.
    pub(crate) fn renamed(&self, interface: &Interface, from: IfName, held: &mut NsHeld<'_>) {
        let table = self.table.lock(held);
        let (len, attic) = (table.owners.len(), &self.shared.attic);
        if !table.closed {
            self.names.insert(interface.name(), interface.downgrade(), len, attic);
            self.names.remove(from, len, attic);
        }
    }

    /// The first unit of a kind that no interface has, nor the name of one; and its name.
    pub(crate) fn free_unit<H: MayTake<DevBase>>(
        &self,
        kind: &'static str,
        held: &mut Locked<'_, H>,
    ) -> Result<(IfName, u32), NoIfName> {
        let mut table = self.table.lock(held);
        for unit in table.units(kind).free() {
            let name = IfName::of_unit(kind, unit)?;
            if self.find(name).is_none() {
                return Ok((name, unit));
            }
        }
        IfName::of_unit(kind, u32::MAX).map(|name| (name, u32::MAX))
    }

    /// Whether an interface has this unit.
    pub(crate) fn has_unit<H: MayTake<DevBase>>(
        &self,
        kind: &'static str,
        unit: u32,
        held: &mut Locked<'_, H>,
    ) -> bool {
        self.table.lock(held).units(kind).taken.contains(&unit)
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_closed<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) -> bool {
        self.table.lock(held).closed
    }

    /// All interfaces, in the order in which they came.
    pub(crate) fn all<H: MayTake<DevBase>>(&self, held: &mut Locked<'_, H>) -> Vec<Ref<Interface>> {
        self.table.lock(held).owners.values().map(Owner::get).collect()
    }
}

impl Table {
    fn units(&mut self, kind: &'static str) -> &mut Units {
        let place = self.units.iter().position(|(other, _)| *other == kind);
        let place = place.unwrap_or_else(|| {
            self.units.push((kind, Units::default()));
            self.units.len() - 1
        });
        match self.units.get_mut(place) {
            Some((_, units)) => units,
            None => unreachable!("found or pushed just now"),
        }
    }
}

impl Units {
    fn take(&mut self, unit: u32) {
        self.taken.insert(unit);
    }

    fn give_back(&mut self, unit: u32) {
        self.taken.remove(&unit);
        self.full_below = self.full_below.min(unit);
    }

    /// Those that are free, lowest first.
    fn free(&mut self) -> impl Iterator<Item = u32> {
        while self.taken.contains(&self.full_below) {
            self.full_below += 1;
        }
        (self.full_below..u32::MAX).filter(|unit| !self.taken.contains(unit))
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
