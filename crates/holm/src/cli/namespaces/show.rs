//! `holm ns show`: all that is known of a namespace.

use super::super::{links, local};
use crate::model::{
    CountersView, ExportView, HeldView, HolderView, LimitsSpec, LinkKind, LinkView, ListenerView,
    NamespaceState, NamespaceView, RouteView,
};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Shows a namespace.
pub fn show(ns: &NamespaceView) -> io::Result<()> {
    io::stdout().lock().write_all(text(ns).as_bytes())
}

/// A namespace as text: a line for everything in it.
pub fn text(ns: &NamespaceView) -> String {
    let state = match ns.state {
        NamespaceState::Live => "live",
        NamespaceState::Draining => "draining",
    };
    let mut text = format!("{}@{}: {state}\n", ns.name, ns.id);
    for export in &ns.exports {
        line(&mut text, "export", &export_text(export));
    }
    for listener in &ns.listeners {
        line(&mut text, "listen", &listener_text(listener));
    }
    // Every namespace has lo.
    for link in ns.links.iter().filter(|link| link.kind != LinkKind::Lo) {
        line(&mut text, "link", &link_text(link));
    }
    for RouteView { spec, dev } in &ns.routes {
        let by = dev.as_ref().map_or("nothing now".into(), |dev| format!("by {dev}"));
        line(&mut text, "route", &format!("{} via {}, {by}", spec.to, spec.via));
    }
    if let Some(limits) = limits_text(&ns.limits) {
        line(&mut text, "limits", &limits);
    }
    if ns.local.spec.is_on() || !ns.local.clients.is_empty() {
        line(&mut text, "local", &local::who(&ns.local));
        if let Some(lacks) = &ns.local.lacks {
            line(&mut text, "", lacks);
        }
        for client in &ns.local.clients {
            line(&mut text, "", &local::client_text(client));
        }
    }
    if let Some(counters) = &ns.counters {
        counters_lines(&mut text, counters);
    }
    held_lines(&mut text, &ns.held);
    text
}

/// What somebody does in a namespace.
pub fn holder(holder: &HolderView) -> String {
    let mut text = holder.operation.clone().unwrap_or_else(|| "work of the server".into());
    if let Some(object) = &holder.object {
        let _ = write!(text, " on {object}");
    }
    if let Some(export) = &holder.export {
        let _ = write!(text, " of export {export}");
    }
    if let Some(client) = &holder.client {
        let _ = write!(text, " for {client}");
    }
    let _ = write!(text, " since {:.1} s, at {}", holder.age, holder.at);
    if let Some(thread) = &holder.thread {
        let _ = write!(text, " (thread {thread})");
    }
    text
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "  {what:<8} {value}");
}

fn export_text(ExportView { spec, why_paths, .. }: &ExportView) -> String {
    let access = if spec.read_only { "ro" } else { "rw" };
    let clients = spec.clients.join(",");
    let mut text = format!("{} from {} {access} for {clients}", spec.path, spec.dir.display());
    for (option, on) in [
        ("privileged-port", spec.privileged_port),
        ("cross-mounts", spec.cross_mounts),
        ("lose-changes-on-power-failure", spec.lose_changes_on_power_failure),
    ] {
        if on {
            let _ = write!(text, " {option}");
        }
    }
    if let Some(why) = why_paths {
        let _ = write!(text, " (file handles are remembered paths: {why})");
    }
    text
}

fn listener_text(listener: &ListenerView) -> String {
    let mut text = format!("{}, {} connections", listener.local, listener.connections);
    if let Some(netns) = &listener.spec.netns {
        let _ =
            write!(text, ", in network namespace {}", super::super::listeners::netns_text(netns));
    }
    text
}

fn link_text(link: &LinkView) -> String {
    let mut text = format!("{}, {} {}", link.name, link.kind, links::show::state(link));
    if let Some(master) = &link.master {
        let _ = write!(text, ", port of {master}");
    }
    for address in &link.addresses {
        let _ = write!(text, ", {address}");
    }
    text
}

fn limits_text(limits: &LimitsSpec) -> Option<String> {
    let LimitsSpec {
        connections,
        record_size,
        unsent_replies,
        idle_time,
        requests_in_flight,
        open_files,
        local_files,
        addresses,
        routes,
        neighbors,
        link_connections,
        link_half_open,
        link_memory,
        link_buffer,
        link_silence,
    } = *limits;
    let all = [
        ("connections", connections),
        ("record-size", record_size),
        ("unsent-replies", unsent_replies),
        ("idle-time", idle_time),
        ("requests-in-flight", requests_in_flight),
        ("open-files", open_files),
        ("local-files", local_files),
        ("addresses", addresses),
        ("routes", routes),
        ("neighbors", neighbors),
        ("link-connections", link_connections),
        ("link-half-open", link_half_open),
        ("link-memory", link_memory),
        ("link-buffer", link_buffer),
        ("link-silence", link_silence),
    ];
    let said = all.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn counters_lines(text: &mut String, counters: &CountersView) {
    let CountersView { connections, accepted, refused, strangers, broken, idle, .. } = counters;
    let came = format!(
        "{connections} connections; {accepted} came, {refused} were too many, {strangers} were strangers, \
         {broken} were not RPC, {idle} were idle"
    );
    line(text, "clients", &came);
    let CountersView { calls, received, sent, mounted, .. } = counters;
    let served =
        format!("{calls} calls, {received} bytes received, {sent} sent; {mounted} mounted");
    line(text, "served", &served);
    let CountersView { queued, held_back, stuck_calls, slow, panics, .. } = counters;
    let slow = if *slow { "; its calls take long just now" } else { "" };
    let held_back = match held_back {
        0 => String::new(),
        count => format!(", {count} of them for requests-in-flight"),
    };
    let waits =
        format!("{queued} wait for a thread{held_back}; {stuck_calls} calls were stuck{slow}");
    line(text, "work", &waits);
    let CountersView { local_clients, local_refused, local_opened, local_cut_off, .. } = counters;
    if local_clients + local_refused > 0 {
        let door = format!(
            "{local_clients} local programs came, {local_refused} were sent away; {local_opened} files \
             handed out; {local_cut_off} were cut off"
        );
        line(text, "door", &door);
    }
    if *panics > 0 {
        line(text, "panics", &panics.to_string());
    }
}

fn held_lines(text: &mut String, held: &HeldView) {
    if let Some(exiting) = &held.exiting {
        line(text, "closing", exiting);
    }
    if held.count > 0 {
        line(text, "in use", &format!("{} times", held.count));
    }
    for oldest_first in &held.holders {
        line(text, "", &holder(oldest_first));
    }
}
