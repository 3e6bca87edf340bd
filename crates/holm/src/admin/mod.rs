//! The admin API: HTTP/1.1 and JSON on a unix socket.
//!
//! One thread, asleep in `poll` until somebody connects for the first time; only then does it make
//! its runtime. What it asks of the [`Server`] may block and runs on threads that end when they are
//! idle. `routes` is the whole of the API; `accept` bounds who may ask and how much.

mod accept;
mod answer;
mod capture;
mod events;
mod local;
mod routes;
pub mod socket;
mod taken;

pub use routes::description;
pub use socket::{Socket, SocketError};

use crate::server::Server;
use anyhow::{Context, Result};
use hyper_util::server::graceful::GracefulShutdown;
use rustix::event::{PollFd, PollFlags};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// An idle thread that has carried out a request is kept for this long.
const IDLE_THREAD: Duration = Duration::from_secs(2);

/// At the end, requests that are being answered have this long to be.
const PARTING: Duration = Duration::from_millis(500);

/// The admin API of a server, until it is dropped.
pub struct Admin {
    /// The socket file is removed first: who comes now is told that nobody is there.
    _socket: Option<Socket>,
    /// The thread ends when the other end of its pair is dropped.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// What the routes need.
#[derive(Clone)]
struct Api {
    server: Arc<Server>,
    /// Closed when the API ends.
    ended: watch::Receiver<()>,
}

/// Where the API listens.
struct Listeners {
    stopped: UnixStream,
    admin: Option<UnixListener>,
    metrics: Option<TcpListener>,
}

impl Admin {
    /// Answers on `socket`, and on `metrics` to who asks for those.
    ///
    /// # Errors
    ///
    /// If there are no descriptors or threads left.
    pub fn start(
        server: Arc<Server>,
        socket: Option<Socket>,
        metrics: Option<TcpListener>,
    ) -> Result<Self> {
        let (stop, stopped) = UnixStream::pair().context("could not make a pair of sockets")?;
        let admin = socket.as_ref().map(Socket::listener).transpose();
        let admin = admin.context("could not share the admin socket")?;
        let listeners = Listeners { stopped, admin, metrics };
        let thread = std::thread::Builder::new()
            .name("holm-admin".into())
            .spawn(move || {
                if let Err(error) = listeners.serve(server) {
                    tracing::error!(error = format!("{error:#}"), "the admin API has ended");
                }
            })
            .context("could not start the thread of the admin API")?;
        Ok(Self { _socket: socket, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Listeners {
    fn serve(self, server: Arc<Server>) -> Result<()> {
        if self.wait_for_first()? {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("holm-admin-work")
            .thread_keep_alive(IDLE_THREAD)
            .max_blocking_threads(accept::CONNECTIONS)
            .build()
            .context("could not make a runtime")?;
        let outcome = runtime.block_on(self.run(server));
        // Not waited for: what blocks may do so for ever.
        runtime.shutdown_background();
        outcome
    }

    /// Waits until there is something to do; true: to stop.
    fn wait_for_first(&self) -> Result<bool> {
        let input = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = vec![input(self.stopped.as_fd())];
        fds.extend(self.admin.as_ref().map(|listener| input(listener.as_fd())));
        fds.extend(self.metrics.as_ref().map(|listener| input(listener.as_fd())));
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
            .context("could not wait for connections")?;
        Ok(fds.first().is_some_and(|stopped| !stopped.revents().is_empty()))
    }

    async fn run(self, server: Arc<Server>) -> Result<()> {
        let failed = "could not listen";
        let connections = GracefulShutdown::new();
        let (end, ended) = watch::channel(());
        let api = Api { server, ended };
        self.stopped.set_nonblocking(true).context(failed)?;
        let stopped = tokio::net::UnixStream::from_std(self.stopped).context(failed)?;
        let admin = self.admin.map(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        });
        let metrics = self.metrics.map(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let admin = admin.transpose().context(failed)?;
        let metrics = metrics.transpose().context(failed)?;
        tokio::select! {
            stopped = stopped.readable() => stopped.context("could not wait for the end")?,
            () = accept::admin(admin, &api, &connections) => {}
            () = accept::metrics(metrics, &api, &connections) => {}
        }
        drop(end);
        let _ = tokio::time::timeout(PARTING, connections.shutdown()).await;
        Ok(())
    }
}
