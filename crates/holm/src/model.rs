//! The nouns of holm, as they are written in configuration, asked for over the admin API, and shown
//! by the command line.
//!
//! What somebody asks for is a *spec*: [`NamespaceSpec`] with its [`ExportSpec`]s, [`ListenSpec`]s,
//! [`LimitsSpec`], [`LocalSpec`], and of its own network [`LinkSpec`]s, [`AddrSpec`]s and [`RouteSpec`]s. What there is is a *view*: [`NamespaceView`] and what is in it. What happens is an
//! [`Event`]; what went wrong an [`ErrorBody`].
//!
//! Points in time are milliseconds since 1970 (UTC), sizes are bytes, durations seconds.

mod links;
mod local;

pub use links::*;
pub use local::*;

use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use utoipa::ToSchema;

/// A namespace to be: one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamespaceSpec {
    /// Its name: 1 to 63 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What it exports. The paths differ.
    #[serde(default)]
    pub export: Vec<ExportSpec>,
    /// Where it listens.
    #[serde(default)]
    pub listen: Vec<ListenSpec>,
    /// Its interfaces. The names differ.
    #[serde(default)]
    pub link: Vec<LinkSpec>,
    /// Addresses of its interfaces beside those that are said with them.
    #[serde(default)]
    pub addr: Vec<AddrSpec>,
    /// Where its own network leads beyond the networks of its addresses.
    #[serde(default)]
    pub route: Vec<RouteSpec>,
    /// What its clients may take together.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// Whose programs on this machine may open files past the network.
    #[serde(default)]
    pub local: LocalSpec,
}

/// An export to be: a directory that clients see. What is not said is the safest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExportSpec {
    /// What clients call it: `/`, or `/` and names with `/` between them.
    pub path: String,
    /// The directory that it shows; absolute.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub dir: PathBuf,
    /// Nothing may be changed.
    #[serde(default)]
    pub read_only: bool,
    /// Which callers become the anonymous user.
    #[serde(default)]
    pub squash: Squash,
    /// The user that squashed callers become.
    #[serde(default = "nobody")]
    pub anon_uid: u32,
    /// The group that squashed callers become.
    #[serde(default = "nobody")]
    pub anon_gid: u32,
    /// Which clients it is for: addresses, networks as `10.0.0.0/8`, or `links` for whoever comes by an
    /// interface of the namespace's own. By default this machine, and `links`.
    #[serde(default = "loopback")]
    pub clients: Vec<String>,
    /// Only for calls from ports below 1024.
    #[serde(default)]
    pub privileged_port: bool,
    /// File systems that are mounted below the directory belong to it.
    #[serde(default)]
    pub cross_mounts: bool,
    /// Most bytes of a READ: a multiple of 4096 up to 1048576.
    #[serde(default = "transfer_max")]
    pub max_read: u32,
    /// Most bytes of a WRITE: a multiple of 4096 up to 1048576.
    #[serde(default = "transfer_max")]
    pub max_write: u32,
    /// Answer changes of directories and attributes before they are on the disk. It is faster, and a
    /// crash of the machine or a power failure loses changes that clients saw succeed.
    #[serde(default)]
    pub lose_changes_on_power_failure: bool,
}

impl ExportSpec {
    /// A directory under a path, everything else as if nothing had been said.
    pub fn new(path: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            dir: dir.into(),
            read_only: false,
            squash: Squash::default(),
            anon_uid: nobody(),
            anon_gid: nobody(),
            clients: loopback(),
            privileged_port: false,
            cross_mounts: false,
            max_read: transfer_max(),
            max_write: transfer_max(),
            lose_changes_on_power_failure: false,
        }
    }
}

/// Which callers become the anonymous user of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Squash {
    /// User 0 and group 0.
    #[default]
    Root,
    /// Everybody.
    All,
    /// Nobody: clients are taken at their word.
    None,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ListenSpec {
    /// An address and a port; port 0 means any that is free.
    #[schema(value_type = String, examples("127.0.0.1:2049"))]
    pub addr: SocketAddr,
    /// In which kernel network namespace; by default the one that the server runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsRef>,
    /// Answer MOUNT and the port mapper by UDP as well, because clients probe it.
    #[serde(default = "yes")]
    pub udp: bool,
}

impl ListenSpec {
    /// At an address of the network namespace that the server runs in.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, netns: None, udp: true }
    }
}

/// A kernel network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum NetnsRef {
    /// That of a process.
    Pid(u32),
    /// One that is bound to a path, such as `/run/netns/blue`.
    Path(String),
}

