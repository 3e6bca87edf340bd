//! What an interface has counted.

use holm_lifetime::sync::atomic::{AtomicU64, Ordering};
use std::fmt;

/// Why a frame was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The interface is not up.
    NotUp,
    /// It was shorter than the header of a frame.
    TooShort,
    /// It was longer than the MTU allows.
    TooLong,
    /// Nobody receives from the interface: it has no address and belongs to no lagg.
    NoReceiver,
    /// There was no room for it in a queue.
    QueueFull,
    /// What came was no frame.
    Malformed,
    /// The kernel says that it has dropped it.
    Missed,
    /// Nobody is at the other end, or it refused it.
    NoPeer,
    /// A lagg had no port for it, or its port may not take it now.
    NoPort,
    /// It is the interface's own and has come back.
    Looped,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NotUp,
        Self::TooShort,
        Self::TooLong,
        Self::NoReceiver,
        Self::QueueFull,
        Self::Malformed,
        Self::Missed,
        Self::NoPeer,
        Self::NoPort,
        Self::Looped,
    ];

    /// One word for it, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotUp => "not-up",
            Self::TooShort => "too-short",
            Self::TooLong => "too-long",
            Self::NoReceiver => "no-receiver",
            Self::QueueFull => "queue-full",
            Self::Malformed => "malformed",
            Self::Missed => "missed",
            Self::NoPeer => "no-peer",
            Self::NoPort => "no-port",
            Self::Looped => "looped",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The counters of an interface. Both directions are seen from the namespace: received is what came
/// in. Each direction has cache lines of its own.
#[derive(Debug, Default)]
pub struct Counters {
    /// What came in.
    pub received: Direction,
    /// What went out: was taken by the driver.
    pub sent: Direction,
}

/// The counters of one direction.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Direction {
    frames: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Direction {
    /// Counts frames, and their bytes with the header.
    #[inline]
    pub fn passed(&self, frames: u64, bytes: u64) {
        if frames > 0 {
            self.frames.fetch_add(frames, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts frames that were dropped.
    #[inline]
    pub fn dropped(&self, reason: DropReason, frames: u64) {
        if frames > 0
            && let Some(count) = self.drops.get(reason as usize)
        {
            count.fetch_add(frames, Ordering::Relaxed);
        }
    }

    /// Counts a call of the system that failed.
    #[cold]
    pub fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    fn values(&self) -> DirectionValues {
        let drops = self.drops.each_ref().map(|count| count.load(Ordering::Relaxed));
        DirectionValues {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            drops,
        }
    }
}

impl Counters {
    /// What they say now.
    pub fn values(&self) -> CounterValues {
        CounterValues { received: self.received.values(), sent: self.sent.values() }
    }
}

/// What [`Counters`] said. Nothing of it is of one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// What came in.
    pub received: DirectionValues,
    /// What went out.
    pub sent: DirectionValues,
}

/// What a [`Direction`] said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectionValues {
    /// Frames that passed.
    pub frames: u64,
    /// Their bytes, with the header.
    pub bytes: u64,
    /// Calls of the system that failed.
    pub errors: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl DirectionValues {
    /// Frames that were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or_default()
    }

    /// Frames that were dropped, for whatever reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let counters = Counters::default();
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            counters.received.dropped(reason, at as u64 + 1);
        }
        let values = counters.values();
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(values.received.dropped(reason), at as u64 + 1, "{reason}");
        }
        assert_eq!(values.received.dropped_in_all(), 55);
        assert_eq!(values.sent, DirectionValues::default());
    }
}
