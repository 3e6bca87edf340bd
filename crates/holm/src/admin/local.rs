//! What can be asked of the door for programs on the server's machine.

use super::answer::{OfNs, Refusal, Said, blocking};
use super::routes::Of;
use crate::model::{ErrorBody, LocalPatch, LocalView};
use axum::Json;
use axum::extract::State;

/// Whose programs on the server's machine may open files past the network, and who has
#[utoipa::path(get, path = "/namespaces/{ns}/local", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID` for one that may be draining"),
), responses(
    (status = OK, body = LocalView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
pub(super) async fn show_local(
    State(server): Of,
    OfNs(ns): OfNs,
) -> Result<Json<LocalView>, Refusal> {
    let what = format!("looking at the local users of {ns}");
    Ok(Json(blocking(&what, move || server.local(&ns)).await?))
}

/// Let others open files past the network, or by another door; what is not said stays
///
/// Programs of users who may not any more are asked for the files that they have, and cut off if they have
/// not given them back in time.
#[utoipa::path(patch, path = "/namespaces/{ns}/local", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = LocalPatch, responses(
    (status = OK, body = LocalView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
pub(super) async fn set_local(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(patch): Said<LocalPatch>,
) -> Result<Json<LocalView>, Refusal> {
    let what = format!("changing the local users of {ns}");
    Ok(Json(blocking(&what, move || server.set_local(&ns, patch)).await?))
}