/// What the clients of a namespace may take together. What is not said is the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Connections at a time; one more is closed as soon as it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Bytes of one call, with what it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_size: Option<u32>,
    /// Bytes of replies that a client does not take, from which on nothing more is received from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_replies: Option<u32>,
    /// Seconds without a whole call after which a connection is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_time: Option<u32>,
    /// Connections whose calls are served at a time, each by a thread; the others wait. What is not
    /// said is not limited beyond the number of threads there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_in_flight: Option<u32>,
    /// Files and directories that are kept open between calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// Files that programs on this machine may have open at a time, all together, past the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_files: Option<u32>,
    /// Addresses of one interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<u32>,
    /// Routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<u32>,
    /// Stations of the network of one interface of which it is remembered where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbors: Option<u32>,
    /// Connections of one interface, those included that are being made or that the peer has not let go
    /// of yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_connections: Option<u32>,
    /// Connections of one interface that are being made; the oldest makes room for one more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_half_open: Option<u32>,
    /// Bytes that the buffers of an interface's connections share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_memory: Option<u32>,
    /// Bytes of the largest buffer that one connection of an interface sends from; one to receive into has a
    /// quarter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_buffer: Option<u32>,
    /// Seconds for which the peer of an interface's connection may owe an answer, as one does that was
    /// switched off or paused; then the connection is reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_silence: Option<u32>,
}

/// A namespace, as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NamespaceView {
    /// Its name.
    pub name: String,
    /// Its number, which no other namespace of this server has or had. `NAME@ID` names it even when
    /// it is draining and its name is somebody else's.
    pub id: u64,
    /// Where it is in its life.
    pub state: NamespaceState,
    /// What is going on in it, and what it waits for when it is draining.
    pub held: HeldView,
    /// What it exports.
    pub exports: Vec<ExportView>,
    /// Where it listens.
    pub listeners: Vec<ListenerView>,
    /// Its interfaces, in the order of their names.
    pub links: Vec<LinkView>,
    /// Addresses that were asked for beside those that were said with their interfaces.
    pub addr: Vec<AddrSpec>,
    /// Its routes.
    pub routes: Vec<RouteView>,
    /// What its clients may take together.
    pub limits: LimitsSpec,
    /// Whose programs on this machine may open files past the network, and who has.
    pub local: LocalView,
    /// What has happened in it; not of one that is draining.
    pub counters: Option<CountersView>,
}

/// Where a namespace is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceState {
    /// It is served.
    Live,
    /// It is on its way out, and something of it is still held.
    Draining,
}

/// What is held of a namespace or of an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HeldView {
    /// How many hold it.
    pub count: usize,
    /// Those of them that are known by name, the oldest first.
    pub holders: Vec<HolderView>,
    /// The part of the server that is closing what was in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exiting: Option<String>,
}

/// Something that is going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HolderView {
    /// Which operation, in the words of its RFC; none if it is no client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The path of the export that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// The object that it is on: its path within the export's directory where that is known, else
    /// its handle in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The client that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// For how long, in seconds.
    pub age: f64,
    /// The line of code that holds on.
    pub at: String,
    /// The thread that came there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
}

/// An export, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ExportView {
    /// As it was asked for.
    #[serde(flatten)]
    pub spec: ExportSpec,
    /// How its objects are found by their handles.
    pub handles: HandleKind,
    /// Why not by the file system's own handles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_paths: Option<String>,
}

/// How objects are found by their handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HandleKind {
    /// By the file system's own handles.
    Kernel,
    /// By paths that the server remembers.
    Paths,
}

/// A listener, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ListenerView {
    /// As it was asked for.
    #[serde(flatten)]
    pub spec: ListenSpec,
    /// Where it listens in fact: with the port that was free, if any was asked for.
    #[schema(value_type = String)]
    pub local: SocketAddr,
    /// Connections that came by it.
    pub connections: usize,
}

