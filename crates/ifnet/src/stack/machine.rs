//! The stack of one link as a machine: frames, calls and the time go in, frames and news come out.

use super::address::{ALL_NODES, Network, Route, is_station, solicited_node};
use super::arp::{self, Arp, Operation};
use super::connection::{Connection, ConnectionId, Ends};
use super::counters::{Dropped, Reason};
use super::icmp::{self, Icmp, Wrong};
use super::neighbors::{Due, Neighbors, Way};
use super::packet::{ICMPV4, ICMPV6, Outgoing, Packet, TCP, UDP, destination_of};
use super::tcp::{Ended, Tcp};
use super::udp::{self, Bound, Datagram, Udp};
use super::{Acceptor, AddressError, Config, IPV6_MTU_MIN, Limits, Usage, Wake};
use crate::ether::{self, Ethernet, MacAddress};
use crate::frame::{Frame, Frames};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The stack of a link, without a thread or a clock.
///
/// What is called with `now` may have made frames and news; [`settle`](Self::settle) says so, and is
/// to be called after one or several of them. The time never goes back; if it seems to, it stands
/// still.
pub(super) struct Machine {
    now: Duration,
    mac: MacAddress,
    mtu: usize,
    /// What is sent comes back, and nothing comes from anybody else.
    loopback: bool,
    link_local: Option<Network>,
    addresses: Vec<Network>,
    routes: Vec<Route>,
    neighbors: Neighbors,
    tcp: Tcp,
    udp: Udp,
    frames: Frames,
    wakes: Vec<Wake>,
    dropped: Dropped,
}

/// What is to be told when nobody holds a lock.
#[derive(Default)]
pub(super) struct News {
    pub(super) wakes: Vec<Wake>,
    pub(super) accepted: Vec<(Acceptor, ConnectionId, Ends)>,
    ended: Ended,
}

impl News {
    /// Tells it. Nothing is locked.
    pub(super) fn tell(self) {
        for (acceptor, id, ends) in self.accepted {
            acceptor(id, ends);
        }
        self.wakes.iter().for_each(|wake| wake());
        drop(self.ended);
    }
}

impl Machine {
    pub(super) fn new(config: &Config) -> Self {
        let mut machine = Self {
            now: Duration::ZERO,
            mac: config.mac,
            mtu: config.mtu,
            loopback: config.loopback,
            link_local: None,
            addresses: Vec::new(),
            routes: Vec::new(),
            neighbors: Neighbors::new(config.limits.neighbors),
            tcp: Tcp::new(config.mtu, !config.loopback, config.limits),
            udp: Udp::default(),
            frames: Frames::new(),
            wakes: Vec::new(),
            dropped: Dropped::default(),
        };
        machine.set_link_local();
        machine
    }

    /// A frame has come, perhaps an unfinished one.
    pub(super) fn input_frame(&mut self, now: Duration, frame: &Frame) {
        match frame.rest() {
            None => self.input(now, frame),
            // It has not been where its bytes could have been changed.
            Some(rest) if rest.is_whole() => self.input_checked(now, frame, true),
            Some(_) => {
                let mut pieces = Frames::new();
                if frame.clone().finish(&mut pieces).is_none() {
                    self.dropped.count(Reason::Malformed);
                }
                pieces.iter().for_each(|piece| self.input(now, piece));
            }
        }
    }

    /// A frame has come.
    pub(super) fn input(&mut self, now: Duration, frame: &[u8]) {
        self.input_checked(now, frame, false);
    }

    /// Whether what is sent may be left unfinished, from now on.
    pub(super) fn set_offloads(&mut self, offloads: bool) {
        self.tcp.set_offloads(offloads);
    }

    /// Does what is due, and gives out what there is to send and to tell. What connections have to send
    /// is left for the next time when there are `room` frames or a few more.
    pub(super) fn settle(&mut self, now: Duration, room: usize) -> (Frames, News) {
        let now = self.at(now);
        while let Some(due) = self.neighbors.due(now) {
            match due {
                Due::Ask(address) => self.ask(now, address),
                Due::GaveUp(packets) => self.count(Reason::Unreachable, packets),
            }
        }
        self.tcp.settle(now, room);
        self.send_packets(now);
        self.wakes.append(&mut self.tcp.wakes);
        let accepted = std::mem::take(&mut self.tcp.accepted);
        let ended = std::mem::take(&mut self.tcp.ended);
        let news = News { wakes: std::mem::take(&mut self.wakes), accepted, ended };
        (std::mem::take(&mut self.frames), news)
    }

