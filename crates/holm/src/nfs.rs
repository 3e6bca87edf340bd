//! Joins the NFS programs, the RPC server and the pool: a subsystem of every namespace.

use crate::local::LocalClients;
use crate::server::operations::{Desk, Operations};
use crate::stack::AtOwnLinks;
use holm_netns::{Held, InitError, Namespace, Subsystem, View};
use holm_nfsd::cache::Within;
use holm_nfsd::identity::{IdentityError, Privileges};
use holm_nfsd::service::{Blocking, Context, Operation, Origin, Peer, Service, Transport};
use holm_nfsd::store::{DatabaseError, PathDatabase, Syncing};
use holm_pool::{Bracket, Turn};
use holm_sunrpc::Programs;
use holm_sunrpc::server::{self, Counted, ServerLimits};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What a namespace serves, once it has been said.
pub struct Served {
    ns: Namespace,
    service: OnceLock<Arc<Service>>,
    paths: OnceLock<Paths>,
    counted: Arc<Counted>,
    glimpse: Arc<Glimpse>,
    own_links: Mutex<OwnLinks>,
    local: Arc<LocalClients>,
    announced: AtomicBool,
}

impl Served {
    /// Says what is served, and where its paths are remembered; once.
    pub fn begin(&self, service: Arc<Service>, paths: Paths) {
        *self.glimpse.service() = Some(service.clone());
        let _ = self.paths.set(paths);
        let _ = self.service.set(service);
    }

    /// What is served; nothing before it has begun.
    pub fn service(&self) -> Option<&Arc<Service>> {
        self.service.get()
    }

    /// Where paths are remembered.
    pub fn paths(&self) -> Option<&Paths> {
        self.paths.get()
    }

    /// What happens on its sockets.
    pub fn counted(&self) -> &Arc<Counted> {
        &self.counted
    }

    /// Who has come by its door.
    pub fn local(&self) -> &Arc<LocalClients> {
        &self.local
    }

    /// Has the namespace served at its own interfaces from now on, unless it is.
    ///
    /// # Errors
    ///
    /// Those of `begin`.
    pub fn serve_own_links(
        &self,
        begin: impl FnOnce() -> io::Result<AtOwnLinks>,
    ) -> io::Result<()> {
        let mut own = self.own_links();
        if own.served.is_none() {
            let served = begin()?;
            served.set_limits(own.limits);
            own.served = Some(served);
        }
        Ok(())
    }

    /// The limits of connections at its own interfaces, now or when it is served there.
    pub fn limit_own_links(&self, limits: ServerLimits) {
        let mut own = self.own_links();
        own.limits = limits;
        if let Some(served) = &own.served {
            served.set_limits(limits);
        }
    }

    fn own_links(&self) -> MutexGuard<'_, OwnLinks> {
        self.own_links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever listens to events was told of the namespace, and hears what happens in it.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::Release);
    }

    /// Whether whoever listens to events was told of the namespace.
    pub fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Acquire)
    }

    /// A look at what is served for those who are not inside.
    pub fn glimpse(&self) -> &Arc<Glimpse> {
        &self.glimpse
    }
}

/// What a namespace serves at its own interfaces.
struct OwnLinks {
    limits: ServerLimits,
    served: Option<AtOwnLinks>,
}

impl Default for OwnLinks {
    /// Nobody is let in before it was said how many may be.
    fn default() -> Self {
        Self { limits: ServerLimits { connections: 0, ..ServerLimits::default() }, served: None }
    }
}

/// A look at the service of a namespace that cannot be entered any more. Nobody keeps the service by
/// it: whoever looks holds up its end, and nothing is seen after that.
#[derive(Default)]
pub struct Glimpse(Mutex<Option<Arc<Service>>>);

impl Glimpse {
    /// Looks at the service while it is there.
    pub fn look<R>(&self, look: impl FnOnce(&Service) -> R) -> Option<R> {
        self.service().as_deref().map(look)
    }

    fn service(&self) -> MutexGuard<'_, Option<Arc<Service>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a namespace remembers paths: opened for the first export that needs it.
#[derive(Debug)]
pub struct Paths {
    path: PathBuf,
    database: Mutex<Option<Arc<PathDatabase>>>,
}

impl Paths {
    /// To be kept in that file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, database: Mutex::new(None) }
    }

    /// The database.
    ///
    /// # Errors
    ///
    /// As [`PathDatabase::open`].
    pub fn open(&self) -> Result<Arc<PathDatabase>, DatabaseError> {
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*database {
            return Ok(database.clone());
        }
        let opened = Arc::new(PathDatabase::open(&self.path, Syncing::default())?);
        Ok(database.insert(opened).clone())
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
        Ok(Served {
            ns: ns.namespace().clone(),
            service: OnceLock::new(),
            paths: OnceLock::new(),
            counted: Arc::default(),
            glimpse: Arc::default(),
            own_links: Mutex::default(),
            local: Arc::default(),
            announced: AtomicBool::new(false),
        })
    }

    fn pre_exit(&self, _: &View<'_>, served: &Served) {
        served.local.recall_all();
    }

    fn exit(&self, _: &View<'_>, served: Served) {
        served.local.end();
        drop(served.glimpse.service().take());
        drop(served);
    }
}

