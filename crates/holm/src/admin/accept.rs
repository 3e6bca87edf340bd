//! Who may ask, how many at a time, and for how long.

use super::taken::Taken;
use super::{Api, answer, routes};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

/// Connections at a time. Each has one request at work at most.
pub(super) const CONNECTIONS: usize = 64;
/// Connections at a time of who is told why not to come, and of who asks for metrics.
const OTHERS: usize = 8;
/// A request's head is here after this time, or the connection is closed; an idle one too.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Who is refused, or asks for metrics, has gone after this time.
const BRIEF: Duration = Duration::from_secs(10);
/// Who takes nothing of an answer for this long is left: what it does not take is kept in memory.
const TAKEN_WITHIN: Duration = Duration::from_secs(5 * 60);
/// A request's head is at most this long, bytes.
const HEAD_MOST: usize = 16 << 10;
/// Without descriptors, we try again after this time.
const NO_DESCRIPTORS: Duration = Duration::from_millis(200);

/// Serves the API to root and to our own user, for ever; tells others that it is not for them.
pub(super) async fn admin(
    listener: Option<UnixListener>,
    api: &Api,
    connections: &GracefulShutdown,
) {
    let Some(listener) = listener else { return std::future::pending().await };
    let own = rustix::process::geteuid().as_raw();
    let (welcome, others) = (places(CONNECTIONS), places(OTHERS));
    let api = routes::all(api.clone());
    let stranger = Router::new().fallback(async || answer::stranger());
    let full = Router::new().fallback(async || answer::busy());
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let known = stream.peer_cred().is_ok_and(|peer| [0, own].contains(&peer.uid()));
        let refusal = if !known {
            &stranger
        } else if let Ok(place) = welcome.clone().try_acquire_owned() {
            let serving = serve(stream, api.clone(), connections);
            tokio::spawn(async move {
                serving.await;
                drop(place);
            });
            continue;
        } else {
            &full
        };
        brief(stream, refusal, &others, connections);
    }
}

/// Serves the metrics to whoever can connect, for ever.
pub(super) async fn metrics(
    listener: Option<TcpListener>,
    api: &Api,
    connections: &GracefulShutdown,
) {
    let Some(listener) = listener else { return std::future::pending().await };
    let places = places(OTHERS);
    let metrics = routes::metrics_only(api.clone());
    loop {
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        brief(stream, &metrics, &places, connections);
    }
}

fn places(most: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(most))
}

async fn accepted<T>(outcome: io::Result<T>) -> Option<T> {
    match outcome {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection to the admin API");
            tokio::time::sleep(NO_DESCRIPTORS).await;
            None
        }
    }
}

/// Serves somebody who must not stay; nobody, if there are too many of them.
fn brief<S>(stream: S, router: &Router, places: &Arc<Semaphore>, connections: &GracefulShutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(place) = places.clone().try_acquire_owned() else { return };
    let serving = serve(stream, router.clone(), connections);
    tokio::spawn(async move {
        let _ = tokio::time::timeout(BRIEF, serving).await;
        drop(place);
    });
}

fn serve<S>(
    stream: S,
    router: Router,
    connections: &GracefulShutdown,
) -> impl Future<Output = ()> + use<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MOST)
        .serve_connection(
            TokioIo::new(Taken::new(stream, TAKEN_WITHIN)),
            TowerToHyperService::new(router),
        );
    let connection = connections.watch(connection);
    async {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the admin API has failed");
        }
    }
}
