//! Who changes which namespaces, while the list of namespaces is not locked.

use super::prepare::{Altered, Prepared};
use super::tenants::Tenants;
use super::{Error, Server};
use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

/// Namespaces that nobody else changes, removes or creates until this is dropped. All that a change is
/// about are claimed at once, so nobody waits for one while having another.
pub(super) struct Claim<'s> {
    server: &'s Server,
    names: BTreeSet<String>,
}

impl Server {
    /// Claims the namespaces that prepared changes are about, when nobody else has one of them.
    ///
    /// # Errors
    ///
    /// Something that they were prepared for is not there any more.
    pub(super) fn claim(&self, prepared: &Prepared) -> Result<Claim<'_>, Error> {
        let coming = prepared.coming.iter().map(|coming| &coming.spec.name);
        let altered = prepared.altered.iter().map(|altered| &altered.change.name);
        let going = prepared.going.iter().map(|(name, _)| name);
        let names: BTreeSet<String> = coming.chain(altered).chain(going).cloned().collect();
        let mut tenants = self.wait_while(|tenants| !tenants.claimed.is_disjoint(&names));
        tenants.prune();
        is_as_it_was(&tenants, prepared)?;
        Ok(self.claim_of(&mut tenants, names))
    }

    /// Claims namespaces that nobody else has.
    pub(super) fn claim_of(&self, tenants: &mut Tenants, names: BTreeSet<String>) -> Claim<'_> {
        tenants.claimed.extend(names.iter().cloned());
        Claim { server: self, names }
    }

    /// Waits until nobody changes the namespaces that these `NAME` or `NAME@ID` mean.
    pub(super) fn wait_unclaimed<'n>(&self, specs: impl Iterator<Item = &'n str> + Clone) {
        let name = |spec: &'n str| spec.split_once('@').map_or(spec, |(name, _)| name);
        drop(
            self.wait_while(|tenants| {
                specs.clone().any(|spec| tenants.claimed.contains(name(spec)))
            }),
        );
    }

    /// The list, when nobody changes anything.
    pub(super) fn unclaimed(&self) -> MutexGuard<'_, Tenants> {
        self.wait_while(|tenants| !tenants.claimed.is_empty())
    }

    /// The list, when the condition is not met any more; it is looked at whenever a claim ends.
    pub(super) fn wait_while(
        &self,
        mut condition: impl FnMut(&Tenants) -> bool,
    ) -> MutexGuard<'_, Tenants> {
        let waited = self.released.wait_while(self.tenants(), |tenants| condition(tenants));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.server.tenants().claimed.retain(|name| !self.names.contains(name));
        self.server.released.notify_all();
    }
}

/// Refuses what was prepared for something that is not there any more.
fn is_as_it_was(tenants: &Tenants, prepared: &Prepared) -> Result<(), Error> {
    let changed = |name: &str| {
        let why = "was changed by somebody else meanwhile: try again";
        Error::Failed(format!("namespace {name} {why}"))
    };
    for Altered { change, ns, version, .. } in &prepared.altered {
        let tenant = tenants.live(&change.name)?;
        if (&tenant.ns, tenant.version) != (ns, *version) {
            return Err(changed(&change.name));
        }
    }
    for (name, id) in &prepared.going {
        if tenants.live(name)?.ns.id().id != *id {
            return Err(changed(name));
        }
    }
    for (name, open) in &prepared.taken {
        let listeners = tenants.live.get(name).map(|tenant| &tenant.listeners);
        if !listeners.is_some_and(|listeners| listeners.iter().any(|it| it.is(open))) {
            return Err(changed(name));
        }
    }
    let mut coming = prepared.coming.iter();
    match coming.find(|coming| tenants.live.contains_key(&coming.spec.name)) {
        Some(taken) => Err(Error::Exists(format!("namespace {} exists already", taken.spec.name))),
        None => Ok(()),
    }
}
