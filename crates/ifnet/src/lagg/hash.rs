//! Which frames belong together: those of a flow have the same hash, so that they stay on one port and
//! none overtakes another.

use crate::aggregation::HashLayers;
use crate::ether::{Ethernet, SERVICE_VLAN, VLAN};

/// Hashes what the chosen layers say of the flow of a frame.
#[derive(Debug, Clone, Copy)]
pub struct FlowHash {
    layers: HashLayers,
    /// What strangers can't foresee, so that they can't choose frames that all go to one port.
    seed: u64,
}

impl FlowHash {
    /// With `seed` made by chance.
    pub fn new(layers: HashLayers, seed: u64) -> Self {
        Self { layers, seed }
    }

    /// The hash of the flow of `frame`, whatever it is: what is cut short or malformed is not looked at.
    pub fn hash(&self, frame: &[u8]) -> u64 {
        let mut hash = Hash(self.seed);
        let Some(ethernet) = Ethernet::parse(frame) else { return hash.end() };
        let untagged = untag(&ethernet);
        if self.layers.l2 {
            // Below, it is a length, and frames of a flow have several.
            let ether_type = untagged.ether_type * u16::from(untagged.ether_type >= FIRST_TYPE);
            hash.add(word(ethernet.destination.0) << 16 | u64::from(ether_type));
            hash.add(word(ethernet.source.0) << 16);
            hash.add(untagged.vlans);
        }
        if self.layers.l3 || self.layers.l4 {
            match untagged.ether_type {
                IPV4 => self.add_ipv4(&mut hash, untagged.payload),
                IPV6 => self.add_ipv6(&mut hash, untagged.payload),
                _ => None,
            };
        }
        hash.end()
    }

    /// Adds what a packet of IPv4 says, as far as it goes (RFC 791, section 3.1).
    fn add_ipv4(&self, hash: &mut Hash, packet: &[u8]) -> Option<()> {
        let (header, _) = packet.split_first_chunk::<20>()?;
        let [first, _, _, _, _, _, fragment @ .., _, protocol, _, _, a, b, c, d, e, f, g, h] =
            *header;
        if first >> 4 != 4 {
            return None;
        }
        if self.layers.l3 {
            hash.add(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        }
        // More of them, or not the first.
        let is_fragment = u16::from_be_bytes(fragment) & 0x3fff != 0;
        if self.layers.l4 && !is_fragment {
            add_ports(hash, protocol, packet.get(usize::from(first & 15) * 4..)?)?;
        }
        Some(())
    }

    /// Adds what a packet of IPv6 says, as far as it goes (RFC 8200, sections 3 and 4).
    fn add_ipv6(&self, hash: &mut Hash, packet: &[u8]) -> Option<()> {
        let (first, rest) = packet.split_first_chunk::<4>()?;
        let (&[_, _, mut next, _], rest) = rest.split_first_chunk::<4>()?;
        let (addresses, mut rest) = rest.split_first_chunk::<32>()?;
        let first = u32::from_be_bytes(*first);
        if first >> 28 != 6 {
            return None;
        }
        if self.layers.l3 {
            let (words, _) = addresses.as_chunks();
            words.iter().for_each(|word| hash.add(u64::from_be_bytes(*word)));
            hash.add(u64::from(first & 0xf_ffff));
        }
        if self.layers.l4 {
            for _ in 0..MOST_EXTENSIONS {
                let [following, length] = *rest.first_chunk()?;
                let length = match next {
                    HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(length) + 1) * 8,
                    AUTHENTICATION => (usize::from(length) + 2) * 4,
                    // Nothing, fragments included, or ports.
                    _ => return add_ports(hash, next, rest),
                };
                next = following;
                rest = rest.get(length..)?;
            }
        }
        Some(())
    }
}

/// What comes after the VLAN tags of a frame (IEEE 802.1Q, clause 9).
struct Untagged<'f> {
    vlans: u64,
    ether_type: u16,
    payload: &'f [u8],
}