/// What the threads that serve may do, and where they say what they are at.
#[derive(Debug, Clone)]
pub struct Serving {
    privileges: &'static Privileges,
    operations: Arc<Operations>,
}

impl Serving {
    /// For all namespaces of a server.
    pub fn new(privileges: &'static Privileges, operations: Arc<Operations>) -> Self {
        Self { privileges, operations }
    }

    /// Serves a peer of a namespace, on the worker whose turn it is: [`Context::attend_within`]. `None`: it
    /// can't be served, or nothing of it may be answered.
    pub(crate) fn attend<R>(
        &self,
        turn: &Turn<'_>,
        served: &Served,
        peer: Peer,
        serve: impl FnOnce(&mut Context<Watched>) -> R,
    ) -> Option<R> {
        let service = served.service.get()?;
        let within = Within::enter(&served.ns)?;
        let mut kept = turn.scratch::<Option<Context<Watched>>>();
        let context = match &mut *kept {
            Some(context) => context,
            none => match Context::new(self.privileges, Watched::new(turn, &self.operations)) {
                Ok(context) => none.insert(context),
                Err(error) => {
                    tracing::error!(%error, "a thread can't act as the callers: connection closed");
                    return None;
                }
            },
        };
        context.blocking().ns.set(served.ns.id().id);
        let attended = context.attend_within(within, service, peer, serve);
        let namespace = served.ns.id();
        attended.inspect_err(|error| tracing::error!(%namespace, %error, "flush failed")).ok()
    }

    /// Does something that may wait for a file system and is no client's call, on the worker whose turn it
    /// is.
    #[track_caller]
    pub(crate) fn work<R>(
        &self,
        turn: &Turn<'_>,
        ns: u64,
        what: &'static str,
        work: impl FnOnce() -> R,
    ) -> R {
        let mut desk = turn.scratch::<Option<Arc<Desk>>>();
        let _noted = desk.get_or_insert_with(|| self.operations.desk()).begin_work(ns, what);
        turn.may_block(work)
    }

    /// What a thread serves itself by that is none of the pool's.
    pub(crate) fn on_own_thread(&self, ns: u64) -> Result<Context<Noted>, IdentityError> {
        Context::new(self.privileges, Noted { desk: self.operations.own_desk(), ns })
    }

    /// Where a thread says what it is at.
    pub(crate) fn desk(&self) -> Arc<Desk> {
        self.operations.desk()
    }
}

/// The programs of all namespaces, and what the threads that serve them may do.
pub struct Programme {
    programs: Programs<Context<Watched>>,
    serving: Serving,
    datagrams: bool,
    own_links: bool,
}

impl Programme {
    /// What is served over streams.
    pub fn streams(serving: Serving) -> Self {
        Self { programs: holm_nfsd::programs(), serving, datagrams: false, own_links: false }
    }

    /// What is served by datagrams, because clients ask by them.
    pub fn datagrams(serving: Serving) -> Self {
        let programs = holm_nfsd::programs_by_datagram();
        Self { programs, serving, datagrams: true, own_links: false }
    }

    /// The same for who comes by an interface that belongs to the namespace alone.
    #[must_use]
    pub fn at_own_links(self) -> Self {
        Self { own_links: true, ..self }
    }
}

impl server::Service for Programme {
    type Context = Context<Watched>;

    fn programs(&self) -> &Programs<Context<Watched>> {
        &self.programs
    }

    /// Whether anything is exported to the peer.
    fn admits(&self, turn: &Turn<'_>, peer: SocketAddr) -> bool {
        let served = turn.contents().get::<Nfs>();
        let service = served.and_then(|served| served.service.get());
        let client = Origin { address: peer.ip().to_canonical(), own_link: self.own_links };
        service.is_some_and(|service| service.exports().admits(client))
    }

    fn with_context<R>(
        &self,
        turn: &Turn<'_>,
        peer: server::Peer,
        serve: impl FnOnce(&mut Context<Watched>) -> R,
    ) -> Option<R> {
        let served = turn.contents().get::<Nfs>()?;
        let transport = if self.datagrams { Transport::Udp } else { Transport::Tcp };
        let peer = Peer::new(transport, peer.address, peer.local).with_own_link(self.own_links);
        self.serving.attend(turn, served, peer, serve)
    }
}

/// Tells the pool's watchdog of every call that may wait for a file system, and whoever asks what
/// is going on.
#[derive(Debug)]
pub struct Watched {
    bracket: Bracket,
    desk: Arc<Desk>,
    ns: Cell<u64>,
}

impl Watched {
    fn new(turn: &Turn<'_>, operations: &Operations) -> Self {
        Self { bracket: turn.bracket(), desk: operations.desk(), ns: Cell::new(0) }
    }
}

impl Blocking for Watched {
    #[track_caller]
    fn may_block<R>(&self, operation: &Operation<'_>, work: impl FnOnce() -> R) -> R {
        let _noted = self.desk.begin(self.ns.get(), operation);
        self.bracket.may_block(work)
    }
}

/// Tells whoever asks what is going on, and nobody else: the thread may wait.
pub(crate) struct Noted {
    desk: Arc<Desk>,
    ns: u64,
}

impl Blocking for Noted {
    #[track_caller]
    fn may_block<R>(&self, operation: &Operation<'_>, work: impl FnOnce() -> R) -> R {
        let _noted = self.desk.begin(self.ns, operation);
        work()
    }
}
