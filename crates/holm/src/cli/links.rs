//! `holm -n NS link …`

mod capture;
pub mod show;
mod words;

use super::client::Client;
use super::outcome::Failure;
use super::{Format, NsSpec, query, say, show_json, usage};
use crate::model::{ErrorBody, ErrorCode, LinkMove, LinkPatch, LinkSpec, LinkView};
use crate::spelling::nearest;
use clap::Subcommand;

/// The interfaces of a namespace.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an interface: [NAME] type KIND [KEY VALUE]…
    #[command(
        override_usage = "holm -n NS link add [NAME] type KIND [KEY VALUE]…",
        after_help = ADD_HELP
    )]
    Add {
        /// What it is called: 1 to 15 of a-z, A-Z, 0-9, '.', '_' and '-'; otherwise its kind with the next
        /// number that is free, as lagg0
        name: String,
        /// `type` and a kind, and what else is said of it
        #[arg(required = true, value_name = "type KIND", num_args = 1..)]
        words: Vec<String>,
    },
    /// Destroy an interface, and the other end of a pair with it
    Del {
        /// What it is called
        name: String,
        /// For how long to wait until nobody uses it
        #[arg(long, value_name = "SECS", default_value_t = 30)]
        wait: u32,
    },
    /// Change an interface: NAME [up|down] [mtu BYTES] [mac MAC] [speed MBIT/S] [full-duplex|half-duplex]
    /// [master LAGG|nomaster] [name NEW]
    #[command(
        override_usage = "holm -n NS link set NAME [up|down] [KEY VALUE]…",
        after_help = SET_HELP
    )]
    Set {
        /// What it is called
        name: String,
        /// What shall be different
        #[arg(required = true, value_name = "WORD", num_args = 1..)]
        words: Vec<String>,
    },
    /// Move an end of a pair to another namespace; its addresses stay behind
    Move {
        /// What it is called
        name: String,
        /// The namespace that it is to be in
        #[arg(long, value_name = "NS")]
        to: NsSpec,
        /// What it is to be called there, if not as it is
        #[arg(long = "name", value_name = "NEW")]
        new: Option<String>,
    },
    /// Show all interfaces, or all of one
    Show {
        /// What it is called
        name: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Write down what passes by an interface, for Wireshark or tcpdump, until Ctrl-C
    Capture {
        /// What it is called
        name: String,
        /// The file, in the format pcapng; `-`: stdout
        file: std::path::PathBuf,
        /// How much of each frame, in bytes
        #[arg(long, value_name = "BYTES", default_value_t = 65_535)]
        snap: u32,
    },
}

const ADD_HELP: &str = "\
Kinds and what can be said of them (… stands for what can be said of all):
  stream  path SOCKET [connect|listen] …              QEMU -netdev stream
  dgram   path SOCKET [peer-path SOCKET] …            QEMU -netdev dgram, vfkit
  tap     [interface NAME] [netns PATH|PID] …         an interface of the kernel, made here
  packet  interface NAME [netns PATH|PID] …           one that is there, as the tap of a VM
  pair    peer NAME [peer-ns NS] …                    both ends of a cable
  lagg    proto none|failover|loadbalance|roundrobin|broadcast|lacp ports A,B,…
          [hash l2,l3,l4] [active|passive] [fast|slow] [strict|loose] [system-priority N] …
  all     [addr CIDR,…] [up|down] [mtu BYTES] [mac MAC]
  all but lagg  [speed MBIT/S] [full-duplex|half-duplex]

  holm -n blue link add p0 type stream path /run/vm7/net0.sock addr 10.0.0.1/24
  holm -n blue link add lagg0 type lagg proto lacp ports p0,p1 addr 10.0.0.1/24";

const SET_HELP: &str = "\
Of a lagg also: proto PROTO, hash LAYERS, active|passive, fast|slow, strict|loose, system-priority N.

  holm -n blue link set p0 mtu 9000 up
  holm -n blue link set p0 speed 1000 half-duplex
  holm -n blue link set p1 master lagg0";

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let links = format!("{uri}/links");
    match command {
        Command::Add { name, words } => {
            let spec: LinkSpec = words::new_link(name, words).map_err(|why| usage(&why))?;
            let link: LinkView = client.post(&links, &spec).await?;
            say(format_args!("{}: made; {}", link.name, show::state(&link)))
        }
        Command::Del { name, wait } => {
            let which = query(&[("name", name.as_str()), ("wait", &wait.to_string())]);
            let () = client.delete(&format!("{links}?{which}")).await?;
            say(format_args!("{name}: gone"))
        }
        Command::Set { name, words } => {
            let patch: LinkPatch = words::change(words).map_err(|why| usage(&why))?;
            let link: LinkView =
                client.patch(&format!("{links}?{}", query(&[("name", name)])), &patch).await?;
            say(format_args!("{}: changed; {}", link.name, show::state(&link)))
        }
        Command::Move { name, to, new } => {
            let place = LinkMove { to: to.to_string(), name: new.clone() };
            let which = query(&[("name", name)]);
            let link: LinkView = client.post(&format!("{links}/move?{which}"), &place).await?;
            say(format_args!("{name}: moved to {to} as {}; {}", link.name, show::state(&link)))
        }
        Command::Show { name: None, format } => {
            let all: Vec<LinkView> = client.get(&links).await?;
            if format.json { show_json(&all) } else { Ok(show::list(&all)?) }
        }
        Command::Show { name: Some(name), format } => {
            let link = of_name(client.get(&links).await?, uri, name)?;
            if format.json { show_json(&link) } else { Ok(show::show(&link)?) }
        }
        Command::Capture { name, file, snap } => {
            capture::carry_out(client, &links, name, file, *snap).await
        }
    }
}

/// The interface of that name.
fn of_name(mut all: Vec<LinkView>, uri: &str, name: &str) -> Result<LinkView, Failure> {
    if let Some(place) = all.iter().position(|link| link.name == name) {
        return Ok(all.swap_remove(place));
    }
    let ns = uri.rsplit('/').next().unwrap_or_default();
    let hint = match nearest(name, all.iter().map(|link| link.name.as_str())) {
        Some(near) => format!(": did you mean {near}?"),
        None => String::new(),
    };
    let message = format!("namespace {ns} has no link {name}{hint}");
    Err(Failure::Refused(ErrorBody { code: ErrorCode::NotFound, message, held: None }))
}
