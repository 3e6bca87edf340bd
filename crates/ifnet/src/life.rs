//! How interfaces come and move.

use crate::driver::{Cloner, Driver, DriverError};
use crate::ether::{MTU, MacAddress};
use crate::event::LinkChange;
use crate::flags::Flags;
use crate::interface::{Interface, Traits};
use crate::name::{IfName, NoIfName};
use crate::request::{check_mac, check_mtu};
use crate::tenant::{NsInterfaces, Tenant};
use holm_lifetime::levels::{HeldLevels, Holding, Locked, NsRtnl};
use holm_lifetime::sync::Arc;
use holm_lifetime::sync::atomic::Ordering;
use holm_lifetime::{Owner, Ref};

/// What is said of a new interface of whatever kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewInterface {
    /// Its name; otherwise its kind and the next free unit, as `lagg0`.
    pub name: Option<IfName>,
    /// Its MTU, of 576 to 65,521 bytes; otherwise what its kind chooses.
    pub mtu: Option<usize>,
    /// Its MAC address; otherwise one that follows from the names of the namespace and the interface.
    pub mac: Option<MacAddress>,
}

/// Why an interface was not created. Nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// There is one of this name.
    #[error("interface {0} exists already; choose another name, or destroy it first")]
    Exists(IfName),
    /// Its unit makes no name.
    #[error(transparent)]
    Name(#[from] NoIfName),
    /// What was said of it can't be.
    #[error("an interface of kind {kind} was not created: {why}")]
    Invalid {
        /// The kind.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Its driver could not be made.
    #[error("an interface of kind {kind} was not created: {why}")]
    Driver {
        /// The kind.
        kind: &'static str,
        /// What the driver said.
        why: DriverError,
    },
    /// The namespace goes.
    #[error("namespace {0} takes no interface any more: it is being removed")]
    Gone(String),
}

/// Why an interface was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// There is none of this name.
    #[error("there is no interface {0}")]
    NoInterface(IfName),
    /// There is one of this name where it should go.
    #[error("interface {0} exists already in the other namespace; give another name")]
    Exists(IfName),
    /// Interfaces of its kind stay.
    #[error("interface {name} is of kind {kind}, which stays in its namespace")]
    Stays {
        /// Which interface.
        name: IfName,
        /// Its kind.
        kind: &'static str,
    },
    /// The other namespace goes, or the one it is in.
    #[error("namespace {0} takes no interface any more: it is being removed")]
    Gone(String),
}

impl NsInterfaces {
    /// Creates an interface. It is not up.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn create<C: Cloner>(
        &self,
        new: NewInterface,
        cloner: C,
    ) -> Result<Ref<Interface>, CreateError> {
        new.check(C::KIND)?;
        if let Some(name) = new.name.filter(|name| self.find(*name).is_some()) {
            return Err(CreateError::Exists(name));
        }
        let new = NewInterface { mtu: Some(new.mtu.unwrap_or_else(|| cloner.mtu())), ..new };
        let made = cloner.make();
        let driver = made.map_err(|why| CreateError::Driver { kind: C::KIND, why })?;
        let born = {
            let mut held = Locked::nothing();
            let mut guard = self.0.ns.lock(&mut held);
            self.0.bear(C::KIND, new, driver, guard.token())
        };
        self.0.shared.attic.tidy();
        born.map_err(Stillborn::bury)
    }

    /// Moves an interface to another namespace, under the name `to_name` or its own. It keeps its number,
    /// its MAC address, MTU and flags, its unit if that is free there, and loses its addresses and what was
    /// on its way to it; to those who listen it goes here and comes
    /// there.
    ///
    /// # Errors
    ///
    /// [`MoveError`].
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn move_to(
        &self,
        name: IfName,
        other: &NsInterfaces,
        to_name: Option<IfName>,
    ) -> Result<(), MoveError> {
        let outcome = {
            let mut held = Locked::nothing();
            let mut rtnl = self.0.ns.rtnl(&mut held);
            let mut both = self.0.ns.lock_two(&other.0.ns, rtnl.token());
            self.0.move_to(name, &other.0, to_name.unwrap_or(name), both.token())
        };
        self.0.shared.attic.tidy();
        outcome
    }
}

impl NewInterface {
    pub(crate) fn check(&self, kind: &'static str) -> Result<(), CreateError> {
        let checked = self.mtu.map_or(Ok(()), check_mtu).and(self.mac.map_or(Ok(()), check_mac));
        checked.map_err(|why| CreateError::Invalid { kind, why })
    }
}

