//! How interfaces go.

use crate::event::LinkChange;
use crate::interface::Interface;
use crate::lo;
use crate::name::IfName;
use crate::tenant::{NsInterfaces, Tenant};
use holm_lifetime::levels::{HeldLevels, Holding, Locked, NsRtnl, assert_nothing_held};
use holm_lifetime::sync::{Arc, Condvar, Deadline, Mutex};
use holm_lifetime::{Held, Ref, Retired, WeakRef};
use holm_pool::PoolSubsystem;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Why an interface is not gone.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// There is none of this name.
    #[error("there is no interface {0}")]
    NoInterface(IfName),
    /// It goes with its namespace, and not before.
    #[error("interface {0} is the loopback interface: it goes with its namespace")]
    Permanent(IfName),
    /// It is destroyed, and somebody still refers to it.
    #[error("{0}")]
    StillHeld(Box<Leaving>),
}

/// An interface that was taken out of its namespace and may still be referred to. Dropped, it is left to
/// a worker to destroy it when nobody does.
pub struct Leaving {
    name: IfName,
    index: u64,
    tenant: Arc<Tenant>,
    /// Until whoever sleeps in the driver was woken.
    sleepers: Option<Ref<Interface>>,
}

impl NsInterfaces {
    /// Destroys an interface, and its partner if it has one. When this returns `Ok`, nobody refers to
    /// it and its driver is gone.
    ///
    /// # Errors
    ///
    /// [`DestroyError`].
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn destroy(&self, name: IfName, deadline: Deadline) -> Result<(), DestroyError> {
        let interface = self.find(name).ok_or(DestroyError::NoInterface(name))?;
        if interface.kind() == lo::KIND {
            return Err(DestroyError::Permanent(name));
        }
        let leaving = self.0.unlink(interface);
        if leaving.is_empty() {
            return Err(DestroyError::NoInterface(name));
        }
        let outcome = wait_all(leaving, deadline);
        self.0.shared.attic.tidy();
        outcome.map_err(|leaving| DestroyError::StillHeld(Box::new(leaving)))
    }

    /// The interfaces that are destroyed and still referred to, and by whom.
    pub fn leaving(&self) -> Vec<(IfName, Held)> {
        let state = self.0.ends.state.lock();
        state.waiting.values().map(|ending| (ending.name, ending.interface.held())).collect()
    }
}

/// Interfaces of a namespace that are destroyed and not gone yet.
#[derive(Default)]
pub(crate) struct Ends {
    state: Mutex<EndsState>,
    changed: Condvar,
}

#[derive(Default)]
struct EndsState {
    /// By their numbers.
    waiting: BTreeMap<u64, Ending>,
    /// Those whose last reference went where nobody waits for it.
    drained: Vec<Interface>,
    /// Those that go with the namespace, and the partners of them.
    with_namespace: Vec<Leaving>,
}

struct Ending {
    name: IfName,
    interface: WeakRef<Interface>,
    /// To be waited for by who takes it; with somebody who does, or with a worker.
    retired: Option<Retired<Interface>>,
}

impl Leaving {
    /// Waits until nobody refers to it and it is destroyed.
    ///
    /// # Errors
    ///
    /// The same, to wait on, when `deadline` passes first.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn wait(mut self, deadline: Deadline) -> Result<(), Leaving> {
        self.wake();
        assert_nothing_held();
        if self.tenant.wait_gone(self.index, deadline) { Ok(()) } else { Err(self) }
    }

    /// Who refers to it.
    pub fn held(&self) -> Held {
        let state = self.tenant.ends.state.lock();
        state.waiting.get(&self.index).map(|ending| ending.interface.held()).unwrap_or_default()
    }

    /// Has those return who sleep in the driver. Nothing is held.
    fn wake(&mut self) {
        if let Some(interface) = self.sleepers.take() {
            interface.dyn_driver().wake();
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.wake();
        if let Some(retired) = self.tenant.ends.take(self.index) {
            let tenant = self.tenant.clone();
            retired.on_drained(move |interface| tenant.drained(interface));
        }
    }
}

impl Ends {
    /// What is to be waited for, unless somebody else does.
    fn take(&self, index: u64) -> Option<Retired<Interface>> {
        let mut state = self.state.lock();
        state.waiting.get_mut(&index)?.retired.take()
    }

    /// Puts it back, for others to wait for.
    fn give_back(&self, index: u64, retired: Retired<Interface>) {
        let mut state = self.state.lock();
        if let Some(ending) = state.waiting.get_mut(&index) {
            ending.retired = Some(retired);
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interface {} is being destroyed and still {}", self.name, self.held())
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaving({} {}, {})", self.index, self.name, self.held())
    }
}

/// Waits for all of them; returns the first that is still held, and leaves the others to a worker.
fn wait_all(mut leaving: Vec<Leaving>, deadline: Deadline) -> Result<(), Leaving> {
    // First all: they may wait for one another.
    leaving.iter_mut().for_each(Leaving::wake);
    leaving.into_iter().map(|leaving| leaving.wait(deadline)).fold(Ok(()), Result::and)
}

/// Notes at the end that an interface is gone.
struct Buried<'e> {
    ends: &'e Ends,
    index: u64,
}

impl Drop for Buried<'_> {
    fn drop(&mut self) {
        self.ends.state.lock().waiting.remove(&self.index);
        self.ends.changed.notify_all();
    }
}

