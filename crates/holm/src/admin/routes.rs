//! What can be asked: the routes, and with them their description.

use super::answer::{
    Asked, OfNs, Refusal, Said, blocking, blocking_for, made, no_such_method, no_such_path,
};
use super::{Api, capture, events, local};
use crate::metrics;
use crate::model::{
    AddrSpec, AddrView, ErrorBody, Event, ExportSpec, ExportView, LimitsSpec, LinkMove, LinkPatch,
    LinkSpec, LinkView, ListenSpec, ListenerView, NamespaceSpec, NamespaceView, NetnsRef,
    RouteSpec, RouteView,
};
use crate::server::Server;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use holm_lifetime::Deadline;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use utoipa::openapi::{OpenApi, RefOr, Schema};
use utoipa::{IntoParams, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The longest that a removal can be waited for, in seconds.
const WAIT_MOST: u32 = 24 * 60 * 60;

pub(super) type Of = State<Arc<Server>>;

impl FromRef<Api> for Arc<Server> {
    fn from_ref(api: &Api) -> Self {
        api.server.clone()
    }
}

/// The whole API of a server.
pub(super) fn all(api: Api) -> Router {
    let (router, _) = described().split_for_parts();
    router.fallback(no_such_path).method_not_allowed_fallback(no_such_method).with_state(api)
}

/// Only the metrics, for who may see no more.
pub(super) fn metrics_only(api: Api) -> Router {
    let router = Router::new().route("/metrics", get(show_metrics));
    router.fallback(no_such_path).method_not_allowed_fallback(no_such_method).with_state(api)
}

/// The description of the API.
pub fn description() -> OpenApi {
    let mut description = described().into_openapi();
    if let Some(components) = &mut description.components {
        open_parts(&mut components.schemas);
    }
    description
}

/// A view has all that its spec has, and more: so the schema of the spec can't forbid more.
fn open_parts(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let mut parts = Vec::new();
    for schema in schemas.values() {
        if let RefOr::T(Schema::AllOf(all)) = schema {
            parts.extend(all.items.iter().filter_map(|item| match item {
                RefOr::Ref(part) => part.ref_location.rsplit('/').next().map(str::to_owned),
                RefOr::T(_) => None,
            }));
        }
    }
    for part in parts {
        if let Some(RefOr::T(Schema::Object(part))) = schemas.get_mut(&part) {
            part.additional_properties = None;
        }
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "The admin API of holm", description = ABOUT))]
struct Description;

const ABOUT: &str = "\
HTTP/1.1 and JSON on a unix socket: `curl --unix-socket /run/holm/admin.sock http://holm/namespaces`.

Whatever is not carried out is answered by an error body, which says what was tried, on what, why it \
failed, and what to do. So are paths that are not described here, by 404; methods that are not, by 405 \
with the header `allow`; who is neither root nor the user who runs the server, by 403; and who comes \
when there are too many, by 503.";

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(list_namespaces, add_namespace))
        .routes(routes!(show_namespace, remove_namespace))
        .routes(routes!(list_exports, add_export, remove_export))
        .routes(routes!(list_listeners, add_listener, remove_listener))
        .routes(routes!(list_links, add_link, set_link, remove_link))
        .routes(routes!(list_addresses, add_address, remove_address))
        .routes(routes!(list_routes, add_route, remove_route))
        .routes(routes!(set_limits))
        .routes(routes!(local::show_local, local::set_local))
        .routes(routes!(move_link))
        .routes(routes!(capture_link))
        .routes(routes!(show_events))
        .routes(routes!(show_statistics))
        .routes(routes!(show_metrics))
        .routes(routes!(describe))
}

/// All namespaces, live or draining, the oldest first
#[utoipa::path(get, path = "/namespaces", responses(
    (status = OK, body = [NamespaceView]),
    (status = "5XX", body = ErrorBody),
))]
async fn list_namespaces(State(server): Of) -> Result<Json<Vec<NamespaceView>>, Refusal> {
    Ok(Json(blocking("listing the namespaces", move || Ok(server.namespaces())).await?))
}

