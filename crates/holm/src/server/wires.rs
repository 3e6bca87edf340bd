//! How interfaces are made of their specs.

use super::Error;
use super::listeners::Programmes;
use super::network::{Site, if_name};
use super::owners::Owners;
use crate::kernel_netns::{self, Owner};
use crate::model::{LinkKind, LinkSpec, NetnsRef};
use holm_ifnet::wires::{
    DgramOptions, Enter, Inside, PacketOptions, StreamEnd, StreamOptions, TapOptions,
};
use holm_ifnet::{Cloner, CreateError, DriverError, NewInterface};
use holm_lifetime::Deadline;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What an interface takes that is not in its namespace.
pub(super) struct Elsewhere<'e> {
    /// Who watches the owners of containers.
    pub(super) owners: &'e Owners,
    /// What is served at interfaces.
    pub(super) programmes: &'e Programmes,
    /// Finds another namespace.
    pub(super) find: &'e dyn Fn(&str) -> Result<Site, Error>,
}

/// Creates an interface. It is not up and has no addresses and no ports.
pub(super) fn create(site: &Site, spec: &LinkSpec, elsewhere: &Elsewhere<'_>) -> Result<(), Error> {
    let new = NewInterface {
        name: Some(if_name(&spec.name)?),
        mtu: spec.mtu.map(|mtu| mtu as usize),
        mac: spec.mac_address().map_err(Error::failed)?,
    };
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map(Path::to_owned).ok_or_else(|| missing(spec, "path"))
    };
    let interface = || spec.interface.clone().ok_or_else(|| missing(spec, "interface"));
    site.serve(elsewhere.programmes)?;
    match spec.kind {
        LinkKind::Lo => Ok(()),
        LinkKind::Pair => pair(site, spec, new, elsewhere),
        LinkKind::Stream => {
            let end = if spec.connect { StreamEnd::CONNECT } else { StreamEnd::Listen };
            make(site, spec, new, StreamOptions { path: path(&spec.path)?, end })
        }
        LinkKind::Dgram => {
            let (path, peer) = (path(&spec.path)?, spec.peer_path.clone());
            make(site, spec, new, DgramOptions { path, peer })
        }
        LinkKind::Lagg => make(site, spec, new, spec.to_lagg()),
        LinkKind::Tap => {
            let name = Some(spec.interface.clone().unwrap_or_else(|| spec.name.clone()));
            let options = TapOptions { name };
            match &spec.netns {
                None => make(site, spec, new, options),
                Some(netns) => {
                    let (enter, owner) = way_into(netns);
                    make(site, spec, new, Inside { options, enter })?;
                    watch(site, spec, &owner, elsewhere.owners)
                }
            }
        }
        LinkKind::Packet => {
            let options = PacketOptions { interface: interface()? };
            match &spec.netns {
                None => make(site, spec, new, options),
                Some(netns) => {
                    let (enter, owner) = way_into(netns);
                    make(site, spec, new, Inside { options, enter })?;
                    watch(site, spec, &owner, elsewhere.owners)
                }
            }
        }
    }
}

fn make<C: Cloner>(
    site: &Site,
    spec: &LinkSpec,
    new: NewInterface,
    cloner: C,
) -> Result<(), Error> {
    site.interfaces.create(new, cloner).map(drop).map_err(|error| refused(site, spec, &error))
}

fn pair(
    site: &Site,
    spec: &LinkSpec,
    new: NewInterface,
    elsewhere: &Elsewhere<'_>,
) -> Result<(), Error> {
    let other = spec.peer.is_some().then(|| spec.other_end());
    let other = other.ok_or_else(|| missing(spec, "peer"))?;
    let far = match &spec.peer_ns {
        None => site.clone(),
        Some(name) => (elsewhere.find)(name)?,
    };
    far.serve(elsewhere.programmes)?;
    let far_new = NewInterface {
        name: Some(if_name(&other.name)?),
        mtu: other.mtu.map(|mtu| mtu as usize),
        mac: other.mac_address().map_err(Error::failed)?,
    };
    let made = site.interfaces.create_pair(new, &far.interfaces, far_new);
    let (_, far_end) = made.map_err(|error| refused(site, spec, &error))?;
    let name = far_end.name();
    drop(far_end);
    let up = far.interfaces.request(name, &holm_ifnet::Request::SetUp(other.up));
    up.map(drop).map_err(|error| Error::Failed(format!("link {}: {error}", spec.name)))
}

/// Who the kernel network namespace that was entered belongs to.
type Entered = Arc<Mutex<Option<Owner>>>;

/// The way into a kernel network namespace, and where to find its owner afterwards.
fn way_into(netns: &NetnsRef) -> (Enter, Entered) {
    let (netns, entered) = (netns.clone(), Entered::default());
    let place = entered.clone();
    let enter: Enter = Box::new(move |open| {
        let opened = kernel_netns::open(&netns, open);
        let ((), owner) = opened.map_err(|error| DriverError(error.to_string()))?;
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        Ok(())
    });
    (enter, entered)
}

/// Has an interface go when the owner of where it is leaves.
fn watch(site: &Site, spec: &LinkSpec, entered: &Entered, owners: &Owners) -> Result<(), Error> {
    let owner = entered.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(owner) = owner else { return Ok(()) };
    // It may have gone by itself.
    let Some(interface) = site.interfaces.find(if_name(&spec.name)?) else { return Ok(()) };
    let watched = owners.watch_link(&site.ns, &interface, owner);
    drop(interface);
    watched.map_err(|error| {
        // Unwatched it would keep the container's namespace.
        let name = if_name(&spec.name);
        let _ = name.map(|name| site.interfaces.destroy(name, Deadline::now()));
        Error::Failed(format!("link {}: could not watch its container: {error}", spec.name))
    })
}

fn refused(site: &Site, spec: &LinkSpec, error: &CreateError) -> Error {
    let text = format!("namespace {}: link {}: {error}", site.ns.id().name, spec.name);
    match error {
        CreateError::Exists(_) => Error::Exists(text),
        CreateError::Name(_) | CreateError::Invalid { .. } => Error::Invalid(text),
        CreateError::Driver { .. } | CreateError::Gone(_) => Error::Failed(text),
    }
}

/// Specs are checked before they come here.
fn missing(spec: &LinkSpec, key: &str) -> Error {
    Error::Invalid(format!("link {}: {key} is missing", spec.name))
}
