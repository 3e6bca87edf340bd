//! Ends of pairs of which nothing is said where they are: what is asked of one is said by its other end.

use super::change::{Alteration, FarEnd};
use super::tenants::{Tenant, Tenants};
use super::{Change, Error, Server};
use crate::model::{LinkKind, LinkPatch, LinkSpec};
use crate::spec::Checked;
use holm_ifnet::NsInterfaces;

/// An end of which nothing is said where it is.
struct Far {
    /// Where it is, and what it is called.
    ns: String,
    name: String,
    /// Where its other end is, and what that is called.
    other_ns: String,
    other: String,
}

impl Server {
    /// What destroys an interface.
    pub(super) fn removal_of_link(&self, ns: &str, name: &str) -> Result<Change, Error> {
        let (name_of_ns, del_link) = match self.far_end(ns, name)? {
            None => (ns.to_owned(), vec![name.to_owned()]),
            Some(end) => (end.other_ns, vec![end.other]),
        };
        Ok(Change::Alter(Alteration { name: name_of_ns, del_link, ..Alteration::default() }))
    }

    /// What changes an interface.
    pub(super) fn changes_of_link(
        &self,
        ns: &str,
        name: &str,
        patch: LinkPatch,
    ) -> Result<Vec<Change>, Error> {
        if let Some(end) = self.far_end(ns, name)? {
            return end.changes(patch);
        }
        let set_link = vec![(name.to_owned(), patch)];
        let change = Alteration { name: ns.into(), set_link, ..Alteration::default() };
        Ok(vec![Change::Alter(change)])
    }

    fn far_end(&self, ns: &str, name: &str) -> Result<Option<Far>, Error> {
        let tenants = self.tenants();
        let tenant = tenants.live(ns)?;
        if tenant.network.link(name).is_some() {
            return Ok(None);
        }
        let ns = name_of(tenant);
        let end = speaker(&tenants, ns, name).map(|(owner, link)| Far {
            ns: ns.to_owned(),
            name: name.to_owned(),
            other_ns: name_of(owner).to_owned(),
            other: link.name.clone(),
        });
        Ok(end)
    }
}

impl Far {
    /// What it is called and is a port of is so where it is; all else is said by the other end.
    fn changes(self, patch: LinkPatch) -> Result<Vec<Change>, Error> {
        let Self { ns, name, other_ns, other } = self;
        let (peer, peer_ns) = (Some(other.clone()), Some(other_ns.clone()));
        let own = LinkSpec { peer, peer_ns, ..LinkSpec::new(&name, LinkKind::Pair) };
        let alone = own.patched(&patch);
        if let Some(problem) = alone.problems().into_iter().next() {
            return Err(Error::Invalid(format!("namespace {ns}: link {name}: {}", problem.why)));
        }
        let here = LinkPatch {
            name: patch.name.clone(),
            master: patch.master.clone(),
            nomaster: patch.nomaster,
            ..LinkPatch::default()
        };
        let set_far = vec![(FarEnd::Of(other), patch)];
        let there = Alteration { name: other_ns, set_far, ..Alteration::default() };
        let set_far = vec![(FarEnd::Here(name), here)];
        let here = Alteration { name: ns, set_far, ..Alteration::default() };
        if here.name == there.name {
            let set_far = [there.set_far, here.set_far].concat();
            let both = Alteration { name: here.name, set_far, ..Alteration::default() };
            return Ok(vec![Change::Alter(both)]);
        }
        Ok(vec![Change::Alter(here), Change::Alter(there)])
    }
}

/// Who speaks of the pair whose other end is called so in that namespace, and how.
pub(super) fn speaker<'t>(
    tenants: &'t Tenants,
    ns: &str,
    name: &str,
) -> Option<(&'t Tenant, &'t LinkSpec)> {
    let all = tenants.live.iter().flat_map(|(at, tenant)| {
        let links = tenant.network.links.iter().map(move |link| (tenant, link));
        links.filter(move |(_, link)| {
            link.peer.as_deref() == Some(name) && link.peer_ns.as_ref().unwrap_or(at) == ns
        })
    });
    // Not one that went by itself, and of which that is still to be found out.
    let is_there = |interfaces: &NsInterfaces, link: &LinkSpec| {
        link.if_name().is_ok_and(|name| interfaces.find(name).is_some())
    };
    let mut all = all.filter(|(tenant, link)| is_there(&tenant.interfaces, link));
    all.next()
}

pub(super) fn name_of(tenant: &Tenant) -> &str {
    tenant.ns.id().name.as_str()
}
