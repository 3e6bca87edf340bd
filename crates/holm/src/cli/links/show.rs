//! `holm link show`: how interfaces are.

use super::super::columns::Columns;
use super::super::listeners::netns_text;
use crate::model::{
    DirectionCounters, LacpEndView, LacpPortView, LaggPortView, LaggProto, LaggView, LinkKind,
    LinkSpec, LinkView, MediaView,
};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Shows interfaces, a row each.
pub fn list(all: &[LinkView]) -> io::Result<()> {
    let mut columns = Columns::new([
        "NAME",
        "TYPE",
        "STATE",
        ">MTU",
        "MAC",
        "ADDRESSES",
        "LAGG",
        ">RECEIVED",
        ">SENT",
        ">DROPPED",
    ]);
    for link in all {
        let counters = &link.counters;
        let dropped = dropped(&counters.received) + dropped(&counters.sent);
        columns.row([
            link.name.clone(),
            link.kind.to_string(),
            state(link).into(),
            link.mtu.to_string(),
            link.mac.clone(),
            link.addresses.join(","),
            lagg_cell(link),
            counters.received.frames.to_string(),
            counters.sent.frames.to_string(),
            dropped.to_string(),
        ]);
    }
    columns.show()
}

/// Shows all that is known of an interface.
pub fn show(link: &LinkView) -> io::Result<()> {
    io::stdout().lock().write_all(text(link).as_bytes())
}

/// One word for whether frames can go by it.
pub fn state(link: &LinkView) -> &'static str {
    let has = |flag: &str| link.flags.iter().any(|other| other == flag);
    match (has("up"), has("running")) {
        _ if has("dying") => "going",
        (true, true) => "up",
        (true, false) => "no-link",
        (false, _) => "down",
    }
}

/// All that is known of an interface, as text.
fn text(link: &LinkView) -> String {
    let mut text = format!("{}: {}, {}\n", link.name, link.kind, state(link));
    let flags = if link.flags.is_empty() { "none".into() } else { link.flags.join(",") };
    line(&mut text, "flags", &format!("{flags}; mtu {}; mac {}", link.mtu, link.mac));
    line(&mut text, "media", &media(link.media));
    let peer = link.peer.as_ref().map(|peer| format!("{} in {}", peer.name, peer.ns));
    if let Some(leads) = peer.or_else(|| link.spec.as_ref().and_then(leads_to)) {
        line(&mut text, "to", &leads);
    }
    for address in &link.addresses {
        line(&mut text, "address", address);
    }
    if let Some(address) = &link.link_local {
        line(&mut text, "address", &format!("{address} (automatic)"));
    }
    if let Some(master) = &link.master {
        line(&mut text, "port of", master);
    }
    if let Some(lagg) = &link.lagg {
        lagg_lines(&mut text, lagg);
    }
    line(&mut text, "received", &direction(&link.counters.received));
    line(&mut text, "sent", &direction(&link.counters.sent));
    text
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "  {what:<8} {value}");
}

/// What is at the other end, if that is no interface of ours.
fn leads_to(spec: &LinkSpec) -> Option<String> {
    let path =
        |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let mut text = match spec.kind {
        LinkKind::Lo | LinkKind::Lagg | LinkKind::Pair => return None,
        LinkKind::Stream if spec.connect => format!("who listens at {}", path(&spec.path)?),
        LinkKind::Stream => format!("who connects to {}", path(&spec.path)?),
        LinkKind::Dgram => match path(&spec.peer_path) {
            Some(peer) => format!("{peer}, by {}", path(&spec.path)?),
            None => format!("who sends to {} first", path(&spec.path)?),
        },
        LinkKind::Tap | LinkKind::Packet => {
            format!("{} of the kernel", spec.interface.as_ref().unwrap_or(&spec.name))
        }
    };
    if let Some(netns) = &spec.netns {
        let _ = write!(text, " in {}", netns_text(netns));
    }
    Some(text)
}

fn media(media: MediaView) -> String {
    let duplex = if media.full_duplex { "full" } else { "half" };
    match media.speed {
        0 => format!("unknown speed, {duplex} duplex"),
        speed => format!("{speed} Mbit/s, {duplex} duplex"),
    }
}

fn lagg_cell(link: &LinkView) -> String {
    match (&link.lagg, &link.master) {
        (Some(lagg), _) => {
            let ports: Vec<&str> = lagg.ports.iter().map(|port| port.name.as_str()).collect();
            format!("{}:{}", word(lagg.proto), ports.join(","))
        }
        (None, Some(master)) => master.clone(),
        (None, None) => String::new(),
    }
}

