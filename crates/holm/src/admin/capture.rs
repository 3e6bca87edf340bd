//! The stream of a capture: a file in the format pcapng, as it comes.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use holm_ifnet::Capture;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;
use tokio::sync::watch;

/// Its media type.
pub(super) const CONTENT: &str = "application/vnd.tcpdump.pcap";

/// An answer that goes on as long as the interface and the server do and somebody reads.
pub(super) fn stream(capture: Capture, ended: watch::Receiver<()>) -> Response {
    let parts = stream::unfold((capture, ended), async |(mut capture, mut ended)| {
        let part = tokio::select! {
            // First what was captured: an interface that goes with the server ends it by itself.
            biased;
            part = capture.next() => part?,
            _ = ended.changed() => return None,
        };
        Some((Ok::<_, Infallible>(Frame::data(axum::body::Bytes::from(part))), (capture, ended)))
    });
    ([(CONTENT_TYPE, CONTENT)], Body::new(StreamBody::new(parts))).into_response()
}