/// What is left of an interface that could not be registered.
pub(crate) struct Stillborn {
    why: CreateError,
    remains: Remains,
}

enum Remains {
    Driver(Box<dyn Driver>),
    Interface(Owner<Interface>),
}

impl Stillborn {
    /// Destroys it. Nothing is held.
    pub(crate) fn bury(self) -> CreateError {
        match self.remains {
            Remains::Driver(driver) => driver.destroy(),
            Remains::Interface(owner) => {
                owner.dyn_driver().wake();
                // A source that it has added may be running.
                owner.retire().on_drained(Interface::destroy);
            }
        }
        self.why
    }
}

impl Tenant {
    /// Registers an interface with this driver.
    pub(crate) fn bear<H>(
        self: &Arc<Self>,
        kind: &'static str,
        new: NewInterface,
        driver: Box<dyn Driver>,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Result<Ref<Interface>, Stillborn>
    where
        H: HeldLevels,
    {
        let chosen = if self.is_closed(held) {
            Err(CreateError::Gone(self.ns.id().to_string()))
        } else {
            self.choose_name(kind, new.name, held)
        };
        let (name, unit) = match chosen {
            Ok(chosen) => chosen,
            Err(why) => return Err(Stillborn { why, remains: Remains::Driver(driver) }),
        };
        let traits = Traits {
            index: self.shared.next_index.fetch_add(1, Ordering::Relaxed),
            kind,
            unit,
            name,
            mtu: new.mtu.unwrap_or(MTU),
            mac: new.mac.unwrap_or_else(|| stable_mac(self.ns.id().name.as_str(), name)),
        };
        let owner = Owner::new(Interface::new(traits, self.clone(), driver));
        owner.set_own(owner.downgrade());
        // So that it can be said what a destruction waits for.
        owner.track(true);
        if let Err(why) = owner.dyn_driver().attach(&owner.downgrade()) {
            let why = CreateError::Driver { kind, why };
            return Err(Stillborn { why, remains: Remains::Interface(owner) });
        }
        let interface = owner.get();
        self.insert(owner, held);
        interface.tell(LinkChange::Registered, held);
        Ok(interface)
    }

    fn choose_name<H: HeldLevels>(
        &self,
        kind: &'static str,
        name: Option<IfName>,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Result<(IfName, u32), CreateError> {
        let Some(name) = name else { return Ok(self.free_unit(kind, held)?) };
        if self.find(name).is_some() {
            return Err(CreateError::Exists(name));
        }
        let own = name.unit_of(kind).filter(|unit| !self.has_unit(kind, *unit, held));
        match own {
            Some(unit) => Ok((name, unit)),
            None => Ok((name, self.free_unit(kind, held)?.1)),
        }
    }

    fn move_to<H>(
        self: &Arc<Self>,
        name: IfName,
        other: &Arc<Self>,
        to_name: IfName,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Result<(), MoveError>
    where
        H: HeldLevels,
    {
        let interface = self.find(name).ok_or(MoveError::NoInterface(name))?;
        if !interface.dyn_driver().is_movable() {
            return Err(MoveError::Stays { name, kind: interface.kind() });
        }
        let taken = other.find(to_name).is_some_and(|other| other.index() != interface.index());
        if taken {
            return Err(MoveError::Exists(to_name));
        }
        for ns in [self, other] {
            if ns.is_closed(held) {
                return Err(MoveError::Gone(ns.ns.id().to_string()));
            }
        }
        if let Some(owner) = self.remove(interface.index(), held) {
            interface.tell(LinkChange::Unregistered, held);
            let unit = match other.has_unit(interface.kind(), interface.unit(), held) {
                false => interface.unit(),
                true => other.free_unit(interface.kind(), held).map_or(u32::MAX, |(_, unit)| unit),
            };
            interface.set_home(other.clone(), to_name, unit);
            other.insert(owner, held);
            interface.tell(LinkChange::Registered, held);
            if interface.flags().has(Flags::UP) {
                interface.tell(LinkChange::Up, held);
            }
            interface.dyn_driver().moved(&interface);
            // Requests that wait to tell of it wait where it was.
            interface.tell_link(held);
        }
        Ok(())
    }
}

/// A locally administered address that follows from the names: FNV-1a over both, stirred.
fn stable_mac(ns: &str, name: IfName) -> MacAddress {
    let bytes = ns.bytes().chain([0]).chain(name.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // So that the upper bytes depend on the last letter too.
    let stirred = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [a, b, c, d, e, f, ..] = stirred.to_be_bytes();
    MacAddress([(a & !1) | 2, b, c, d, e, f])
}