/// What has happened in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct CountersView {
    /// Connections there are.
    pub connections: usize,
    /// Connections that were accepted and served.
    pub accepted: u64,
    /// Connections that were closed at once, because there were too many.
    pub refused: u64,
    /// Connections that were closed at once, because nothing is exported to who came.
    pub strangers: u64,
    /// Connections that were closed because what came on them was not RPC.
    pub broken: u64,
    /// Connections that were closed because no call came, or not the rest of one while memory was used up.
    pub idle: u64,
    /// Calls that were served.
    pub calls: u64,
    /// Bytes that were received.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Mounts that clients have told of, and not taken back.
    pub mounted: usize,
    /// Pieces of work that wait for a thread.
    pub queued: usize,
    /// Those of them that wait because of the limit `requests-in-flight`.
    pub held_back: usize,
    /// Calls that took longer than they should.
    pub stuck_calls: u64,
    /// Its calls take long just now, so that it is served by threads of its own.
    pub slow: bool,
    /// Errors of the server itself that ended a piece of work.
    pub panics: u64,
    /// Programs that came by the door for programs on this machine.
    #[serde(default)]
    pub local_clients: u64,
    /// Programs that were sent away there.
    #[serde(default)]
    pub local_refused: u64,
    /// Files that they were given.
    #[serde(default)]
    pub local_opened: u64,
    /// Programs that were cut off because they did not give back files in time.
    #[serde(default)]
    pub local_cut_off: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// In which namespace, as `NAME@ID`; none if it is about the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ns: Option<String>,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Happened {
    /// A namespace is served.
    Created,
    /// A namespace is not served any more, and its name is free.
    Draining,
    /// Nothing is left of a namespace.
    Gone,
    /// A namespace exports one directory more.
    ExportAdded {
        /// The export's path.
        path: String,
    },
    /// A namespace exports one directory less.
    ExportRemoved {
        /// The export's path.
        path: String,
    },
    /// A namespace listens at one more place.
    ListenerAdded {
        /// Where.
        #[schema(value_type = String)]
        addr: SocketAddr,
        /// In which kernel network namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<NetnsRef>,
    },
    /// A namespace listens at one place less.
    ListenerRemoved {
        /// Where.
        #[schema(value_type = String)]
        addr: SocketAddr,
        /// In which kernel network namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<NetnsRef>,
        /// Why, if nobody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A namespace listens at a place with other options; its connections stay.
    ListenerChanged {
        /// Where.
        #[schema(value_type = String)]
        addr: SocketAddr,
        /// In which kernel network namespace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<NetnsRef>,
        /// Whether MOUNT and the port mapper are answered by UDP as well.
        udp: bool,
    },
    /// A namespace has one interface more.
    LinkAdded {
        /// Its name.
        name: String,
        /// Its kind.
        #[serde(rename = "type")]
        kind: LinkKind,
    },
    /// A namespace has one interface less.
    LinkRemoved {
        /// Its name.
        name: String,
        /// Why, if nobody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Something happened to an interface.
    LinkChanged {
        /// Its name.
        name: String,
        /// What, in words, as `link up`, `mtu 9000` or `joined lagg0`.
        change: String,
    },
    /// A namespace has one route more.
    RouteAdded {
        /// Where it leads, and by whom.
        #[serde(flatten)]
        route: RouteSpec,
    },
    /// A namespace has one route less.
    RouteRemoved {
        /// Where it led, and by whom.
        #[serde(flatten)]
        route: RouteSpec,
    },
    /// The limits of a namespace are others.
    LimitsChanged,
    /// Other programs on this machine may open files of a namespace past the network, or at another place.
    LocalChanged {
        /// Whose programs.
        users: BTreeSet<u32>,
    },
    /// A program on this machine has proved to be here, and may open files past the network.
    LocalClientCame {
        /// The number of its process, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// Its user.
        uid: u32,
    },
    /// Such a program has gone.
    LocalClientWent {
        /// The number of its process, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// Its user.
        uid: u32,
        /// Files that it has not given back. If its process lives on, it may still use them.
        files: usize,
    },
    /// Such a program did not give back its files in time and was cut off. It may still have what it was
    /// given.
    LocalClientCutOff {
        /// The number of its process, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// Its user.
        uid: u32,
        /// How many files it had.
        files: usize,
    },
    /// A call takes longer than it should.
    Stuck {
        /// What the server knows of it.
        why: String,
    },
    /// A part of the server failed.
    Failed {
        /// Which, and what it said.
        why: String,
    },
    /// The configuration was read again and applied.
    ConfigApplied {
        /// What has changed, in words.
        changes: Vec<String>,
    },
    /// The configuration was read again and refused whole.
    ConfigRefused {
        /// All that is wrong with it.
        errors: Vec<String>,
    },
    /// Events that are missing here because the listener was slow.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorBody {
    /// Which kind of reason it is.
    pub code: ErrorCode,
    /// What was tried, on what, and why it failed.
    pub message: String,
    /// What is still held, for `still-held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldView>,
}

/// Kinds of reasons why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// What was asked for cannot be.
    Invalid,
    /// It is about something that is not there.
    NotFound,
    /// There is something of that name, path or address already.
    Exists,
    /// What was to go is going, and has not gone in time.
    StillHeld,
    /// The system did not allow it.
    Failed,
    /// Whoever asks may not.
    Forbidden,
    /// It can't be done to this.
    Method,
    /// It is longer than it may be.
    TooLarge,
    /// Too much is going on already.
    Busy,
    /// It is not done yet, and goes on.
    Late,
}

/// User and group of squashed callers if nothing is said.
const fn nobody() -> u32 {
    65534
}

/// Clients of an export if nothing is said.
fn loopback() -> Vec<String> {
    ["127.0.0.0/8", "::1", OWN_LINKS].map(String::from).into()
}

/// Among the clients of an export: whoever comes by an interface of the namespace's own.
pub const OWN_LINKS: &str = "links";

/// Most bytes of a READ or a WRITE if nothing is said.
const fn transfer_max() -> u32 {
    1 << 20
}

const fn yes() -> bool {
    true
}

/// A path as JSON can say it: bytes that are no text are replaced.
pub(crate) fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
