//! The LACPDU: what systems tell each other of both ends of a link (IEEE 802.1AX-2014, section 6.4.2.3).

use super::information::{Information, PortId, State, System};
use super::slow::take_part;
use crate::ether::MacAddress;

/// Both ends of a link, as one of them sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lacpdu {
    /// Who sends this.
    pub actor: Information,
    /// To whom, as far as the sender knows.
    pub partner: Information,
    /// How long the sender may take to deliver a frame, in tens of microseconds.
    pub collector_max_delay: u16,
}

impl Lacpdu {
    /// Reads what comes after the version.
    pub(super) fn decode(mut body: &[u8]) -> Option<Self> {
        let (_, actor) = take_part(&mut body)?;
        let (_, partner) = take_part(&mut body)?;
        let (_, collector) = take_part::<COLLECTOR>(&mut body)?;
        let (delay, _) = collector.split_first_chunk()?;
        Some(Self {
            actor: information(actor),
            partner: information(partner),
            collector_max_delay: u16::from_be_bytes(*delay),
        })
    }

    /// Appends what comes after the version, but for the zeros at the end.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for (kind, end) in [(ACTOR_PART, &self.actor), (PARTNER_PART, &self.partner)] {
            out.extend([kind, (INFORMATION + 2) as u8]);
            out.extend(end.system.priority.to_be_bytes());
            out.extend(end.system.mac.0);
            out.extend(end.key.to_be_bytes());
            out.extend(end.port.priority.to_be_bytes());
            out.extend(end.port.number.to_be_bytes());
            out.extend([end.state.0, 0, 0, 0]);
        }
        out.extend([COLLECTOR_PART, (COLLECTOR + 2) as u8]);
        out.extend(self.collector_max_delay.to_be_bytes());
        out.extend([0; COLLECTOR - 2]);
    }
}

fn information(part: &[u8; INFORMATION]) -> Information {
    let [p, q, a, b, c, d, e, f, k, l, r, s, n, m, state, _, _, _] = *part;
    Information {
        system: System {
            priority: u16::from_be_bytes([p, q]),
            mac: MacAddress([a, b, c, d, e, f]),
        },
        key: u16::from_be_bytes([k, l]),
        port: PortId { priority: u16::from_be_bytes([r, s]), number: u16::from_be_bytes([n, m]) },
        state: State(state),
    }
}

const ACTOR_PART: u8 = 1;
const PARTNER_PART: u8 = 2;
const COLLECTOR_PART: u8 = 3;
/// Bytes of what is said of one end.
const INFORMATION: usize = 18;
const COLLECTOR: usize = 14;

#[cfg(test)]
mod tests {
    use super::super::slow::{LENGTH, NoSlowPdu, SlowPdu};
    use super::*;
    use crate::ether::HEADER;

    fn example() -> (Lacpdu, Vec<u8>) {
        let end = |seed: u8| Information {
            system: System {
                priority: u16::from_be_bytes([seed, 1]),
                mac: MacAddress([2, seed, 3, 4, 5, 6]),
            },
            key: u16::from_be_bytes([seed, 7]),
            port: PortId {
                priority: u16::from_be_bytes([seed, 8]),
                number: u16::from_be_bytes([seed, 9]),
            },
            state: State(seed),
        };
        let pdu = Lacpdu { actor: end(0x3d), partner: end(0x45), collector_max_delay: 0x1234 };
        let mut frame = vec![1, 0x80, 0xc2, 0, 0, 2, 0x0a, 0, 0, 0, 0, 9, 0x88, 9, 1, 1];
        frame.extend([1, 20, 0x3d, 1, 2, 0x3d, 3, 4, 5, 6, 0x3d, 7, 0x3d, 8, 0x3d, 9, 0x3d]);
        frame.extend([0, 0, 0]);
        frame.extend([2, 20, 0x45, 1, 2, 0x45, 3, 4, 5, 6, 0x45, 7, 0x45, 8, 0x45, 9, 0x45]);
        frame.extend([0, 0, 0]);
        frame.extend([3, 16, 0x12, 0x34]);
        frame.extend([0; 12 + 2 + 50]);
        (pdu, frame)
    }

    #[test]
    fn the_layout_is_the_standards() {
        let (pdu, frame) = example();
        assert_eq!(frame.len(), 124);
        let made = SlowPdu::Lacp(pdu).frame(MacAddress([0x0a, 0, 0, 0, 0, 9]));
        assert_eq!(*made, frame[..]);
        assert_eq!(SlowPdu::decode(&frame[HEADER..]), Ok(SlowPdu::Lacp(pdu)));
    }

    #[test]
    fn only_what_later_versions_may_change_can_be_otherwise() {
        let (pdu, frame) = example();
        let payload = &frame[HEADER..];
        // The version, the types of the parts, a reserved byte of each, the last part.
        for (place, _) in
            payload.iter().enumerate().filter(|(n, _)| [1, 2, 19, 22, 39, 42, 57, 60].contains(n))
        {
            let mut other = payload.to_vec();
            other[place] = 0x77;
            assert_eq!(SlowPdu::decode(&other), Ok(SlowPdu::Lacp(pdu)), "byte {place}");
        }
        for length in [3, 23, 43] {
            let mut other = payload.to_vec();
            other[length] -= 1;
            assert_eq!(SlowPdu::decode(&other), Err(NoSlowPdu::Malformed), "byte {length}");
        }
        for short in 1..LENGTH {
            assert_eq!(SlowPdu::decode(&payload[..short]), Err(NoSlowPdu::Malformed), "{short}");
        }
        let longer = [payload, &[9; 300]].concat();
        assert_eq!(SlowPdu::decode(&longer), Ok(SlowPdu::Lacp(pdu)));
    }
}
