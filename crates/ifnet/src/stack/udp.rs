//! Datagrams (RFC 768).

use super::Wake;
use super::counters::Reason;
use super::packet::{Outgoing, Packet, UDP, build, sum};
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// A datagram that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) payload: Box<[u8]>,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
}

/// Where datagrams are received: at a port of one address or all.
pub(super) type Bound = (Option<IpAddr>, u16);

#[derive(Default)]
pub(super) struct Udp {
    bound: HashMap<Bound, Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Datagram>,
    bytes: usize,
    wake: Option<Wake>,
}

impl Udp {
    pub(super) fn bind(&mut self, at: Bound) -> io::Result<()> {
        if at.1 == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        if self.bound.contains_key(&at) {
            return Err(ErrorKind::AddrInUse.into());
        }
        self.bound.insert(at, Queue::default());
        Ok(())
    }

    /// Returns who was told.
    pub(super) fn unbind(&mut self, at: Bound) -> Option<Wake> {
        self.bound.remove(&at)?.wake
    }

    /// Unbinds all. Returns who is to be told.
    pub(super) fn unbind_all(&mut self) -> Vec<Wake> {
        self.bound.drain().filter_map(|(_, queue)| queue.wake).collect()
    }

    /// Whom to tell that something came. Returns who was told before, and whether something is there already.
    pub(super) fn set_wake(&mut self, at: Bound, wake: Wake) -> (Option<Wake>, bool) {
        match self.bound.get_mut(&at) {
            Some(queue) => (queue.wake.replace(wake), !queue.waiting.is_empty()),
            None => (Some(wake), false),
        }
    }

    /// Takes a packet in: says who is to be told, or what is wrong; `Unreachable` if nobody is there.
    pub(super) fn take(
        &mut self,
        packet: &Packet<'_>,
        checksums: bool,
    ) -> Result<Option<Wake>, Reason> {
        let (&[s0, s1, d0, d1, l0, l1, c0, c1], _) =
            packet.payload.split_first_chunk().ok_or(Reason::Truncated)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let whole = packet.payload.get(..length).ok_or(Reason::Truncated)?;
        let payload = whole.get(8..).ok_or(Reason::Malformed)?;
        // Zero means that there is none, which IPv6 does not allow (RFC 8200, section 8.1).
        let none = [c0, c1] == [0, 0] && packet.source.is_ipv4();
        let right = || sum(packet.source, packet.destination, UDP, whole) == !0;
        if checksums && !none && !right() {
            return Err(Reason::Checksum);
        }
        let (from, to) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
        let exactly = (Some(packet.destination), to);
        let at = if self.bound.contains_key(&exactly) { exactly } else { (None, to) };
        let queue = self.bound.get_mut(&at).ok_or(Reason::Unreachable)?;
        if queue.bytes + payload.len() > BYTES_MAX || queue.waiting.len() >= WAITING_MAX {
            return Err(Reason::NoRoom);
        }
        queue.bytes += payload.len();
        queue.waiting.push_back(Datagram {
            payload: payload.into(),
            from: SocketAddr::new(packet.source, from),
            to: SocketAddr::new(packet.destination, to),
        });
        Ok(queue.wake.clone())
    }

    /// The next that came.
    pub(super) fn receive(&mut self, at: Bound) -> io::Result<Datagram> {
        let queue = self.bound.get_mut(&at).ok_or(ErrorKind::NotConnected)?;
        let datagram = queue.waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        queue.bytes -= datagram.payload.len();
        Ok(datagram)
    }
}

/// The packet for a datagram. `None`: it is too long, or the addresses are not of one family.
pub(super) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Outgoing> {
    let length = u16::try_from(payload.len() + 8).ok()?;
    build(from.ip(), to.ip(), UDP, 64, usize::from(length), |space| {
        if let Some((header, rest)) = space.split_first_chunk_mut::<8>() {
            rest.copy_from_slice(payload);
            let ([s0, s1], [d0, d1]) = (from.port().to_be_bytes(), to.port().to_be_bytes());
            let [l0, l1] = length.to_be_bytes();
            *header = [s0, s1, d0, d1, l0, l1, 0, 0];
        }
        // A sum of zero is sent as its other form, as zero means none.
        let checksum = match !sum(from.ip(), to.ip(), UDP, space) {
            0 => !0,
            checksum => checksum,
        };
        if let Some(to) = space.get_mut(6..8) {
            to.copy_from_slice(&checksum.to_be_bytes());
        }
    })
}

/// What waits at one port.
const BYTES_MAX: usize = 256 << 10;
const WAITING_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ether::HEADER;

    #[test]
    fn a_datagram_arrives_as_it_was_sent() {
        let mut udp = Udp::default();
        udp.bind((None, 111)).unwrap();
        assert_eq!(udp.bind((None, 111)).unwrap_err().kind(), ErrorKind::AddrInUse);
        let ends = [("10.0.0.1:5", "10.0.0.2:111"), ("[fd00::1]:5", "[fd00::2]:111")];
        for (from, to) in ends {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let made = datagram(from, to, b"call").unwrap();
            let parse = if from.is_ipv4() { Packet::parse_v4 } else { Packet::parse_v6 };
            let packet = parse(&made[HEADER..]).unwrap();
            assert!(udp.take(&packet, true).unwrap().is_none());
            let expected = Datagram { payload: b"call"[..].into(), from, to };
            assert_eq!(udp.receive((None, 111)).unwrap(), expected);
            assert_eq!(udp.receive((None, 111)).unwrap_err().kind(), ErrorKind::WouldBlock);

            for wrong in 0..packet.payload.len() {
                let mut payload = packet.payload.to_vec();
                payload[wrong] ^= 1;
                assert!(udp.take(&Packet { payload: &payload, ..packet }, true).is_err());
                let cut = &packet.payload[..wrong];
                assert!(udp.take(&Packet { payload: cut, ..packet }, true).is_err());
            }
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut udp = Udp::default();
        udp.bind((None, 111)).unwrap();
        let ends = ("10.0.0.1:5".parse().unwrap(), "10.0.0.2:111".parse().unwrap());
        for (length, most) in [(0, WAITING_MAX), (60_000, BYTES_MAX / 60_000)] {
            let made = datagram(ends.0, ends.1, &vec![7; length]).unwrap();
            let packet = Packet::parse_v4(&made[HEADER..]).unwrap();
            for _ in 0..most {
                udp.take(&packet, true).unwrap();
            }
            assert_eq!(udp.take(&packet, true).err(), Some(Reason::NoRoom));
            while udp.receive((None, 111)).is_ok() {}
        }
        assert_eq!(datagram(ends.0, ends.1, &vec![7; 65_530]), None);
    }
}
