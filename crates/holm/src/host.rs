//! What the host is told while holm runs: systemd, whether it serves; rpcbind, where.
//!
//! Neither is needed to serve. What goes wrong is logged, with what to do.

use crate::rpcbind::{Binder, RegisterError, Registrar};
use crate::server::Server;
use sd_notify::NotifyState;

/// The host's programs that are told.
#[derive(Debug)]
pub struct Host {
    registrar: Option<Registrar>,
    /// Whether rpcbind is to be told.
    rpcbind: bool,
}

impl Host {
    /// The server serves from now on; whether rpcbind is told is the operator's choice.
    pub fn begin(server: &Server, rpcbind: bool) -> Self {
        // Also if rpcbind is not told any more: what an earlier run told is taken back.
        let registrar = Registrar::open(Binder::default(), &server.state().rpcbind());
        let registrar = registrar.map_err(warn).ok();
        let mut host = Self { registrar, rpcbind };
        host.register(server);
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
    pub fn reloaded(&mut self, server: &Server) {
        self.register(server);
        notify(&[NotifyState::Ready]);
    }

    /// The server is about to end.
    pub fn ending(mut self) {
        notify(&[NotifyState::Stopping]);
        self.rpcbind = false;
        if let Some(registrar) = &mut self.registrar {
            registrar.set([]).unwrap_or_else(warn);
        }
    }

    fn register(&mut self, server: &Server) {
        let Some(registrar) = &mut self.registrar else { return };
        let namespaces = if self.rpcbind { server.namespaces() } else { Vec::new() };
        let listeners = namespaces.iter().flat_map(|ns| &ns.listeners);
        registrar.set(listeners).unwrap_or_else(warn);
    }
}

fn warn(error: RegisterError) {
    tracing::warn!("{error}");
}

/// Does nothing where systemd has not started us.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "could not tell systemd how holm does: NOTIFY_SOCKET does not answer");
    }
}
