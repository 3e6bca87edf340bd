//! A running server: its namespaces, and every change of them while they are served.
//!
//! A [`Server`] joins the registry of namespaces, the service pool and the NFS programs. Whoever
//! changes something (the configuration, the admin API, a test) calls its methods, which may take as
//! long as the file systems that they touch: they are not for the threads of an async runtime. Each
//! change is whole or not at all.
//!
//! What is looked up takes no lock that a change holds for longer than a moment. What a client calls
//! comes by none of this: it is served by the pool.
//!
//! ```
//! use holm::model::{ExportSpec, ListenSpec, NamespaceSpec};
//! use holm::server::{Options, Server};
//! use holm_lifetime::Deadline;
//!
//! # let folder = std::env::temp_dir().join(format!("holm-server-{}", std::process::id()));
//! # std::fs::create_dir_all(folder.join("files"))?;
//! let server = Server::start(Options::new(folder.join("state")))?;
//! let blue = server.add_namespace(NamespaceSpec {
//!     name: "blue".into(),
//!     export: vec![ExportSpec::new("/", folder.join("files"))],
//!     listen: vec![ListenSpec::new("127.0.0.1:0".parse()?)],
//!     ..NamespaceSpec::default()
//! })?;
//! println!("blue is served at {}", blue.listeners[0].local);
//! server.del_namespace("blue", Deadline::Never)?;
//! # server.stop(Deadline::Never).map_err(|left| format!("{left:?}"))?;
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod captures;
mod change;
mod claim;
mod commit;
mod doors;
mod error;
mod events;
mod far_ends;
mod link_news;
mod links;
mod listeners;
mod moves;
mod network;
pub mod operations;
mod owners;
mod prepare;
mod tenants;
mod view;
mod wires;

pub use change::{Alteration, Change, FarEnd, LocalChange};
pub use error::{Error, Refused};
pub use events::Events;

use crate::caches;
use crate::model::{
    ExportSpec, ExportView, Happened, HeldView, LimitsSpec, ListenSpec, ListenerView,
    NamespaceSpec, NamespaceView, NetnsRef,
};
use crate::nfs::{Nfs, Programme, Serving};
use crate::spec::Checked;
use crate::state::StateDir;
pub(crate) use events::Speaker;
use holm_ifnet::IfnetSubsystem;
use holm_ifnet::stack::StackSubsystem;
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfsd::cache::{Caches, Object};
use holm_nfsd::identity::Privileges;
use holm_pool::{Pool, Report};
use link_news::{LinkNews, Reasons};
use listeners::Programmes;
use operations::Operations;
use owners::Owners;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenants::{LeavingExport, Tenants};

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where what outlives it is kept: see [`StateDir`].
    pub state: PathBuf,
    /// Limits of namespaces that say nothing themselves.
    pub limits: LimitsSpec,
    /// The folder for the doors of namespaces that say nothing themselves; without it they have to.
    pub doors: Option<PathBuf>,
}

impl Options {
    /// Nothing said but where state is kept.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into(), limits: LimitsSpec::default(), doors: None }
    }
}

/// A running server.
///
/// To be shared; [`stop`](Self::stop) ends it in good order. Dropped, it ends what can be ended.
pub struct Server {
    tenants: Mutex<Tenants>,
    /// Some are claimed no more.
    released: Condvar,
    limits: LimitsSpec,
    doors: Option<PathBuf>,
    serving: Serving,
    state: Arc<StateDir>,
    operations: Arc<Operations>,
    programmes: Programmes,
    privileges: &'static Privileges,
    speaker: Arc<Speaker>,
    reasons: Arc<Reasons>,
    owners: Owners,
    // After what stands in it; the pool after the namespaces that it serves.
    registry: Registry,
    pool: Pool,
    _keeper: caches::Keeper,
}

impl Server {
    /// Starts a server without namespaces.
    ///
    /// # Errors
    ///
    /// If another server uses the state directory, or a thread cannot be started.
    pub fn start(options: Options) -> Result<Arc<Self>, Error> {
        let state = StateDir::open(&options.state).map_err(Error::failed)?;
        Self::start_with(state, options)
    }

