//! The key of a port: what its link must have in common with those it is aggregated with
//! (IEEE 802.1AX-2014, section 6.3.5).

/// The link of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Frames can be sent and received.
    pub up: bool,
    /// In Mbit/s; 0 if nobody knows.
    pub speed: u32,
    /// Both ends can send at a time. Links where they can't are never aggregated.
    pub full_duplex: bool,
}

/// The key of ports of the configured key `configured`, of which ten bits count, with such a link.
pub(super) fn key(configured: u16, link: Link) -> u16 {
    let speed = SPEEDS.iter().position(|speed| *speed > link.speed).unwrap_or(SPEEDS.len());
    // Below 32, because there are fewer speeds.
    configured << 6 | (speed as u16) << 1 | u16::from(link.full_duplex)
}

/// In Mbit/s: what Ethernet has. A link of another speed is taken for the next slower one.
const SPEEDS: [u32; 16] = [
    10, 100, 1_000, 2_500, 5_000, 10_000, 20_000, 25_000, 40_000, 50_000, 56_000, 100_000, 200_000,
    400_000, 800_000, 1_600_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_differ_have_different_keys() {
        let mut keys = vec![];
        for configured in [0, 1, 1023] {
            for speed in SPEEDS.iter().chain([&0]) {
                for full_duplex in [false, true] {
                    keys.push(key(configured, Link { up: true, speed: *speed, full_duplex }));
                }
            }
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
        let link = Link { up: true, speed: 1_234, full_duplex: true };
        assert_eq!(key(5, link), key(5, Link { speed: 1_000, ..link }));
        assert_eq!(key(5, Link { speed: u32::MAX, ..link }) >> 6, 5);
    }
}
