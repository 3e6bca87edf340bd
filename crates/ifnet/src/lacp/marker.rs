//! The marker protocol: whoever wants to move a flow to another link asks whether all that it sent on
//! this one has come (IEEE 802.1AX-2014, section 6.5). We answer; we don't ask.

use super::slow::take_part;
use crate::ether::MacAddress;
use std::time::{Duration, Instant};

/// Who asks, and which of its questions this is. The answer says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marker {
    /// The port that asks.
    pub port: u16,
    /// The system that asks.
    pub system: MacAddress,
    /// Its number for the question.
    pub transaction: u32,
}

impl Marker {
    /// Reads what comes after the version; says also whether it is an answer.
    pub(super) fn decode(mut body: &[u8]) -> Option<(Self, bool)> {
        let (kind, content) = take_part::<CONTENT>(&mut body)?;
        let is_response = match kind {
            INFORMATION_PART => false,
            RESPONSE_PART => true,
            _ => return None,
        };
        let [p, q, a, b, c, d, e, f, t, u, v, w, _, _] = *content;
        let marker = Self {
            port: u16::from_be_bytes([p, q]),
            system: MacAddress([a, b, c, d, e, f]),
            transaction: u32::from_be_bytes([t, u, v, w]),
        };
        Some((marker, is_response))
    }

    /// Appends what comes after the version, but for the zeros at the end.
    pub(super) fn encode(&self, is_response: bool, out: &mut Vec<u8>) {
        let kind = if is_response { RESPONSE_PART } else { INFORMATION_PART };
        out.extend([kind, (CONTENT + 2) as u8]);
        out.extend(self.port.to_be_bytes());
        out.extend(self.system.0);
        out.extend(self.transaction.to_be_bytes());
    }
}

/// Answers markers, and no more of them than a slow protocol may send.
#[derive(Debug, Default)]
pub(super) struct Responder {
    /// When the second began in which `answers` were given.
    since: Option<Instant>,
    answers: u32,
}

impl Responder {
    /// Whether a marker that comes now is answered.
    pub(super) fn may_answer(&mut self, now: Instant) -> bool {
        let same_second = self.since.is_some_and(|since| now < since + SECOND);
        if !same_second {
            (self.since, self.answers) = (Some(now), 0);
        }
        let may = self.answers < ANSWERS_A_SECOND;
        self.answers += u32::from(may);
        may
    }
}

const INFORMATION_PART: u8 = 1;
const RESPONSE_PART: u8 = 2;
const CONTENT: usize = 14;
const SECOND: Duration = Duration::from_secs(1);
/// Half of what a slow protocol may send: a second of ours may lie across two of others.
const ANSWERS_A_SECOND: u32 = 5;

#[cfg(test)]
mod tests {
    use super::super::slow::{LENGTH, NoSlowPdu, SlowPdu};
    use super::*;
    use crate::ether::HEADER;

    #[test]
    fn the_layout_is_the_standards() {
        let system = MacAddress([2, 0, 0, 0, 0, 7]);
        let marker = Marker { port: 0x0102, system, transaction: 0x03040506 };
        let mut payload = vec![2, 1, 1, 16, 1, 2, 2, 0, 0, 0, 0, 7, 3, 4, 5, 6];
        payload.resize(LENGTH, 0);
        assert_eq!(SlowPdu::decode(&payload), Ok(SlowPdu::Marker(marker)));
        assert_eq!(SlowPdu::Marker(marker).frame(system)[HEADER..], payload);
        payload[2] = 2;
        assert_eq!(SlowPdu::decode(&payload), Ok(SlowPdu::MarkerResponse(marker)));
        assert_eq!(SlowPdu::MarkerResponse(marker).frame(system)[HEADER..], payload);
        payload[2] = 3;
        assert_eq!(SlowPdu::decode(&payload), Err(NoSlowPdu::Malformed));
    }

    #[test]
    fn a_flood_of_markers_gets_as_many_answers_as_are_allowed() {
        let start = Instant::now();
        let mut responder = Responder::default();
        let answered: Vec<u64> = (0..10_000)
            .filter(|at| responder.may_answer(start + Duration::from_millis(*at)))
            .collect();
        assert_eq!(answered.len(), 50);
        for (number, first) in answered.iter().enumerate() {
            let second = answered[number..].iter().take_while(|at| *at - first < 1000).count();
            assert!(second <= 10, "{second} in the second from {first} ms on");
        }
    }
}