/// Make a namespace, with all that is said or not at all
#[utoipa::path(post, path = "/namespaces", request_body = NamespaceSpec, responses(
    (status = CREATED, body = NamespaceView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_namespace(
    State(server): Of,
    Said(spec): Said<NamespaceSpec>,
) -> Result<Response, Refusal> {
    let what = format!("making namespace {}", spec.name);
    Ok(made(blocking(&what, move || server.add_namespace(spec)).await?))
}

/// One namespace
#[utoipa::path(get, path = "/namespaces/{ns}", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID` for one that may be draining"),
), responses(
    (status = OK, body = NamespaceView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn show_namespace(State(server): Of, OfNs(ns): OfNs) -> Result<Json<NamespaceView>, Refusal> {
    let what = format!("looking at namespace {ns}");
    Ok(Json(blocking(&what, move || server.namespace(&ns)).await?))
}

/// How a namespace is removed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Removal {
    /// Seconds to wait until nothing is left of it; 0 if nothing is said.
    #[serde(default)]
    #[param(maximum = 86400)]
    wait: u32,
}

/// Remove a namespace
///
/// When this is answered by 204, nothing of it is left. When something still holds it after the time
/// to wait, it is answered by 409 and the error body says what; the namespace is not served any more
/// and goes when it can, until then it is listed as draining. Removing it once more waits once more.
#[utoipa::path(delete, path = "/namespaces/{ns}", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID` for one that may be draining"),
    Removal,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_namespace(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(Removal { wait }): Asked<Removal>,
) -> Result<StatusCode, Refusal> {
    let wait = bounded(wait);
    let what = format!("removing namespace {ns}");
    blocking_for(&what, wait, move || server.del_namespace(&ns, Deadline::after(wait))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a namespace exports
#[utoipa::path(get, path = "/namespaces/{ns}/exports", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), responses(
    (status = OK, body = [ExportView]),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn list_exports(State(server): Of, OfNs(ns): OfNs) -> Result<Json<Vec<ExportView>>, Refusal> {
    let what = format!("listing the exports of {ns}");
    Ok(Json(blocking(&what, move || server.exports(&ns)).await?))
}

/// Export one directory more
#[utoipa::path(post, path = "/namespaces/{ns}/exports", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = ExportSpec, responses(
    (status = CREATED, body = ExportView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_export(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(spec): Said<ExportSpec>,
) -> Result<Response, Refusal> {
    let what = format!("exporting {} in {ns}", spec.dir.display());
    Ok(made(blocking(&what, move || server.add_export(&ns, spec)).await?))
}

/// Which export.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichExport {
    /// What clients call it.
    path: String,
    /// Seconds to wait until nothing of it is open; 0 if nothing is said.
    #[serde(default)]
    #[param(maximum = 86400)]
    wait: u32,
}

/// Export a directory no more
///
/// When this is answered by 204, nothing of it is open. When something still is after the time to
/// wait, it is answered by 409 and the error body says what; it is not served any more, and is closed
/// as soon as it can be.
#[utoipa::path(delete, path = "/namespaces/{ns}/exports", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichExport,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_export(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichExport { path, wait }): Asked<WhichExport>,
) -> Result<StatusCode, Refusal> {
    let wait = bounded(wait);
    let what = format!("ending export {path} of {ns}");
    let removal = move || server.del_export(&ns, &path, Deadline::after(wait));
    blocking_for(&what, wait, removal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a namespace listens
#[utoipa::path(get, path = "/namespaces/{ns}/listeners", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), responses(
    (status = OK, body = [ListenerView]),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn list_listeners(
    State(server): Of,
    OfNs(ns): OfNs,
) -> Result<Json<Vec<ListenerView>>, Refusal> {
    let what = format!("listing the listeners of {ns}");
    Ok(Json(blocking(&what, move || server.listeners(&ns)).await?))
}

/// Listen at one more place
#[utoipa::path(post, path = "/namespaces/{ns}/listeners", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = ListenSpec, responses(
    (status = CREATED, body = ListenerView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_listener(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(spec): Said<ListenSpec>,
) -> Result<Response, Refusal> {
    let what = format!("listening at {} for {ns}", spec.addr);
    Ok(made(blocking(&what, move || server.add_listener(&ns, spec)).await?))
}

/// Which listener.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichListener {
    /// Where it listens.
    #[param(value_type = String, example = "127.0.0.1:2049")]
    addr: SocketAddr,
    /// In which kernel network namespace: a path, or the number of a process.
    netns: Option<String>,
}

/// Listen there no more, and close the connections that came by it
#[utoipa::path(delete, path = "/namespaces/{ns}/listeners", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichListener,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_listener(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichListener { addr, netns }): Asked<WhichListener>,
) -> Result<StatusCode, Refusal> {
    let netns = netns.map(|netns| match netns.parse() {
        Ok(pid) => NetnsRef::Pid(pid),
        Err(_) => NetnsRef::Path(netns),
    });
    let what = format!("ending listener {addr} of {ns}");
    blocking(&what, move || server.del_listener(&ns, addr, netns)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The interfaces of a namespace, in the order of their names
#[utoipa::path(get, path = "/namespaces/{ns}/links", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), responses(
    (status = OK, body = [LinkView]),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn list_links(State(server): Of, OfNs(ns): OfNs) -> Result<Json<Vec<LinkView>>, Refusal> {
    let what = format!("listing the links of {ns}");
    Ok(Json(blocking(&what, move || server.links(&ns)).await?))
}

/// Give a namespace one interface more
#[utoipa::path(post, path = "/namespaces/{ns}/links", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = LinkSpec, responses(
    (status = CREATED, body = LinkView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_link(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(spec): Said<LinkSpec>,
) -> Result<Response, Refusal> {
    let what = format!("adding link {} to {ns}", spec.name);
    Ok(made(blocking(&what, move || server.add_link(&ns, spec)).await?))
}

/// Which link.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichLink {
    /// What it is called.
    name: String,
}

/// Change an interface; what is not said stays
#[utoipa::path(patch, path = "/namespaces/{ns}/links", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichLink,
), request_body = LinkPatch, responses(
    (status = OK, body = LinkView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn set_link(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichLink { name }): Asked<WhichLink>,
    Said(patch): Said<LinkPatch>,
) -> Result<Json<LinkView>, Refusal> {
    let what = format!("changing link {name} of {ns}");
    Ok(Json(blocking(&what, move || server.set_link(&ns, &name, patch)).await?))
}

/// Move an end of a pair to another namespace
///
/// It keeps its number, its MAC address and what else is set of it. Its addresses stay behind, and the
/// connections to them are reset.
#[utoipa::path(post, path = "/namespaces/{ns}/links/move", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichLink,
), request_body = LinkMove, responses(
    (status = OK, body = LinkView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn move_link(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichLink { name }): Asked<WhichLink>,
    Said(place): Said<LinkMove>,
) -> Result<Json<LinkView>, Refusal> {
    let what = format!("moving link {name} of {ns} to {}", place.to);
    Ok(Json(blocking(&what, move || server.move_link(&ns, &name, &place)).await?))
}

/// Which link goes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GoingLink {
    /// What it is called.
    name: String,
    /// Seconds to wait until nobody uses it; 0 if nothing is said.
    #[serde(default)]
    #[param(maximum = 86400)]
    wait: u32,
}

/// Give a namespace one interface less, with its addresses
///
/// When this is answered by 204, nothing of it is left. When something still uses it after the time to
/// wait, it is answered by 409; it carries nothing more, and goes when it can.
#[utoipa::path(delete, path = "/namespaces/{ns}/links", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    GoingLink,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_link(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(GoingLink { name, wait }): Asked<GoingLink>,
) -> Result<StatusCode, Refusal> {
    let wait = bounded(wait);
    let what = format!("removing link {name} of {ns}");
    let removal = move || server.del_link(&ns, &name, Deadline::after(wait));
    blocking_for(&what, wait, removal).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The addresses of a namespace's interfaces
#[utoipa::path(get, path = "/namespaces/{ns}/addresses", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), responses(
    (status = OK, body = [AddrView]),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn list_addresses(State(server): Of, OfNs(ns): OfNs) -> Result<Json<Vec<AddrView>>, Refusal> {
    let what = format!("listing the addresses of {ns}");
    Ok(Json(blocking(&what, move || server.addresses(&ns)).await?))
}

/// Give an interface one address more
#[utoipa::path(post, path = "/namespaces/{ns}/addresses", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = AddrSpec, responses(
    (status = CREATED, body = AddrSpec),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_address(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(addr): Said<AddrSpec>,
) -> Result<Response, Refusal> {
    let what = format!("adding address {addr} to {ns}");
    Ok(made(blocking(&what, move || server.add_address(&ns, addr)).await?))
}

/// Which address.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichAddress {
    /// The address, with the length of its network's prefix.
    #[param(example = "10.0.0.1/24")]
    cidr: String,
    /// Of which interface.
    dev: String,
}

/// Give an interface one address less, and reset the connections that end there
#[utoipa::path(delete, path = "/namespaces/{ns}/addresses", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichAddress,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_address(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichAddress { cidr, dev }): Asked<WhichAddress>,
) -> Result<StatusCode, Refusal> {
    let addr = AddrSpec { cidr, dev };
    let what = format!("removing address {addr} of {ns}");
    blocking(&what, move || server.del_address(&ns, addr)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The routes of a namespace
#[utoipa::path(get, path = "/namespaces/{ns}/routes", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), responses(
    (status = OK, body = [RouteView]),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn list_routes(State(server): Of, OfNs(ns): OfNs) -> Result<Json<Vec<RouteView>>, Refusal> {
    let what = format!("listing the routes of {ns}");
    Ok(Json(blocking(&what, move || server.routes(&ns)).await?))
}

/// Give a namespace one route more
#[utoipa::path(post, path = "/namespaces/{ns}/routes", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = RouteSpec, responses(
    (status = CREATED, body = RouteView),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn add_route(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(route): Said<RouteSpec>,
) -> Result<Response, Refusal> {
    let what = format!("adding the route to {route} to {ns}");
    Ok(made(blocking(&what, move || server.add_route(&ns, route)).await?))
}

/// Which route.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichRoute {
    /// To which network, or `default`.
    #[param(example = "default")]
    to: String,
    /// Who forwards.
    #[param(value_type = String, example = "10.0.0.254")]
    via: IpAddr,
}

/// Give a namespace one route less
#[utoipa::path(delete, path = "/namespaces/{ns}/routes", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichRoute,
), responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn remove_route(
    State(server): Of,
    OfNs(ns): OfNs,
    Asked(WhichRoute { to, via }): Asked<WhichRoute>,
) -> Result<StatusCode, Refusal> {
    let route = RouteSpec { to, via };
    let what = format!("removing the route to {route} of {ns}");
    blocking(&what, move || server.del_route(&ns, route)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Set the limits of a namespace: of connections from now on, of files and requests at once
///
/// What is not said is the server's default.
#[utoipa::path(put, path = "/namespaces/{ns}/limits", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
), request_body = LimitsSpec, responses(
    (status = NO_CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn set_limits(
    State(server): Of,
    OfNs(ns): OfNs,
    Said(limits): Said<LimitsSpec>,
) -> Result<StatusCode, Refusal> {
    let what = format!("setting the limits of {ns}");
    blocking(&what, move || server.set_limits(&ns, limits)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which interface is captured.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichCapture {
    /// What it is called.
    name: String,
    /// How many bytes of each frame are kept; all if nothing is said.
    #[serde(default = "whole")]
    #[param(default = 65535)]
    snap: u32,
}

fn whole() -> u32 {
    65_535
}

/// What passes by an interface from now on, both ways, in the format pcapng
///
/// It goes on until the interface or the server goes or the client ends. Who reads slowly loses frames,
/// and a statistics block says how many.
#[utoipa::path(get, path = "/namespaces/{ns}/links/capture", params(
    ("ns" = String, Path, description = "`NAME`, or `NAME@ID`"),
    WhichCapture,
), responses(
    (status = OK, body = Vec<u8>, content_type = capture::CONTENT),
    (status = "4XX", body = ErrorBody),
    (status = "5XX", body = ErrorBody),
))]
async fn capture_link(
    State(api): State<Api>,
    OfNs(ns): OfNs,
    Asked(WhichCapture { name, snap }): Asked<WhichCapture>,
) -> Result<Response, Refusal> {
    let what = format!("capturing {name} of {ns}");
    let Api { server, ended } = api;
    let begun = blocking(&what, move || server.capture(&ns, &name, snap)).await?;
    Ok(capture::stream(begun, ended))
}

/// Every event from now on, as it happens: a line of JSON for each
///
/// It goes on until the client or the server ends. Who reads slowly loses the oldest and gets an event
/// `missed` in their place, which says how many they were.
#[utoipa::path(get, path = "/events", responses(
    (status = OK, body = Event, content_type = events::CONTENT),
))]
async fn show_events(State(api): State<Api>) -> Response {
    events::stream(api.server.events(), api.ended)
}

/// What has happened in each live namespace, in numbers that only grow, and how much there is now
#[utoipa::path(get, path = "/statistics", responses(
    (status = OK, body = metrics::Statistics),
    (status = "5XX", body = ErrorBody),
))]
async fn show_statistics(State(server): Of) -> Result<Json<metrics::Statistics>, Refusal> {
    let read = move || Ok(metrics::Statistics::read(&server));
    Ok(Json(blocking("reading the counters", read).await?))
}

/// The same for Prometheus, in the OpenMetrics format
#[utoipa::path(get, path = "/metrics", responses(
    (status = OK, body = String, content_type = metrics::CONTENT),
    (status = "5XX", body = ErrorBody),
))]
async fn show_metrics(State(server): Of) -> Result<Response, Refusal> {
    let text = move || Ok(metrics::text(metrics::Statistics::read(&server)));
    let text = blocking("reading the counters", text).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT)], text).into_response())
}

/// This description
#[utoipa::path(get, path = "/openapi.json", responses(
    (status = OK, body = serde_json::Value),
))]
async fn describe() -> Json<OpenApi> {
    Json(description())
}

/// A time to wait.
fn bounded(seconds: u32) -> Duration {
    Duration::from_secs(seconds.min(WAIT_MOST).into())
}
