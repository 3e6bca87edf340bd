//! What state an interface is in, and what its link is like.

use std::fmt;

/// What state an interface is in.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub(crate) u32);

impl Flags {
    /// Somebody wants it to carry frames.
    pub const UP: Self = Self(1);
    /// Its link can.
    pub const RUNNING: Self = Self(2);
    /// It is being destroyed.
    pub const DYING: Self = Self(4);
    /// Somebody looks at its frames.
    pub const TAPPED: Self = Self(8);

    /// Whether all of `flags` are among them.
    #[inline]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::UP, "UP"),
            (Self::RUNNING, "RUNNING"),
            (Self::DYING, "DYING"),
            (Self::TAPPED, "TAPPED"),
        ];
        let mut between = "";
        for (_, name) in names.iter().filter(|(flag, _)| self.has(*flag)) {
            write!(f, "{between}{name}")?;
            between = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

/// What a link is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Media {
    /// Megabits a second; 0 where nobody knows.
    pub speed: u32,
    /// Both ends may send at the same time. LACP uses no other links.
    pub full_duplex: bool,
}

impl Default for Media {
    /// What virtual links say of themselves: 10 Gbit/s, full duplex.
    fn default() -> Self {
        Self { speed: 10_000, full_duplex: true }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duplex = if self.full_duplex { "full" } else { "half" };
        match self.speed {
            0 => write!(f, "unknown speed, {duplex} duplex"),
            speed => write!(f, "{speed} Mbit/s, {duplex} duplex"),
        }
    }
}

/// Whether frames can go by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// They can.
    Up,
    /// Nobody is at the other end.
    Down,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}