fn untag<'f>(ethernet: &Ethernet<'f>) -> Untagged<'f> {
    let mut untagged =
        Untagged { vlans: 0, ether_type: ethernet.ether_type, payload: ethernet.payload };
    for _ in 0..MOST_TAGS {
        if ![VLAN, SERVICE_VLAN].contains(&untagged.ether_type) {
            break;
        }
        let Some(([t, u, v, w], rest)) = untagged.payload.split_first_chunk() else { break };
        // Frames of a flow may have several priorities.
        let vlan = u16::from_be_bytes([*t, *u]) & 0xfff;
        untagged.vlans = untagged.vlans << 12 | u64::from(vlan);
        untagged.ether_type = u16::from_be_bytes([*v, *w]);
        untagged.payload = rest;
    }
    untagged
}

fn add_ports(hash: &mut Hash, protocol: u8, segment: &[u8]) -> Option<()> {
    if [TCP, UDP, SCTP].contains(&protocol) {
        let ports = u32::from_be_bytes(*segment.first_chunk()?);
        hash.add(u64::from(ports) << 8 | u64::from(protocol));
    }
    Some(())
}

fn word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Words multiplied into each other, both halves of the product folded.
struct Hash(u64);

impl Hash {
    fn add(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, FACTOR);
    }

    fn end(&self) -> u64 {
        fold(self.0, LAST_FACTOR)
    }
}

pub(super) fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ (product >> 64) as u64
}

/// Odd, with about as many ones as zeros.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const LAST_FACTOR: u64 = 0xd1b5_4a32_d192_ed03;

/// Ethernet types; what is lower is a length.
const FIRST_TYPE: u16 = 0x600;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MOST_TAGS: usize = 2;