    /// Whether there is something left to [`settle`](Self::settle).
    pub(super) fn is_unsettled(&self) -> bool {
        self.tcp.is_unsettled()
    }

    /// When to [`settle`](Self::settle) again, if nothing happens before.
    pub(super) fn due_at(&self) -> Option<Duration> {
        [self.tcp.due_at(), self.neighbors.due_at()].into_iter().flatten().min()
    }

    pub(super) fn addresses(&self) -> &[Network] {
        &self.addresses
    }

    /// The address that it made itself.
    pub(super) fn link_local(&self) -> Option<Network> {
        self.link_local
    }

    pub(super) fn add_address(
        &mut self,
        now: Duration,
        network: Network,
    ) -> Result<(), AddressError> {
        let now = self.at(now);
        self.check_address(network)?;
        self.addresses.push(network);
        self.announce_one(now, network.address());
        Ok(())
    }

    /// Whether it can have that address, too.
    pub(super) fn check_address(&self, network: Network) -> Result<(), AddressError> {
        if !network.is_station() || network.address().is_loopback() != self.loopback {
            return Err(AddressError::NoStation(network));
        }
        if network.address().is_ipv6() && self.mtu < IPV6_MTU_MIN {
            return Err(AddressError::SmallMtu(self.mtu));
        }
        if self.is_own(network.address()) {
            return Err(AddressError::Exists(network.address()));
        }
        if self.addresses.len() >= ADDRESSES_MAX {
            return Err(AddressError::TooMany);
        }
        Ok(())
    }

    /// Removes an address. The connections that end there are reset.
    pub(super) fn remove_address(&mut self, now: Duration, address: IpAddr) -> bool {
        let now = self.at(now);
        let there = self.is_own(address);
        if there {
            self.tcp.reset_all(now, Some(address));
            // While there still is a way for the resets.
            self.send_packets(now);
            self.addresses.retain(|network| network.address() != address);
        }
        there
    }

    /// Tells all stations of the link where our addresses are.
    pub(super) fn announce(&mut self, now: Duration) {
        let now = self.at(now);
        for address in self.addresses.clone() {
            self.announce_one(now, address.address());
        }
    }

    pub(super) fn set_mac(&mut self, now: Duration, mac: MacAddress) {
        if self.mac != mac {
            self.mac = mac;
            if let Some(old) = self.link_local.take() {
                self.remove_address(now, old.address());
            }
            self.set_link_local();
            self.announce(now);
        }
    }

    pub(super) fn set_mtu(&mut self, now: Duration, mtu: usize) {
        self.mtu = mtu;
        self.tcp.set_mtu(mtu);
        if mtu < IPV6_MTU_MIN {
            let v6 = |network: &Network| Some(network.address()).filter(IpAddr::is_ipv6);
            let v6: Vec<_> = self.addresses.iter().filter_map(v6).collect();
            for address in v6 {
                self.remove_address(now, address);
            }
            self.link_local = None;
        } else if self.link_local.is_none() {
            self.set_link_local();
        }
    }

    /// Replaces all routes.
    pub(super) fn set_routes(&mut self, routes: Vec<Route>) {
        self.routes = routes;
    }