impl Tenant {
    /// Takes an interface out of the namespace, and its partner out of the one that is in. Those that
    /// were taken out are returned, to be waited for; none, if somebody else was first.
    pub(crate) fn unlink(self: &Arc<Self>, interface: Ref<Interface>) -> Vec<Leaving> {
        let mut held = Locked::nothing();
        if interface.dyn_driver().partner().is_none() {
            let mut guard = self.ns.lock(&mut held);
            // Not one whose partner was just being made.
            if interface.dyn_driver().partner().is_none() {
                return self.unlink_one(interface.index(), guard.token()).into_iter().collect();
            }
        }
        // Interfaces move only while `Rtnl` is held.
        let mut rtnl = self.ns.rtnl(&mut held);
        // Both are retired under the same locks.
        let partner = interface.partner();
        let Some(partner) = partner else { return Vec::new() };
        let home = partner.home();
        let mut both = self.ns.lock_two(&home.ns, rtnl.token());
        let first = self.unlink_one(interface.index(), both.token());
        let second = first.as_ref().and_then(|_| home.unlink_one(partner.index(), both.token()));
        first.into_iter().chain(second).collect()
    }

    pub(crate) fn unlink_one<H: HeldLevels>(
        self: &Arc<Self>,
        index: u64,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Option<Leaving> {
        let owner = self.remove(index, held)?;
        owner.tell(LinkChange::Unregistered, held);
        owner.set_dying();
        let name = owner.name();
        let sleepers = Some(owner.get());
        let interface = owner.downgrade();
        let retired = Some(owner.retire());
        self.ends.state.lock().waiting.insert(index, Ending { name, interface, retired });
        Some(Leaving { name, index, tenant: self.clone(), sleepers })
    }

    /// Takes all interfaces but `lo` out; nothing comes any more.
    pub(crate) fn unlink_all(self: &Arc<Self>) {
        let all = {
            let mut held = Locked::nothing();
            let mut guard = self.ns.lock(&mut held);
            self.close(guard.token());
            self.all(guard.token())
        };
        for interface in all {
            if interface.kind() == lo::KIND {
                continue;
            }
            let mut leaving = self.unlink(interface);
            leaving.iter_mut().for_each(Leaving::wake);
            self.ends.state.lock().with_namespace.extend(leaving);
        }
    }

    /// Waits until all are gone, `lo` last. Nobody is inside the namespace. What panics meanwhile does so
    /// in the end.
    pub(crate) fn wait_all_gone(self: &Arc<Self>) {
        let mut panicked = None;
        let mut wait = |leaving: Leaving| {
            // Without a deadline it always ends.
            let wait = AssertUnwindSafe(|| leaving.wait(Deadline::Never).is_ok());
            panicked = catch_unwind(wait).err().or(panicked.take());
        };
        let with_namespace = std::mem::take(&mut self.ends.state.lock().with_namespace);
        with_namespace.into_iter().for_each(&mut wait);
        let last = {
            let mut held = Locked::nothing();
            let mut guard = self.ns.lock(&mut held);
            self.all(guard.token())
        };
        last.into_iter().flat_map(|interface| self.unlink(interface)).for_each(&mut wait);
        // Those that somebody else waits for, or nobody does.
        loop {
            let first = self.ends.state.lock().waiting.iter().next().map(|(at, it)| (*at, it.name));
            let Some((index, name)) = first else { break };
            wait(Leaving { name, index, tenant: self.clone(), sleepers: None });
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// Waits until an interface that was taken out is destroyed. Whether it is.
    fn wait_gone(&self, index: u64, deadline: Deadline) -> bool {
        loop {
            if let Some(retired) = self.ends.take(index) {
                match retired.wait(deadline) {
                    Ok(interface) => self.bury(interface),
                    Err(still) => self.ends.give_back(index, still.retired),
                }
            }
            self.bury_drained();
            let mut state = self.ends.state.lock();
            loop {
                match state.waiting.get(&index).map(|ending| ending.retired.is_some()) {
                    None => return true,
                    Some(_) if deadline.passed() => return false,
                    // Whoever waited has given up.
                    Some(true) => break,
                    Some(false) if !state.drained.is_empty() => break,
                    Some(false) => state = self.ends.changed.wait_until(state, deadline).0,
                }
            }
        }
    }

    /// The end of an interface.
    fn bury(&self, interface: Interface) {
        // It is gone also if its driver panics.
        let _buried = Buried { ends: &self.ends, index: interface.index() };
        interface.destroy();
    }

    /// The last reference has gone, on this thread, which may be any: only notes it.
    fn drained(self: &Arc<Self>, interface: Interface) {
        self.ends.state.lock().drained.push(interface);
        self.ends.changed.notify_all();
        // If the namespace can't be entered it goes, and sees to it.
        if let Some(inside) = self.ns.enter()
            && let Some(pool) = inside.get::<PoolSubsystem>()
        {
            let tenant = self.clone();
            let _ = pool.spawn(move |turn| turn.may_block(|| tenant.bury_drained()));
        }
    }

    fn bury_drained(&self) {
        loop {
            let interface = self.ends.state.lock().drained.pop();
            match interface {
                Some(interface) => self.bury(interface),
                None => return,
            }
        }
    }
}
