//! `holm -n NS listen …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, query, say, show_json};
use crate::model::{ListenSpec, ListenerView, NetnsRef};
use clap::{Args, Subcommand};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::str::FromStr;

/// Where a namespace listens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Listen at one more place
    Add {
        /// Where
        #[command(flatten)]
        place: Place,
        /// Do not answer MOUNT and the port mapper by UDP
        #[arg(long)]
        no_udp: bool,
    },
    /// Listen there no more, and close the connections that came by it
    Del(Place),
    /// Show where it listens
    List(Format),
}

/// A place to listen at.
#[derive(Debug, Args)]
pub struct Place {
    /// An address and a port; port 0 means any that is free
    #[arg(value_name = "ADDR:PORT")]
    addr: SocketAddr,
    /// In which kernel network namespace: a path such as /run/netns/blue, or a process id
    #[arg(long, value_name = "PATH|PID")]
    netns: Option<Netns>,
}

/// A kernel network namespace, as it is written on the command line.
#[derive(Debug, Clone)]
struct Netns(NetnsRef);

impl FromStr for Netns {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let pid = text.parse().map(NetnsRef::Pid);
        Ok(Self(pid.unwrap_or_else(|_| NetnsRef::Path(text.into()))))
    }
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let listeners = format!("{uri}/listeners");
    match command {
        Command::Add { place, no_udp } => {
            let netns = place.netns.clone().map(|netns| netns.0);
            let spec = ListenSpec { addr: place.addr, netns, udp: !no_udp };
            let listener: ListenerView = client.post(&listeners, &spec).await?;
            say(format_args!("listening at {}{}", listener.local, within(place)))
        }
        Command::Del(place) => {
            let mut which = vec![("addr", place.addr.to_string())];
            which.extend(place.netns.iter().map(|netns| ("netns", netns_text(&netns.0))));
            let () = client.delete(&format!("{listeners}?{}", query(&which))).await?;
            say(format_args!("listening at {}{} no more", place.addr, within(place)))
        }
        Command::List(format) => {
            let all: Vec<ListenerView> = client.get(&listeners).await?;
            if format.json { show_json(&all) } else { Ok(list(&all)?) }
        }
    }
}

/// How a kernel network namespace is shown.
pub fn netns_text(netns: &NetnsRef) -> String {
    match netns {
        NetnsRef::Pid(pid) => pid.to_string(),
        NetnsRef::Path(path) => path.clone(),
    }
}

fn within(place: &Place) -> String {
    let netns = place.netns.as_ref();
    netns.map_or(String::new(), |netns| format!(" in {}", netns_text(&netns.0)))
}

fn list(all: &[ListenerView]) -> std::io::Result<()> {
    let mut columns = Columns::new(["ADDRESS", "NETNS", "UDP", ">CONNECTIONS"]);
    for listener in all {
        columns.row([
            listener.local.to_string(),
            listener.spec.netns.as_ref().map(netns_text).unwrap_or_default(),
            if listener.spec.udp { "yes" } else { "no" }.into(),
            listener.connections.to_string(),
        ]);
    }
    columns.show()
}
