//! The stream of events: lines of JSON, from the server's broadcast to who reads.

use crate::model::Event;
use crate::server::Events;
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;
use tokio::sync::watch;

/// Its media type.
pub(super) const CONTENT: &str = "application/x-ndjson";

/// An answer that goes on as long as the server does and somebody reads.
pub(super) fn stream(events: Events, ended: watch::Receiver<()>) -> Response {
    let lines = stream::unfold((events, ended), async |(mut events, mut ended)| {
        let event = tokio::select! {
            // First what has happened: it says why there is no more.
            biased;
            event = events.next() => event?,
            _ = ended.changed() => return None,
        };
        Some((Ok::<_, Infallible>(Frame::data(line(&event))), (events, ended)))
    });
    ([(CONTENT_TYPE, CONTENT)], Body::new(StreamBody::new(lines))).into_response()
}

fn line(event: &Event) -> Bytes {
    // It has no key that is not text, and nothing that can fail.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
