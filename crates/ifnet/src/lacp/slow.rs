//! Slow protocols: what is sent to the group address that no bridge forwards (IEEE 802.3, annex 57A).

use super::marker::Marker;
use super::pdu::Lacpdu;
use crate::ether::{HEADER, MacAddress};
use crate::frame::Frame;

/// To whom slow protocols are sent: the station at the other end of the link.
pub const ADDRESS: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0x00, 0x00, 0x02]);
/// What their frames carry.
pub const ETHER_TYPE: u16 = 0x8809;
/// Bytes of each of our protocols' PDUs, with the byte that says which protocol it is.
pub const LENGTH: usize = 110;

/// A PDU of one of the two protocols of link aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowPdu {
    /// Who I am, and who I take you for.
    Lacp(Lacpdu),
    /// Has all that was sent before this come?
    Marker(Marker),
    /// All that was sent before that marker has come.
    MarkerResponse(Marker),
}

/// Why something is not a [`SlowPdu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSlowPdu {
    /// Of some other slow protocol.
    #[error("it is of slow protocol {0}, which is not ours")]
    Other(u8),
    /// Too short, or its parts have other lengths than they must have.
    #[error("it is too short, or its parts have wrong lengths")]
    Malformed,
}

impl SlowPdu {
    /// Reads what comes after the header of a frame. What comes after the PDU is not looked at, nor
    /// are versions, types of parts and reserved bytes: later versions of the protocol keep the first
    /// (IEEE 802.1AX-2014, section 6.4.12).
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn decode(payload: &[u8]) -> Result<Self, NoSlowPdu> {
        let (&subtype, _) = payload.split_first().ok_or(NoSlowPdu::Malformed)?;
        if ![LACP, MARKER].contains(&subtype) {
            return Err(NoSlowPdu::Other(subtype));
        }
        let (pdu, _) = payload.split_first_chunk::<LENGTH>().ok_or(NoSlowPdu::Malformed)?;
        // Subtype and version.
        let (_, body) = pdu.split_first_chunk::<2>().ok_or(NoSlowPdu::Malformed)?;
        let pdu = match subtype {
            LACP => Lacpdu::decode(body).map(Self::Lacp),
            _ => Marker::decode(body).map(|(marker, is_response)| {
                if is_response { Self::MarkerResponse(marker) } else { Self::Marker(marker) }
            }),
        };
        pdu.ok_or(NoSlowPdu::Malformed)
    }

    /// The frame that takes it to the other end of the link, from the station `source`.
    pub fn frame(&self, source: MacAddress) -> Frame {
        let mut frame = Vec::with_capacity(HEADER + LENGTH);
        frame.extend(ADDRESS.0);
        frame.extend(source.0);
        frame.extend(ETHER_TYPE.to_be_bytes());
        match self {
            Self::Lacp(pdu) => {
                frame.extend([LACP, VERSION]);
                pdu.encode(&mut frame);
            }
            Self::Marker(marker) | Self::MarkerResponse(marker) => {
                frame.extend([MARKER, VERSION]);
                marker.encode(matches!(self, Self::MarkerResponse(_)), &mut frame);
            }
        }
        // The last part, of no length, and reserved bytes.
        frame.resize(HEADER + LENGTH, 0);
        frame.into()
    }
}

/// Takes a part of a PDU, a type and a length and a content of `CONTENT` bytes, off the front of `body`;
/// `None` if it does not say that it has this length.
pub(super) fn take_part<'b, const CONTENT: usize>(
    body: &mut &'b [u8],
) -> Option<(u8, &'b [u8; CONTENT])> {
    let ([kind, length], rest) = body.split_first_chunk()?;
    let (content, rest) = rest.split_first_chunk::<CONTENT>()?;
    *body = rest;
    (usize::from(*length) == CONTENT + 2).then_some((*kind, content))
}

const LACP: u8 = 1;
const MARKER: u8 = 2;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_slow_protocols_are_told_from_malformed_pdus() {
        assert_eq!(SlowPdu::decode(&[]), Err(NoSlowPdu::Malformed));
        assert_eq!(SlowPdu::decode(&[3; LENGTH]), Err(NoSlowPdu::Other(3)));
        assert_eq!(SlowPdu::decode(&[0]), Err(NoSlowPdu::Other(0)));
        assert_eq!(SlowPdu::decode(&[LACP; LENGTH]), Err(NoSlowPdu::Malformed));
        assert_eq!(SlowPdu::decode(&[MARKER; LENGTH]), Err(NoSlowPdu::Malformed));
    }
}
