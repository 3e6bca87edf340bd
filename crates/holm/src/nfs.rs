//! Joins the NFS programs, the RPC server and the pool: a subsystem of every namespace.

use holm_lifetime::Deadline;
use holm_netns::{Held, InitError, Namespace, Subsystem, View};
use holm_nfsd::cache::Within;
use holm_nfsd::identity::Privileges;
use holm_nfsd::service::{Blocking, Context, Operation, Peer, Service, Transport};
use holm_pool::{Bracket, Turn};
use holm_sunrpc::Programs;
use holm_sunrpc::server::{self, Counted};
use std::sync::{Arc, OnceLock};

/// What a namespace serves, once it has been said.
pub struct Served {
    ns: Namespace,
    service: OnceLock<Arc<Service>>,
    counted: Arc<Counted>,
}

impl Served {
    /// Says what is served; once.
    pub fn set_service(&self, service: Arc<Service>) {
        let _ = self.service.set(service);
    }

    /// What happens on its sockets.
    pub fn counted(&self) -> &Arc<Counted> {
        &self.counted
    }
}

/// The subsystem that keeps [`Served`] in every namespace.
pub struct Nfs;

impl Subsystem for Nfs {
    type State = Served;

    // Closes the files of its exports.
    const EXIT_MAY_BLOCK: bool = true;

    fn name(&self) -> &str {
        "nfs"
    }

    fn init(&self, ns: &View<'_>, _: &mut Held<'_>) -> Result<Served, InitError> {
        let ns = ns.namespace().clone();
        Ok(Served { ns, service: OnceLock::new(), counted: Arc::default() })
    }
}

/// The programs of all namespaces, and what the threads that serve them may do.
pub struct Programme {
    programs: Programs<Context<Watched>>,
    privileges: &'static Privileges,
    datagrams: bool,
}

impl Programme {
    /// What is served over streams.
    pub fn streams(privileges: &'static Privileges) -> Self {
        Self { programs: holm_nfsd::programs(), privileges, datagrams: false }
    }

    /// What is served by datagrams, because clients ask by them.
    pub fn datagrams(privileges: &'static Privileges) -> Self {
        Self { programs: holm_nfsd::programs_by_datagram(), privileges, datagrams: true }
    }
}

impl server::Service for Programme {
    type Context = Context<Watched>;

    fn programs(&self) -> &Programs<Context<Watched>> {
        &self.programs
    }

    fn with_context<R>(
        &self,
        turn: &Turn<'_>,
        peer: server::Peer,
        serve: impl FnOnce(&mut Context<Watched>) -> R,
    ) -> Option<R> {
        let served = turn.contents().get::<Nfs>()?;
        let service = served.service.get()?;
        let within = Within::enter(&served.ns)?;
        let mut kept = turn.scratch::<Option<Context<Watched>>>();
        let context = match &mut *kept {
            Some(context) => context,
            none => match Context::new(self.privileges, Watched(turn.bracket())) {
                Ok(context) => none.insert(context),
                Err(error) => {
                    tracing::error!(%error, "a thread can't act as the callers: connection closed");
                    return None;
                }
            },
        };
        let transport = if self.datagrams { Transport::Udp } else { Transport::Tcp };
        let peer = Peer::new(transport, peer.address, peer.local);
        Some(context.attend_within(within, service, peer, serve))
    }
}

/// Tells the pool's watchdog of every call that may wait for a file system.
#[derive(Debug)]
pub struct Watched(Bracket);

impl Blocking for Watched {
    fn may_block<R>(&self, _: &Operation<'_>, work: impl FnOnce() -> R) -> R {
        self.0.may_block(work)
    }
}

/// How long the end of a server waits for what is in flight.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// [`PATIENCE`] from now.
pub fn patience() -> Deadline {
    Deadline::after(PATIENCE)
}