fn lagg_lines(text: &mut String, lagg: &LaggView) {
    let layers: Vec<String> = lagg.hash.iter().map(word).collect();
    let mut how = format!("{}; flows by {}", word(lagg.proto), layers.join(","));
    let switch =
        |said: Option<bool>, words: [&'static str; 2]| words[usize::from(said == Some(true))];
    if lagg.proto == LaggProto::Lacp {
        let lacp = &lagg.lacp;
        let _ = write!(
            how,
            "; {}, {}, {}",
            switch(lacp.active, ["passive", "active"]),
            switch(lacp.fast, ["slow", "fast"]),
            switch(lacp.strict, ["loose", "strict"]),
        );
        if let Some(priority) = lacp.system_priority {
            let _ = write!(how, ", system-priority {priority}");
        }
    }
    line(text, "lagg", &how);
    for port in &lagg.ports {
        line(text, "port", &port_text(port));
        if let Some(lacp) = &port.lacp {
            lacp_lines(text, lacp);
        }
    }
}

fn port_text(port: &LaggPortView) -> String {
    let does = match (port.sends, port.receives) {
        (true, true) => "sends and receives",
        (true, false) => "sends",
        (false, true) => "receives",
        (false, false) => "is not used",
    };
    format!("{} {does}", port.name)
}

fn lacp_lines(text: &mut String, lacp: &LacpPortView) {
    let selected = if lacp.selected { "selected" } else { "not selected" };
    line(text, "", &format!("{selected}; we say {}", end_text(&lacp.actor)));
    match &lacp.partner {
        Some(partner) => line(text, "", &format!("the partner says {}", end_text(partner))),
        None => line(text, "", "the partner has said nothing"),
    }
    let LacpPortView { received, sent, malformed, .. } = lacp;
    let mut count = format!("LACPDUs: {received} received, {sent} sent, {malformed} malformed");
    for (churn, whose) in [(lacp.actor_churn, "our"), (lacp.partner_churn, "the partner's")] {
        if churn {
            let _ = write!(count, "; {whose} end does not come to agree");
        }
    }
    line(text, "", &count);
}

fn end_text(end: &LacpEndView) -> String {
    let state = if end.state.is_empty() { "nothing".into() } else { end.state.join(",") };
    format!("{state} (system {}, key {}, port {})", end.system, end.key, end.port)
}

fn direction(counters: &DirectionCounters) -> String {
    let DirectionCounters { frames, bytes, errors, .. } = counters;
    let mut text = format!("{frames} frames, {bytes} bytes");
    let errors = (*errors > 0).then(|| format!("{errors} errors"));
    let drops = counters.drops.iter().filter(|(_, count)| **count > 0);
    let drops = drops.map(|(reason, count)| format!("{count} dropped: {reason}"));
    for trouble in errors.into_iter().chain(drops) {
        let _ = write!(text, "; {trouble}");
    }
    text
}

/// What is written as one word, as it is written.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn dropped(counters: &DirectionCounters) -> u64 {
    counters.drops.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagg_is_shown_with_what_its_ports_and_partners_say() {
        let end = |state: &[&str]| {
            serde_json::json!({ "system-priority": 32768, "system": "02:00:00:00:00:01", "key": 9,
                "port-priority": 255, "port": 1, "state": state })
        };
        let link: LinkView = serde_json::from_value(serde_json::json!({
            "name": "lagg0", "type": "lagg", "index": 7, "flags": ["up", "running"], "mtu": 1500,
            "mac": "02:00:00:00:00:07", "media": { "speed": 10000, "full-duplex": true },
            "addresses": ["10.0.0.1/24", "fd00::1/64"], "link-local": "fe80::ff:fe00:7/64",
            "counters": {
                "received": { "frames": 5, "bytes": 500, "errors": 0, "drops": { "no-port": 2, "not-up": 0 } },
                "sent": { "frames": 6, "bytes": 600, "errors": 1, "drops": {} },
            },
            "lagg": {
                "proto": "lacp", "hash": ["l3", "l4"],
                "lacp": { "active": true, "fast": false, "system-priority": 32768, "strict": false },
                "ports": [
                    { "name": "p0", "sends": true, "receives": true, "lacp": {
                        "actor": end(&["active", "in-sync"]), "partner": end(&["in-sync"]),
                        "selected": true, "actor-churn": false, "partner-churn": false,
                        "received": 3, "sent": 4, "malformed": 0 } },
                    { "name": "p1", "sends": false, "receives": false, "lacp": {
                        "actor": end(&[]), "selected": false, "actor-churn": true,
                        "partner-churn": false, "received": 0, "sent": 4, "malformed": 1 } },
                ],
            },
        }))
        .unwrap();
        let expected = "\
lagg0: lagg, up
  flags    up,running; mtu 1500; mac 02:00:00:00:00:07
  media    10000 Mbit/s, full duplex
  address  10.0.0.1/24
  address  fd00::1/64
  address  fe80::ff:fe00:7/64 (automatic)
  lagg     lacp; flows by l3,l4; active, slow, loose, system-priority 32768
  port     p0 sends and receives
           selected; we say active,in-sync (system 02:00:00:00:00:01, key 9, port 1)
           the partner says in-sync (system 02:00:00:00:00:01, key 9, port 1)
           LACPDUs: 3 received, 4 sent, 0 malformed
  port     p1 is not used
           not selected; we say nothing (system 02:00:00:00:00:01, key 9, port 1)
           the partner has said nothing
           LACPDUs: 0 received, 4 sent, 1 malformed; our end does not come to agree
  received 5 frames, 500 bytes; 2 dropped: no-port
  sent     6 frames, 600 bytes; 1 errors
";
        assert_eq!(text(&link), expected);
        assert_eq!(lagg_cell(&link), "lacp:p0,p1");
    }
}