    /// The same with a state directory that is open, whatever the options say of it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(state: Arc<StateDir>, options: Options) -> Result<Arc<Self>, Error> {
        let Options { limits, doors, .. } = options;
        if let Some(problem) = limits.problems().first() {
            return Err(Error::Invalid(format!("limits: {problem}")));
        }
        let privileges = Privileges::detect().map_err(Error::failed)?;
        let privileges: &'static Privileges = Box::leak(Box::new(privileges));
        let speaker = Arc::new(Speaker::new());
        let reports = speaker.clone();
        let config = holm_pool::Config {
            report: Arc::new(move |report| hear(&reports, report)),
            ..holm_pool::Config::default()
        };
        let failed = |error| Error::Failed(format!("could not start a thread: {error}"));
        let pool = Pool::start(config).map_err(failed)?;
        let registry = Registry::new().map_err(failed)?;
        let told = speaker.clone();
        registry.set_witness(move |event| told.pass_on(event));
        registry.register(pool.subsystem()).map_err(Error::failed)?;
        let chain = IfnetSubsystem::register(&registry).map_err(Error::failed)?;
        StackSubsystem::register(&registry, &chain).map_err(Error::failed)?;
        let (caches, keeper) = caches::start().map_err(Error::failed)?;
        registry.register(caches).map_err(Error::failed)?;
        registry.register(Nfs).map_err(Error::failed)?;
        let reasons = Arc::<Reasons>::default();
        let news = LinkNews { speaker: speaker.clone(), reasons: reasons.clone() };
        chain.register(&registry, Arc::new(news)).map_err(Error::failed)?;
        let operations = Arc::new(Operations::default());
        let serving = Serving::new(privileges, operations.clone());
        let streams = || Programme::streams(serving.clone());
        let datagrams = || Programme::datagrams(serving.clone());
        let programmes = Programmes {
            streams: Arc::new(streams()),
            datagrams: Arc::new(datagrams()),
            own_streams: Arc::new(streams().at_own_links()),
            own_datagrams: Arc::new(datagrams().at_own_links()),
        };
        Ok(Arc::new_cyclic(|this| Self {
            owners: Owners::new(this.clone()),
            tenants: Mutex::default(),
            released: Condvar::new(),
            limits,
            doors,
            serving,
            state,
            operations,
            programmes,
            privileges,
            speaker,
            reasons,
            registry,
            pool,
            _keeper: keeper,
        }))
    }

    /// Removes all namespaces, keeps their keys, and ends all threads.
    ///
    /// # Errors
    ///
    /// The namespaces that are still held when `deadline` passes. Their threads go on.
    pub fn stop(&self, deadline: Deadline) -> Result<(), Vec<NamespaceView>> {
        let mut tenants = self.unclaimed();
        for (name, mut tenant) in std::mem::take(&mut tenants.live) {
            tenant.begin_draining();
            for listener in &tenant.listeners {
                tenants.addresses.remove(listener.local, listener.spec.netns.as_ref(), &name);
                listener.stop();
            }
            self.speaker.say(Some(tenant.ns.id()), Happened::Draining);
            tenants.draining.insert(tenant.ns.id().id, tenant);
        }
        drop(tenants);
        self.owners.stop();
        if self.registry.remove_all(deadline).is_err() {
            return Err(self.namespaces());
        }
        self.pool.stop();
        self.state.sync().unwrap_or_else(|error| tracing::error!("{error:#}"));
        Ok(())
    }

    // ---- namespaces ----

    /// Creates a namespace and serves it.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing of it is left.
    pub fn add_namespace(&self, spec: NamespaceSpec) -> Result<NamespaceView, Error> {
        let name = spec.name.clone();
        self.change(vec![Change::Add(spec)]).map_err(first)?;
        self.namespace(&name)
    }

    /// Removes the namespace that `NAME` or `NAME@ID` means, destroys its key, and waits for what is
    /// in flight. The name is free as soon as this has begun.
    ///
    /// # Errors
    ///
    /// [`Error::StillHeld`] with what is held when `wait` passes; it goes as soon as it can, and can
    /// be waited for again by `NAME@ID`.
    pub fn del_namespace(&self, name: &str, wait: Deadline) -> Result<(), Error> {
        let tenants = self.tenants();
        let ns = tenants.resolve(name)?.ns.clone();
        let id = ns.id();
        let known = tenants.live.get(id.name.as_str());
        let is_live = known.is_some_and(|tenant| tenant.ns.id() == id);
        drop(tenants);
        if is_live {
            self.change(vec![Change::Remove(id.to_string())]).map_err(first)?;
        }
        self.wait_gone(&ns, wait)
    }

    /// All namespaces, the oldest first.
    pub fn namespaces(&self) -> Vec<NamespaceView> {
        let mut tenants = self.tenants();
        tenants.prune();
        let all = tenants.live.values().chain(tenants.draining.values());
        let mut views: Vec<_> =
            all.map(|tenant| view::namespace(tenant, &self.operations)).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// The namespace that `NAME` or `NAME@ID` means.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn namespace(&self, name: &str) -> Result<NamespaceView, Error> {
        let mut tenants = self.tenants();
        tenants.prune();
        Ok(view::namespace(tenants.resolve(name)?, &self.operations))
    }

    // ---- exports ----

    /// What a namespace exports, in the order in which it came.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn exports(&self, ns: &str) -> Result<Vec<ExportView>, Error> {
        Ok(view::exports(self.tenants().resolve(ns)?))
    }

    /// Exports one directory more.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn add_export(&self, ns: &str, spec: ExportSpec) -> Result<ExportView, Error> {
        let path = spec.path.clone();
        let add = Alteration { name: ns.into(), add_export: vec![spec], ..Alteration::default() };
        self.change(vec![Change::Alter(add)]).map_err(first)?;
        let tenants = self.tenants();
        let export = tenants.resolve(ns)?.export(&path).map(|export| export.view.clone());
        export.ok_or_else(|| Error::NotFound(format!("{path} was removed again meanwhile")))
    }

    /// Exports a directory no longer: its handles are stale from now on. Waits until nothing of it is
    /// open.
    ///
    /// # Errors
    ///
    /// [`Error::StillHeld`] with what goes on there when `wait` passes; it is closed as soon as it can be.
    pub fn del_export(&self, ns: &str, path: &str, wait: Deadline) -> Result<(), Error> {
        let del_export = vec![path.to_owned()];
        let del = Alteration { name: ns.into(), del_export, ..Alteration::default() };
        let changed = self.change(vec![Change::Alter(del)]).map_err(first)?;
        for export in &changed.leaving {
            if self.close_export(export, wait) {
                continue;
            }
            let held = match self.tenants().resolve(&export.ns.id().to_string()) {
                Ok(tenant) => view::held(tenant, &self.operations, Some(export.id)),
                Err(_) => HeldView::default(),
            };
            let path = &export.path;
            let what = view::in_words(&held);
            let message =
                format!("{path} of namespace {ns} is exported no longer, and still held: {what}");
            return Err(Error::StillHeld { message, held });
        }
        Ok(())
    }

    /// Waits until nobody uses an export that is served no longer, and then closes its files; whether
    /// that was before the deadline. If not, they are closed when they have not been used for a while.
    fn close_export(&self, export: &LeavingExport, deadline: Deadline) -> bool {
        let is_closed = export.closed.wait(deadline);
        if is_closed
            && let Some(inside) = export.ns.enter()
            && let Some(cache) = inside.get::<Caches<Object>>()
        {
            let desk = self.operations.desk();
            let _noted = desk.begin_own(export.ns.id().id, "closing an export", &export.path);
            cache.forget_export(export.id);
        }
        is_closed
    }

    // ---- listeners ----

    /// Where a namespace listens, in the order in which it came.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn listeners(&self, ns: &str) -> Result<Vec<ListenerView>, Error> {
        Ok(view::listeners(self.tenants().resolve(ns)?))
    }

    /// Listens at one more place.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn add_listener(&self, ns: &str, spec: ListenSpec) -> Result<ListenerView, Error> {
        let (before, added) = (self.listeners(ns)?, spec.clone());
        let add = Alteration { name: ns.into(), add_listen: vec![spec], ..Alteration::default() };
        self.change(vec![Change::Alter(add)]).map_err(first)?;
        let now = self.listeners(ns)?;
        let new = now
            .into_iter()
            .find(|it| it.spec == added && !before.iter().any(|before| before.local == it.local));
        new.ok_or_else(|| Error::NotFound(format!("{added} was removed again meanwhile")))
    }

    /// Listens at one place less, and closes the connections that came by it. The place is named as it
    /// was asked for, or with the port that it has.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn del_listener(
        &self,
        ns: &str,
        addr: SocketAddr,
        netns: Option<NetnsRef>,
    ) -> Result<(), Error> {
        let del_listen = vec![ListenSpec { netns, ..ListenSpec::new(addr) }];
        let del = Alteration { name: ns.into(), del_listen, ..Alteration::default() };
        self.change(vec![Change::Alter(del)]).map_err(first).map(drop)
    }

    /// Sets the limits of a namespace: those of connections for who comes from now on, the others at
    /// once.
    ///
    /// # Errors
    ///
    /// [`Error`]; then nothing has changed.
    pub fn set_limits(&self, ns: &str, limits: LimitsSpec) -> Result<(), Error> {
        let limits = Some(limits);
        let set = Alteration { name: ns.into(), limits, ..Alteration::default() };
        self.change(vec![Change::Alter(set)]).map_err(first).map(drop)
    }

    // ---- all at once ----

    /// Carries out many changes, all of them or none. It does not wait for namespaces that go, and
    /// for exports only as long as a call takes that does not hang.
    ///
    /// # Errors
    ///
    /// All that is wrong with them; then nothing has changed.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), Vec<Refused>> {
        let changed = self.change(changes)?;
        let deadline = Deadline::after(SHORT);
        for export in &changed.leaving {
            self.close_export(export, deadline);
        }
        Ok(())
    }

    // ---- what happens ----

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.speaker.listen()
    }

    /// Tells whoever listens of something that the server does not know by itself.
    pub fn say(&self, what: Happened) {
        self.speaker.say(None, what);
    }

    /// How the pool does.
    pub fn pool(&self) -> holm_pool::Metrics {
        self.pool.metrics()
    }

    /// The namespaces, for those who look into them: see [`Nfs`].
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where what outlives it is kept.
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// What the process may do.
    pub fn privileges(&self) -> &'static Privileges {
        self.privileges
    }

    fn wait_gone(&self, ns: &Namespace, wait: Deadline) -> Result<(), Error> {
        let outcome = ns.wait_gone(wait);
        let mut tenants = self.tenants();
        tenants.prune();
        if outcome.is_ok() {
            return Ok(());
        }
        let Some(tenant) = tenants.draining.get(&ns.id().id) else { return Ok(()) };
        let held = view::held(tenant, &self.operations, None);
        let what = view::in_words(&held);
        let message = format!("namespace {} is still held: {what}", ns.id());
        Err(Error::StillHeld { message, held })
    }

    fn tenants(&self) -> MutexGuard<'_, Tenants> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Longer than calls take that do not hang.
const SHORT: Duration = Duration::from_secs(1);

/// Of one change there is one error.
fn first(errors: Vec<Refused>) -> Error {
    let none = || Error::Failed("the change failed".into());
    errors.into_iter().next().map_or_else(none, |refused| refused.error)
}

/// What the pool says.
fn hear(speaker: &Speaker, report: &Report) {
    tracing::warn!("{report}");
    let why = report.to_string();
    match report {
        Report::Slow { ns } => speaker.say(Some(ns), Happened::Stuck { why }),
        Report::Fast { .. } => {}
        Report::Panicked { ns, .. } => speaker.say(Some(ns), Happened::Failed { why }),
        Report::NoThread { .. } | Report::NoEvents { .. } => {
            speaker.say(None, Happened::Failed { why });
        }
    }
}