    /// What it may use from now on.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.tcp.set_limits(limits);
        self.neighbors.set_most(limits.neighbors);
    }

    pub(super) fn listen(&mut self, at: Bound, acceptor: Acceptor) -> io::Result<()> {
        self.tcp.listen(at.0, at.1, acceptor)
    }

    pub(super) fn unlisten(&mut self, now: Duration, at: Bound) {
        let now = self.at(now);
        self.tcp.unlisten(now, at.0, at.1);
    }

    pub(super) fn connect(
        &mut self,
        now: Duration,
        peer: SocketAddr,
    ) -> io::Result<(ConnectionId, Ends)> {
        self.at(now);
        let reached = is_station(peer.ip()) && self.next_hop(peer.ip()).is_some();
        let local = self.own_for(peer.ip()).filter(|_| reached && peer.port() != 0);
        self.tcp.connect(local.ok_or(ErrorKind::HostUnreachable)?, peer)
    }

    /// Has something done with a connection, unless it is no more.
    pub(super) fn with<R>(
        &mut self,
        now: Duration,
        id: ConnectionId,
        f: impl FnOnce(&mut Connection) -> R,
    ) -> Option<R> {
        let now = self.at(now);
        self.tcp.with(now, id, f)
    }

    pub(super) fn leave(&mut self, now: Duration, id: ConnectionId) {
        let now = self.at(now);
        self.tcp.leave(now, id);
    }

    pub(super) fn bind(&mut self, at: Bound) -> io::Result<()> {
        self.udp.bind(at)
    }

    pub(super) fn unbind(&mut self, at: Bound) {
        self.tcp.ended.wakes.extend(self.udp.unbind(at));
    }

    pub(super) fn set_datagram_wake(&mut self, at: Bound, wake: Wake) {
        let (before, has_news) = self.udp.set_wake(at, wake.clone());
        self.tcp.ended.wakes.extend(before);
        self.wakes.extend(has_news.then_some(wake));
    }

    pub(super) fn receive_datagram(&mut self, at: Bound) -> io::Result<Datagram> {
        self.udp.receive(at)
    }

    pub(super) fn send_datagram(
        &mut self,
        now: Duration,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> io::Result<()> {
        let now = self.at(now);
        if !self.is_own(from.ip()) || !is_station(to.ip()) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let packet = udp::datagram(from, to, payload)
            .filter(|packet| packet.len() <= ether::HEADER + self.mtu)
            .ok_or(ErrorKind::InvalidInput)?;
        self.send_packet(now, packet);
        Ok(())
    }

    /// Resets and forgets everything: whoever has a connection or waits for datagrams is told.
    pub(super) fn close(&mut self, now: Duration) {
        let now = self.at(now);
        self.tcp.close(now);
        self.send_packets(now);
        self.wakes.extend(self.udp.unbind_all());
        self.addresses.clear();
        self.link_local = None;
        self.neighbors.clear();
    }

    pub(super) fn usage(&self) -> Usage {
        let mut dropped = self.dropped;
        dropped.add(&self.tcp.dropped);
        Usage { connections: self.tcp.connections(), half_open: self.tcp.half_open(), dropped }
    }

    /// So many of ours were dropped.
    pub(super) fn count(&mut self, reason: Reason, times: usize) {
        (0..times).for_each(|_| self.dropped.count(reason));
    }

    fn at(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    /// Without the checksum of what the packet carries being looked at, if it is `checked`.
    fn input_checked(&mut self, now: Duration, frame: &[u8], checked: bool) {
        let now = self.at(now);
        if let Err(reason) = self.take(now, frame, checked || self.loopback) {
            self.dropped.count(reason);
        }
    }

    fn take(&mut self, now: Duration, frame: &[u8], checked: bool) -> Result<(), Reason> {
        let ethernet = Ethernet::parse(frame).ok_or(Reason::Truncated)?;
        if !self.loopback && (!ethernet.source.is_station() || ethernet.source == self.mac) {
            return Err(Reason::Spoofed);
        }
        let to_group = ethernet.destination.is_group();
        if ethernet.destination != self.mac && !to_group {
            return Err(Reason::NotForUs);
        }
        let packet = match ethernet.ether_type {
            arp::TYPE => return self.take_arp(now, ethernet.payload),
            IPV4 => Packet::parse_v4(ethernet.payload)?,
            IPV6 if self.mtu >= IPV6_MTU_MIN => Packet::parse_v6(ethernet.payload)?,
            _ => return Err(Reason::Protocol),
        };
        let wanted = if self.is_own(packet.destination) {
            // Nobody floods the network to reach one station (RFC 1122, section 3.3.6).
            !to_group || packet.protocol == ICMPV6
        } else {
            packet.protocol == ICMPV6 && self.is_own_group(packet.destination)
        };
        if !wanted {
            return Err(Reason::NotForUs);
        }
        self.check_source(&packet)?;
        self.neighbors.heard(now, packet.source, ethernet.source);
        match (packet.protocol, packet.source) {
            (TCP, _) => self.tcp.take(now, &packet, checked),
            (UDP, _) => return self.take_udp(now, &packet, checked),
            (ICMPV4, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => {
                return self.take_icmp(now, &packet);
            }
            _ => return Err(Reason::Protocol),
        }
        Ok(())
    }

    /// Refuses what nobody can be the source of: groups, us, and hosts for whom the packet would never
    /// have left them (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3).
    fn check_source(&self, packet: &Packet<'_>) -> Result<(), Reason> {
        let source = packet.source;
        let detects_duplicates = source.is_unspecified() && packet.protocol == ICMPV6;
        let possible = detects_duplicates
            || (is_station(source)
                && (self.loopback || (!source.is_loopback() && !self.is_own(source)))
                && !self.addresses.iter().any(|network| {
                    let nobody = [network.broadcast(), network.base()];
                    nobody.into_iter().flatten().any(|nobody| source == IpAddr::V4(nobody))
                }));
        if possible { Ok(()) } else { Err(Reason::Spoofed) }
    }

    fn take_arp(&mut self, now: Duration, payload: &[u8]) -> Result<(), Reason> {
        let message = Arp::parse(payload).ok_or(Reason::Malformed)?;
        let (mac, address) = message.sender;
        let probes = address.is_unspecified();
        let sender = IpAddr::V4(address);
        if self.is_own(sender) || !mac.is_station() || !(probes || self.is_neighbor(sender)) {
            return Err(if self.loopback { Reason::NotForUs } else { Reason::Spoofed });
        }
        let target = message.target.1;
        let for_us = self.is_own(target.into());
        let packets = match (probes, for_us) {
            (true, _) => Vec::new(),
            (false, true) => self.neighbors.learn(now, sender, mac),
            (false, false) => self.neighbors.update(now, sender, mac),
        };
        packets.into_iter().for_each(|packet| self.send_packet(now, packet));
        if for_us && message.operation == Operation::Request {
            let sender = (self.mac, target);
            let reply = Arp { operation: Operation::Reply, sender, target: message.sender };
            self.frames.push(reply.frame(mac));
        }
        if for_us { Ok(()) } else { Err(Reason::NotForUs) }
    }

    fn take_udp(
        &mut self,
        now: Duration,
        packet: &Packet<'_>,
        checked: bool,
    ) -> Result<(), Reason> {
        match self.udp.take(packet, !checked) {
            Ok(wake) => {
                self.wakes.extend(wake);
                Ok(())
            }
            Err(Reason::Unreachable) => {
                if let Some(answer) = icmp::port_unreachable(packet) {
                    self.send_packet(now, answer);
                }
                Err(Reason::NotForUs)
            }
            Err(reason) => Err(reason),
        }
    }

    fn take_icmp(&mut self, now: Duration, packet: &Packet<'_>) -> Result<(), Reason> {
        let message = Icmp::parse(packet).map_err(|wrong| match wrong {
            Wrong::Checksum => Reason::Checksum,
            Wrong::Malformed => Reason::Malformed,
        })?;
        let source = packet.source;
        match message {
            Icmp::Echo(data) if !source.is_unspecified() => {
                let own = self.is_own(packet.destination);
                let from = if own { Some(packet.destination) } else { self.own_for(source) };
                let from = from.ok_or(Reason::NotForUs)?;
                if let Some(reply) = icmp::echo_reply(from, source, data) {
                    self.send_packet(now, reply);
                }
            }
            Icmp::Solicitation { target, sender } => {
                if !self.is_own(target.into()) {
                    return Err(Reason::NotForUs);
                }
                let IpAddr::V6(asked_by) = source else { return Ok(()) };
                if let Some(mac) = sender
                    && self.is_neighbor(source)
                {
                    let packets = self.neighbors.learn(now, source, mac);
                    packets.into_iter().for_each(|packet| self.send_packet(now, packet));
                }
                let asked_by = Some(asked_by).filter(|address| !address.is_unspecified());
                if let Some(answer) = icmp::advertisement((self.mac, target), asked_by) {
                    self.send_packet(now, answer);
                }
            }
            Icmp::Advertisement { target, mac } => {
                if self.is_own(target.into()) {
                    return Err(Reason::Spoofed);
                }
                let packets = self.neighbors.update(now, target.into(), mac);
                packets.into_iter().for_each(|packet| self.send_packet(now, packet));
            }
            Icmp::Echo(_) | Icmp::Other => {}
        }
        Ok(())
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|network| network.address() == address)
    }

    /// Whether it is a group that every station with our addresses is in.
    fn is_own_group(&self, address: IpAddr) -> bool {
        let IpAddr::V6(group) = address else { return false };
        group == ALL_NODES
            || self.addresses.iter().any(
                |network| matches!(network.address(), IpAddr::V6(own) if solicited_node(own) == group),
            )
    }

    /// Whether it is reached without a router.
    fn is_neighbor(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        link_local || self.addresses.iter().any(|network| network.contains(address))
    }

    /// An address of ours to speak to `address` from: of the same network, or else of the same reach.
    fn own_for(&self, address: IpAddr) -> Option<IpAddr> {
        let reach = |of: IpAddr| matches!(of, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let fits = |own: &&Network| {
            own.address().is_ipv4() == address.is_ipv4() && reach(own.address()) == reach(address)
        };
        let near = self.addresses.iter().find(|network| network.contains(address));
        near.or_else(|| self.addresses.iter().find(fits)).map(|network| network.address())
    }

    fn next_hop(&self, address: IpAddr) -> Option<IpAddr> {
        if self.is_neighbor(address) {
            return Some(address);
        }
        let leads = |route: &&Route| route.network.contains(address) && self.is_neighbor(route.via);
        let best = self.routes.iter().filter(leads).max_by_key(|route| route.network.prefix())?;
        Some(best.via)
    }

    fn set_link_local(&mut self) {
        if !self.loopback && self.mtu >= IPV6_MTU_MIN {
            let network = Network::link_local(self.mac);
            self.link_local = Some(network);
            if !self.is_own(network.address()) {
                self.addresses.push(network);
            }
        }
    }

    fn announce_one(&mut self, now: Duration, address: IpAddr) {
        if self.loopback {
            return;
        }
        match address {
            IpAddr::V4(own) => self.frames.push(arp::announcement((self.mac, own))),
            IpAddr::V6(own) => {
                if let Some(packet) = icmp::advertisement((self.mac, own), None) {
                    self.send_packet(now, packet);
                }
            }
        }
    }

    /// Asks who is at an address.
    fn ask(&mut self, now: Duration, address: IpAddr) {
        match (self.own_for(address), address) {
            (Some(IpAddr::V4(own)), IpAddr::V4(wanted)) => {
                self.frames.push(arp::request((self.mac, own), wanted));
            }
            (Some(IpAddr::V6(own)), IpAddr::V6(wanted)) => {
                if let Some(packet) = icmp::solicitation((self.mac, own), wanted) {
                    self.send_packet(now, packet);
                }
            }
            _ => {}
        }
    }

    fn send_packets(&mut self, now: Duration) {
        for packet in self.tcp.take_packets() {
            self.send_packet(now, packet);
        }
    }

    fn send_packet(&mut self, now: Duration, packet: Outgoing) {
        let destination = destination_of(&packet);
        let fits = packet.longest().is_some_and(|longest| longest <= ether::HEADER + self.mtu);
        let Some(destination) = destination.filter(|_| fits) else {
            return self.dropped.count(Reason::Unreachable);
        };
        if self.loopback {
            return self.send_frame(self.mac, destination, packet);
        }
        if let IpAddr::V6(group) = destination
            && group.is_multicast()
        {
            return self.send_frame(group_mac(group), destination, packet);
        }
        let Some(hop) = self.next_hop(destination) else {
            return self.dropped.count(Reason::Unreachable);
        };
        match self.neighbors.way(now, hop, packet) {
            Way::To { mac, packet, ask } => {
                self.send_frame(mac, destination, packet);
                if ask {
                    self.ask(now, hop);
                }
            }
            Way::Waits { ask: true } => self.ask(now, hop),
            Way::Waits { ask: false } => {}
            Way::Lost { ask } => {
                self.dropped.count(Reason::Unreachable);
                if ask {
                    self.ask(now, hop);
                }
            }
        }
    }

    fn send_frame(&mut self, to: MacAddress, destination: IpAddr, packet: Outgoing) {
        let ether_type = if destination.is_ipv4() { IPV4 } else { IPV6 };
        let mut frame = packet;
        if let Some(header) = frame.first_chunk_mut() {
            *header = ether::header(to, self.mac, ether_type);
        }
        self.frames.push(frame);
    }
}

/// The stations that are in a group (RFC 2464, section 7).
fn group_mac(group: Ipv6Addr) -> MacAddress {
    let [.., a, b, c, d] = group.octets();
    MacAddress([0x33, 0x33, a, b, c, d])
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Addresses of one link: each is looked at for every packet.
const ADDRESSES_MAX: usize = 256;