/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOST_EXTENSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENT: u8 = 44;

    fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Source and destination addresses end in 1 and 2, the ports are 1000 and 2049.
    fn ipv4(protocol: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 60, 7, 7, 0, 0, 64, protocol, 9, 9];
        packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend([3, 232, 8, 1]);
        packet.extend([0xaa; 16]);
        ethernet(IPV4, &packet)
    }

    fn ipv6(protocol: u8, extensions: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 1, 2, 0, 20, protocol, 64];
        packet.extend([0xfe; 15]);
        packet.push(1);
        packet.extend([0xfe; 15]);
        packet.push(2);
        packet.extend(extensions);
        packet.extend([3, 232, 8, 1]);
        packet.extend([0xaa; 16]);
        ethernet(IPV6, &packet)
    }

    fn hash(layers: &str, frame: &[u8]) -> u64 {
        FlowHash::new(layers.parse().unwrap(), 0x1234_5678_9abc_def0).hash(frame)
    }

    /// Asserts that those and only those of the layers' bytes matter that are given.
    fn assert_matters(layers: &str, frame: &[u8], places: impl IntoIterator<Item = usize>) {
        let places: Vec<usize> = places.into_iter().collect();
        for place in 0..frame.len() {
            let mut other = frame.to_vec();
            other[place] ^= 1;
            let matters = hash(layers, &other) != hash(layers, frame);
            assert_eq!(matters, places.contains(&place), "byte {place}, {layers}");
        }
    }

    #[test]
    fn each_layer_hashes_what_is_its_own() {
        let frame = ipv4(TCP);
        assert_matters("l2", &frame, 0..14);
        // And what says what it is, where it is, and whether it is there.
        assert_matters("l3", &frame, (26..34).chain([12, 13]));
        assert_matters("l4", &frame, [12, 13, 14, 20, 21, 23, 34, 35, 36, 37]);
        let frame = ipv6(UDP, &[]);
        assert_matters("l2", &frame, 0..14);
        assert_matters("l3", &frame, [12, 13, 15, 16, 17].into_iter().chain(22..54));
        assert_matters("l4", &frame, [12, 13, 20, 54, 55, 56, 57]);
    }

    #[test]
    fn frames_of_a_flow_stay_together() {
        for layers in ["l2", "l3", "l4", "l2,l3", "l3,l4", "l2,l3,l4"] {
            for mut frame in [ipv4(TCP), ipv4(UDP), ipv4(SCTP)] {
                let before = hash(layers, &frame);
                // Service, length, identification, time to live, checksum, payload, and longer.
                for place in [15, 16, 17, 18, 19, 22, 24, 25, 38, 40] {
                    frame[place] ^= 0x5a;
                }
                frame.extend([7; 1400]);
                assert_eq!(hash(layers, &frame), before);
            }
        }
    }

    #[test]
    fn fragments_of_a_datagram_stay_together() {
        let mut first = ipv4(UDP);
        let whole = hash("l3,l4", &first);
        first[20] = 0x20;
        let mut later = first.clone();
        later[21] = 185;
        later[34..38].fill(0x77);
        let mut last = later.clone();
        last[20] = 1;
        assert_eq!(hash("l3,l4", &first), hash("l3,l4", &later));
        assert_eq!(hash("l3,l4", &first), hash("l3,l4", &last));
        assert_ne!(hash("l3,l4", &first), whole);

        let first = ipv6(FRAGMENT, &[UDP, 0, 0, 1, 5, 5, 5, 5]);
        let mut later = ipv6(FRAGMENT, &[UDP, 0, 5, 1, 5, 5, 5, 5]);
        later[62..66].fill(0x77);
        assert_eq!(hash("l3,l4", &first), hash("l3,l4", &later));
    }

    #[test]
    fn ports_are_found_behind_options_and_extensions() {
        let mut long = ipv4(TCP);
        long[14] = 0x47;
        long.splice(34..34, [1; 8]);
        assert_eq!(hash("l4", &long), hash("l4", &ipv4(TCP)));
        let plain = hash("l4", &ipv6(TCP, &[]));
        let extensions = [TCP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for kind in [HOP_BY_HOP, ROUTING, DESTINATION] {
            assert_eq!(hash("l4", &ipv6(kind, &extensions)), plain);
        }
        let authentication = [TCP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(hash("l4", &ipv6(AUTHENTICATION, &authentication)), plain);
        let none = hash("l4", &[]);
        let chain = [HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(100);
        assert_eq!(hash("l4", &ipv6(HOP_BY_HOP, &chain)), none, "without end");
        let too_long = [TCP, 255, 0, 0, 0, 0, 0, 0];
        assert_eq!(hash("l4", &ipv6(HOP_BY_HOP, &too_long)), none, "longer than the packet");
    }

    #[test]
    fn a_tag_is_of_the_second_layer_and_hides_nothing() {
        let plain = ipv4(TCP);
        let tagged = |tag: [u8; 4]| {
            let mut frame = plain.clone();
            frame.splice(12..12, tag);
            frame
        };
        let first = tagged([0x81, 0, 0, 5]);
        assert_eq!(hash("l3,l4", &first), hash("l3,l4", &plain));
        assert_ne!(hash("l2", &first), hash("l2", &plain));
        assert_ne!(hash("l2", &first), hash("l2", &tagged([0x81, 0, 0, 6])));
        assert_eq!(hash("l2", &first), hash("l2", &tagged([0x81, 0, 0xe0, 5])), "a priority");
        let mut twice = first.clone();
        twice.splice(12..12, [0x88, 0xa8, 0, 9]);
        assert_eq!(hash("l3,l4", &twice), hash("l3,l4", &plain));
        assert_ne!(hash("l2", &twice), hash("l2", &first));
    }

    #[test]
    fn a_length_is_no_type() {
        let short = ethernet(30, &[0x42, 0x42, 3, 0]);
        assert_eq!(hash("l2,l3,l4", &short), hash("l2,l3,l4", &ethernet(38, &[9; 38])));
    }

    #[test]
    fn what_is_cut_short_has_a_hash_too() {
        for frame in [ipv4(TCP), ipv6(TCP, &[0; 16]), ethernet(VLAN, &[0, 1, 0x81, 0])] {
            for end in 0..=frame.len() {
                hash("l2,l3,l4", &frame[..end]);
            }
        }
    }

    #[test]
    fn flows_are_spread_evenly() {
        // Of one pair of stations, so that only the source port differs.
        let mut frame = ipv4(TCP);
        let mut buckets = [0u32; 16];
        for port in 0..u16::MAX {
            frame[34..36].copy_from_slice(&port.to_be_bytes());
            buckets[(hash("l2,l3,l4", &frame) % 16) as usize] += 1;
        }
        for bucket in buckets {
            assert!((3_700..4_500).contains(&bucket), "{buckets:?}");
        }
    }
}
