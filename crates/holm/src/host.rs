//! What the host is told while holm runs: systemd, whether it serves; rpcbind, where.
//!
//! Neither is needed to serve. What goes wrong is logged, with what to do.

use crate::model::{Happened, NamespaceState};
use crate::rpcbind::{Binder, RegisterError, Registrar};
use crate::server::{Events, Server};
use sd_notify::NotifyState;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The host's programs that are told.
#[derive(Debug)]
pub struct Host {
    registered: Option<Arc<Registered>>,
}

/// What rpcbind knows. Listeners come and go by the configuration and by the admin API.
#[derive(Debug)]
struct Registered(Mutex<State>);

#[derive(Debug)]
struct State {
    registrar: Registrar,
    /// Whether rpcbind is to be told.
    wanted: bool,
}

impl Host {
    /// The server serves from now on; whether rpcbind is told is the operator's choice.
    pub fn begin(server: &Arc<Server>, rpcbind: bool) -> Self {
        let events = server.events();
        // Also if rpcbind is not told any more: what an earlier run told is taken back.
        let registrar = Registrar::open(Binder::default(), &server.state().rpcbind());
        let registered = registrar.map_err(warn).ok().map(|registrar| {
            Arc::new(Registered(Mutex::new(State { registrar, wanted: rpcbind })))
        });
        let host = Self { registered };
        host.register(server);
        if let (Some(registered), true) = (&host.registered, rpcbind)
            && let Err(error) = registered.clone().follow(Arc::downgrade(server), events)
        {
            tracing::warn!(%error, "rpcbind is told of listeners of the admin API at a reload only");
        }
        notify(&[NotifyState::Ready]);
        host
    }

    /// The configuration is being read again.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "could not tell systemd of the reload"),
        }
    }

    /// It was read, whatever came of it.
    pub fn reloaded(&self, server: &Server) {
        self.register(server);
        notify(&[NotifyState::Ready]);
    }

    /// The server is about to end.
    pub fn ending(self) {
        notify(&[NotifyState::Stopping]);
        if let Some(registered) = &self.registered {
            registered.take_back();
        }
    }

    fn register(&self, server: &Server) {
        if let Some(registered) = &self.registered {
            registered.update(server);
        }
    }
}

impl Registered {
    /// Tells rpcbind of listeners as they come and go, on a thread of its own: it may have to wait for
    /// rpcbind. The thread ends with the server.
    fn follow(self: Arc<Self>, server: Weak<Server>, mut events: Events) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let follow = move || {
            while let Some(event) = runtime.block_on(events.next()) {
                let mut concerns = is_about_listeners(&event.what);
                // Many that come at once are told at once.
                while let Some(event) = events.try_next() {
                    concerns |= is_about_listeners(&event.what);
                }
                if concerns && let Some(server) = server.upgrade() {
                    self.update(&server);
                }
            }
        };
        std::thread::Builder::new().name("rpcbind".into()).stack_size(STACK).spawn(follow)?;
        Ok(())
    }

    fn update(&self, server: &Server) {
        let State { registrar, wanted } =
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked under the lock: of two who update, the later one knows what is.
        let namespaces = if *wanted { server.namespaces() } else { Vec::new() };
        // Of those that drain, some are still shown.
        let live = namespaces.iter().filter(|ns| ns.state == NamespaceState::Live);
        registrar.set(live.flat_map(|ns| &ns.listeners)).unwrap_or_else(warn);
    }

    /// Nothing is registered any more, from now on.
    fn take_back(&self) {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        state.registrar.set([]).unwrap_or_else(warn);
    }
}

/// Whether there may be other listeners than before.
fn is_about_listeners(what: &Happened) -> bool {
    matches!(
        what,
        Happened::Created
            | Happened::Draining
            | Happened::ListenerAdded { .. }
            | Happened::ListenerRemoved { .. }
            | Happened::ListenerChanged { .. }
            | Happened::Missed { .. }
    )
}

/// Bytes: it asks and answers.
const STACK: usize = 256 << 10;

fn warn(error: RegisterError) {
    tracing::warn!("{error}");
}

/// Does nothing where systemd has not started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "could not tell systemd how holm does: NOTIFY_SOCKET does not answer");
    }
}
