//! `holm monitor`: every event, as it happens.

use super::client::Client;
use super::listeners::netns_text;
use super::outcome::Failure;
use super::{Format, say};
use crate::model::{Event, Happened, NetnsRef};
use crate::output::complain;
use std::fmt;
use std::net::SocketAddr;

/// Shows events until the server ends or nobody reads.
pub async fn carry_out(client: &Client, format: Format) -> Result<(), Failure> {
    let mut lines = client.lines("/events").await?;
    while let Some(line) = lines.next().await? {
        let line = String::from_utf8_lossy(&line);
        match serde_json::from_str::<Event>(&line) {
            Ok(event) if !format.json => say(Line(&event))?,
            // A newer server may know events that we don't.
            _ => say(line)?,
        }
    }
    complain("holm: the server has ended");
    Ok(())
}

/// An event as a line for people.
struct Line<'a>(&'a Event);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { time, ns, what } = self.0;
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(*time);
        write!(f, "{}  ", humantime::format_rfc3339_millis(at))?;
        if let Some(ns) = ns {
            write!(f, "{ns}: ")?;
        }
        match what {
            Happened::Created => f.write_str("created"),
            Happened::Draining => f.write_str("draining"),
            Happened::Gone => f.write_str("gone"),
            Happened::ExportAdded { path } => write!(f, "exports {path}"),
            Happened::ExportRemoved { path } => write!(f, "exports {path} no more"),
            Happened::ListenerAdded { addr, netns } => {
                write!(f, "listens at {}", Place(addr, netns.as_ref()))
            }
            Happened::ListenerRemoved { addr, netns, why } => {
                write!(f, "listens at {} no more", Place(addr, netns.as_ref()))?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Happened::ListenerChanged { addr, netns, udp } => {
                let how = if *udp { "by UDP as well" } else { "by UDP no more" };
                write!(f, "answers at {} {how}", Place(addr, netns.as_ref()))
            }
            Happened::LinkAdded { name, kind } => write!(f, "link {name} added ({kind})"),
            Happened::LinkRemoved { name, why } => {
                write!(f, "link {name} removed")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Happened::LinkChanged { name, change } => write!(f, "link {name}: {change}"),
            Happened::RouteAdded { route } => {
                write!(f, "route to {} via {} added", route.to, route.via)
            }
            Happened::RouteRemoved { route } => {
                write!(f, "route to {} via {} removed", route.to, route.via)
            }
            Happened::LimitsChanged => f.write_str("has other limits"),
            Happened::LocalChanged { users } if users.is_empty() => {
                f.write_str("nobody may open files past the network any more")
            }
            Happened::LocalChanged { users } => {
                let users: Vec<String> = users.iter().map(ToString::to_string).collect();
                write!(f, "files may be opened past the network by users {}", users.join(", "))
            }
            Happened::LocalClientCame { pid, uid } => {
                write!(f, "local client came: {}", Program(*pid, *uid))
            }
            Happened::LocalClientWent { pid, uid, files } => {
                write!(f, "local client went: {}", Program(*pid, *uid))?;
                if *files == 0 { Ok(()) } else { write!(f, ", with {files} files") }
            }
            Happened::LocalClientCutOff { pid, uid, files } => {
                let why = "files that it did not give back in time and may still use";
                write!(f, "local client cut off: {}, with {files} {why}", Program(*pid, *uid))
            }
            Happened::Stuck { why } => write!(f, "stuck: {why}"),
            Happened::Failed { why } => write!(f, "failed: {why}"),
            Happened::ConfigApplied { changes } if changes.is_empty() => {
                f.write_str("configuration read: nothing has changed")
            }
            Happened::ConfigApplied { changes } => {
                write!(f, "configuration applied: {}", changes.join("; "))
            }
            Happened::ConfigRefused { errors } => {
                write!(f, "configuration refused: {}", errors.join("; "))
            }
            Happened::Missed { count } => {
                write!(f, "{count} events are missing here: they came faster than they were read")
            }
        }
    }
}

/// A program, and its user.
struct Program(Option<i32>, u32);

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid} of user {}", self.1),
            None => write!(f, "a process of user {}", self.1),
        }
    }
}

/// Where a listener is.
struct Place<'a>(&'a SocketAddr, Option<&'a NetnsRef>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.1.map_or(Ok(()), |netns| write!(f, " in {}", netns_text(netns)))
    }
}
