//! Answers, and refusals that say why.

use crate::model::{ErrorBody, ErrorCode};
use crate::server::Error;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::time::Duration;

/// A request's body has at most this many bytes.
const BODY_MOST: usize = 256 << 10;
/// A request's body is here after this time.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// A request that does not say for how long it waits is answered after this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A request that is not carried out.
#[derive(Debug)]
pub struct Refusal(pub ErrorBody);

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Display) -> Self {
        Self(ErrorBody { code, message: message.to_string(), held: None })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (status(self.0.code), Json(self.0)).into_response()
    }
}

/// The status of an answer that refuses for such a reason.
pub fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Invalid => StatusCode::BAD_REQUEST,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Exists | ErrorCode::StillHeld => StatusCode::CONFLICT,
        ErrorCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::Method => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Late => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// For who is neither root nor the user we are.
pub(super) fn stranger() -> Refusal {
    let own = rustix::process::geteuid().as_raw();
    let message = format!(
        "you may not use the admin API: it is for root and for user {own}, who runs this server; \
         try sudo"
    );
    Refusal::new(ErrorCode::Forbidden, message)
}

/// For who comes when there are too many.
pub(super) fn busy() -> Refusal {
    let message = format!(
        "{} requests are in progress, and no more are taken at a time; try again later, or end a \
         `holm monitor`",
        super::accept::CONNECTIONS
    );
    Refusal::new(ErrorCode::Busy, message)
}

/// For a path that means nothing.
pub(super) async fn no_such_path(uri: Uri) -> Refusal {
    let message = format!("there is nothing at {}; /openapi.json says what there is", uri.path());
    Refusal::new(ErrorCode::NotFound, message)
}

/// For a method that means nothing at its path.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let message = format!(
        "{method} can't be done to {}; the header `allow` says what can, /openapi.json what it means",
        uri.path()
    );
    Refusal::new(ErrorCode::Method, message)
}

/// The namespace that a path names.
pub(super) struct OfNs(pub String);

impl<S: Send + Sync> FromRequestParts<S> for OfNs {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(ns)) => Ok(Self(ns)),
            Err(error) => Err(invalid("path", &parts.method, &parts.uri, &error)),
        }
    }
}

/// What a query says.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = parts.uri.query().unwrap_or_default();
        match serde_urlencoded::from_str(query) {
            Ok(asked) => Ok(Self(asked)),
            Err(error) => Err(invalid("query", &parts.method, &parts.uri, &error)),
        }
    }
}

/// What a body says, of which everything is bounded.
pub(super) struct Said<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Said<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let about = |error: &dyn Display| invalid("body", &parts.method, &parts.uri, error);
        let body = match tokio::time::timeout(BODY_WITHIN, whole(body)).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) => {
                let message = format!("the body is longer than {BODY_MOST} bytes");
                return Err(Refusal::new(ErrorCode::TooLarge, message));
            }
            Ok(Err(error)) => return Err(about(&error)),
            Err(_) => return Err(about(&format_args!("it was not here after {BODY_WITHIN:?}"))),
        };
        match serde_json::from_slice(&body) {
            Ok(said) => Ok(Self(said)),
            Err(error) => Err(about(&error)),
        }
    }
}

/// The body, unless it is too long. Then as much again and more is thrown away, because who still
/// sends when we close does not see why.
async fn whole(mut body: Body) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut kept, mut all) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        all += data.len();
        if all <= BODY_MOST {
            kept.extend_from_slice(data);
        } else if all > 16 * BODY_MOST {
            break;
        }
    }
    Ok((all <= BODY_MOST).then_some(kept))
}

fn invalid(part: &str, method: &Method, uri: &Uri, why: &dyn Display) -> Refusal {
    let message =
        format!("the {part} of {method} {} is wrong: {why}; see /openapi.json", uri.path());
    Refusal::new(ErrorCode::Invalid, message)
}

/// Does what may block, where it may.
pub(super) async fn blocking<R: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Refusal> {
    blocking_for(what, Duration::ZERO, work).await
}

/// The same for what waits by itself for a time.
pub(super) async fn blocking_for<R: Send + 'static>(
    what: &str,
    waits: Duration,
    work: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Refusal> {
    let work = tokio::task::spawn_blocking(work);
    match tokio::time::timeout(waits.saturating_add(ANSWER_WITHIN), work).await {
        Ok(Ok(outcome)) => outcome.map_err(|error| Refusal(error.to_body())),
        Ok(Err(error)) => Err(Refusal::new(ErrorCode::Failed, format_args!("{what}: {error}"))),
        Err(_) => {
            let message = format!(
                "{what}: not done after {ANSWER_WITHIN:?}, a file system may not answer; it goes on: \
                 look later whether it was done"
            );
            Err(Refusal::new(ErrorCode::Late, message))
        }
    }
}

/// Something was made.
pub(super) fn made(noun: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(noun)).into_response()
}
