//! The doors of namespaces: who may open files past the network, and who has.

use super::prepare::served;
use super::tenants::Tenant;
use super::view::since;
use super::{Alteration, Error, Server};
use crate::local::{BindError, Door, DoorFile, InProcessDoor, OwnThreads};
use crate::model::{LimitsSpec, LocalClientView, LocalPatch, LocalSpec, LocalView};
use crate::nfs::Served;
use crate::privileges::Needs;
use crate::socket_file::Why;
use holm_localio::{LocalDoor, User};
use holm_nfsd::identity::Credentials;
use holm_nfsd::localio::{ClientInfo, InProcess, Rules};
use holm_nfsd::service::{Peer, Transport};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the door of a namespace becomes another.
#[derive(Debug)]
pub(super) enum DoorChange {
    /// There is none, or the same.
    Stays,
    /// There is none any more.
    Goes,
    /// There is this one.
    Comes(DoorFile),
}

impl Server {
    /// Whose programs may open files of a namespace past the network, and who has.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn local(&self, ns: &str) -> Result<LocalView, Error> {
        Ok(view(self.tenants().resolve(ns)?))
    }

    /// Changes whose programs may. Those who may not any more are asked for their files.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn set_local(&self, ns: &str, patch: LocalPatch) -> Result<LocalView, Error> {
        let local = Some(super::LocalChange::Patch(patch));
        self.alter_one(Alteration { name: ns.into(), local, ..Alteration::default() })?;
        self.local(ns)
    }

    /// A door for the program that this server is part of, which opens files of a namespace as some user,
    /// squashed as others are, and as from this machine; whoever else may come by its door. To be
    /// [given](holm_localio::Local::Given) to a mount. It holds nothing of the namespace.
    ///
    /// As root, threads that use it give up CAP_SYS_RESOURCE, which lets them overdraw file systems.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn door_within(&self, ns: &str, user: &User) -> Result<Arc<dyn LocalDoor>, Error> {
        let tenants = self.tenants();
        let ns = tenants.live(ns)?.ns.clone();
        drop(tenants);
        let gone = || Error::no_namespace(ns.id().name.as_str());
        let inside = ns.enter().ok_or_else(gone)?;
        let service = served(&inside)?.service().ok_or_else(gone)?;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let peer = Peer::new(Transport::Tcp, here, here);
        let who = Credentials::new(user.uid, user.gid, &user.groups);
        let files = InProcess::new(&ns, service, peer, who);
        let host = OwnThreads { ns: ns.id().id, serving: self.serving.clone() };
        Ok(Arc::new(InProcessDoor { files, host }))
    }

    /// Makes the door that a namespace of this name is to have, unless it is the one that it has.
    pub(super) fn prepare_door(
        &self,
        name: &str,
        local: &LocalSpec,
        now: Option<&Path>,
    ) -> Result<DoorChange, Error> {
        if !local.is_on() {
            return Ok(if now.is_some() { DoorChange::Goes } else { DoorChange::Stays });
        }
        let path = self.door_path(name, local)?;
        if now == Some(&*path) {
            return Ok(DoorChange::Stays);
        }
        let bound = DoorFile::bind(&path, &local.users).map_err(|error| failed(name, &error))?;
        Ok(DoorChange::Comes(bound))
    }

    fn door_path(&self, name: &str, local: &LocalSpec) -> Result<PathBuf, Error> {
        match (&local.socket, &self.doors) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(folder)) => Ok(folder.join(format!("{name}.sock"))),
            (None, None) => Err(Error::Invalid(format!(
                "namespace {name}: local: there is no admin socket beside which its socket could be: say \
                 where it is to be (socket = \"/path\" in the configuration, --socket PATH)"
            ))),
        }
    }
}

/// Has those come who may.
pub(super) fn set_rules(
    served: &Served,
    local: &LocalSpec,
    limits: &LimitsSpec,
    door: Option<&Door>,
) {
    let Some(service) = served.service() else { return };
    served.local().set_recall_time(local.recall_time);
    let files = limits.local_files.map_or(FILES, |files| files as usize);
    let lender = service.local();
    lender.set_address(door.map(|door| door.path().to_string_lossy().into_owned()));
    lender.set_rules(Rules { users: local.users.clone(), sessions: SESSIONS, files });
    served.local().recalled();
}

/// The door of a namespace, and who has come by it.
pub(super) fn view(tenant: &Tenant) -> LocalView {
    LocalView {
        spec: tenant.local.clone(),
        door: tenant.door.as_ref().map(|door| door.path().to_owned()),
        lacks: lacks(&tenant.local),
        clients: clients(tenant).iter().map(client).collect(),
    }
}

/// What it takes that was given up.
fn lacks(local: &LocalSpec) -> Option<String> {
    let missing = Needs::of_local(local).missing().ok().flatten()?;
    Some(format!(
        "{missing}, without which few files can be handed out safely, was given up when the server started: \
         start it anew with the users in its configuration, or with containers = true there"
    ))
}

/// Who has come by it, also when it drains.
pub(super) fn clients(tenant: &Tenant) -> Vec<ClientInfo> {
    tenant.glimpse.look(|service| service.local().clients()).unwrap_or_default()
}

/// A program, in words.
pub(super) fn program(client: &ClientInfo) -> String {
    match client.pid {
        Some(pid) => format!("process {pid} of user {}", client.uid),
        None => format!("a process of user {}", client.uid),
    }
}

fn client(client: &ClientInfo) -> LocalClientView {
    let age = |at: std::time::Instant| at.elapsed().as_secs_f64();
    LocalClientView {
        pid: client.pid,
        uid: client.uid,
        address: client.address.map(|address| address.to_string()),
        files: client.files,
        oldest: client.oldest.map(age),
        since: since(client.since.elapsed()),
        recalled: client.recalled.map(age),
    }
}

fn failed(name: &str, error: &BindError) -> Error {
    let message = format!("namespace {name}: {error}");
    match error.why {
        Why::InUse | Why::NotASocket => Error::Exists(message),
        Why::TooLong | Why::NoFolder | Why::SharedFolder(_) => Error::Invalid(message),
        Why::System(..) => Error::Failed(message),
    }
}

/// So many programs may have come to a namespace at a time.
const SESSIONS: usize = 1024;
/// So many files they may have, if nothing is said.
const FILES: usize = 1024;
