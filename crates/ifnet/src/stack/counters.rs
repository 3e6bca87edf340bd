//! What came and was not used, and why.

/// Why a frame, or what it carried, was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It ends before it should.
    Truncated,
    /// It is not what its header says.
    Malformed,
    /// A checksum is wrong.
    Checksum,
    /// It is for another station or group.
    NotForUs,
    /// It carries something that the stack does not speak.
    Protocol,
    /// It is one of several pieces of a packet; they are not put together.
    Fragment,
    /// Nobody can be where it says it is from.
    Spoofed,
    /// There is no room for what it carries: too many connections, or a queue that is not read.
    NoRoom,
    /// What was to be sent has nowhere to go: no route, or a neighbour who does not answer.
    Unreachable,
    /// A connection that was being made had to make room for a newer one, or took too long.
    HalfOpen,
}

impl Reason {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Truncated,
        Self::Malformed,
        Self::Checksum,
        Self::NotForUs,
        Self::Protocol,
        Self::Fragment,
        Self::Spoofed,
        Self::NoRoom,
        Self::Unreachable,
        Self::HalfOpen,
    ];
}

/// How many were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped([u64; Reason::ALL.len()]);

impl Dropped {
    /// For that reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    /// For any.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn count(&mut self, reason: Reason) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}
