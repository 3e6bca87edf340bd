//! Requests: what an interface can be asked and told.

use crate::aggregation::{LaggRequest, LaggStatus};
use crate::cidr::Cidr;
use crate::counters::CounterValues;
use crate::ether::{MTU_MAX, MTU_MIN, MacAddress};
use crate::flags::{Flags, Media};
use crate::name::IfName;
use rustix::io::Errno;

/// What an interface can be asked or told, as ioctls are. What [changes](Self::is_change) its
/// configuration is done under the lock of its namespace; a question takes no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Asks for [`Reply::Flags`].
    Flags,
    /// Asks for [`Reply::Mtu`].
    Mtu,
    /// Asks for [`Reply::Mac`].
    Mac,
    /// Asks for [`Reply::Media`].
    Media,
    /// Asks for [`Reply::Counters`].
    Counters,
    /// Asks for [`Reply::Addresses`].
    Addresses,
    /// Puts it up, or down.
    SetUp(bool),
    /// Another MTU, of 576 to 65,521 bytes.
    SetMtu(usize),
    /// Another MAC address, of a station.
    SetMac(MacAddress),
    /// What the link is said to be.
    SetMedia(Media),
    /// One more address.
    AddAddress(Cidr),
    /// One address less.
    RemoveAddress(Cidr),
    /// Another name.
    Rename(IfName),
    /// What only a lagg understands.
    Lagg(LaggRequest),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done,
    /// The flags.
    Flags(Flags),
    /// The MTU, in bytes.
    Mtu(usize),
    /// The MAC address.
    Mac(MacAddress),
    /// What the link is like.
    Media(Media),
    /// What was counted.
    Counters(Box<CounterValues>),
    /// The addresses, in the order in which they came.
    Addresses(Vec<Cidr>),
    /// How the lagg is and its ports.
    Lagg(Box<LaggStatus>),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is none, or it is being destroyed.
    #[error("there is no interface {0}: none of this name exists, or it is being destroyed")]
    NoInterface(IfName),
    /// Its kind does not know the request.
    #[error("interface {name} is of kind {kind}, which does not know this request")]
    NotSupported {
        /// Which interface.
        name: IfName,
        /// Its kind.
        kind: &'static str,
    },
    /// What was asked for can't be.
    #[error("interface {name}: {why}")]
    Invalid {
        /// Which interface.
        name: IfName,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// It is there already.
    #[error("interface {name}: {what} exists already")]
    Exists {
        /// Which interface.
        name: IfName,
        /// What.
        what: String,
    },
    /// It is not there.
    #[error("interface {name}: there is no {what}")]
    NotFound {
        /// Which interface.
        name: IfName,
        /// What.
        what: String,
    },
    /// Something stands in the way.
    #[error("interface {name} is in use: {why}")]
    Busy {
        /// Which interface.
        name: IfName,
        /// By what, and what to do about it.
        why: String,
    },
    /// The driver could not do it.
    #[error("interface {name}: {why}")]
    Failed {
        /// Which interface.
        name: IfName,
        /// What the system said, of what.
        why: String,
    },
}

impl Request {
    /// Whether it changes the configuration.
    pub fn is_change(&self) -> bool {
        match self {
            Self::Flags
            | Self::Mtu
            | Self::Mac
            | Self::Media
            | Self::Counters
            | Self::Addresses => false,
            Self::SetUp(_)
            | Self::SetMtu(_)
            | Self::SetMac(_)
            | Self::SetMedia(_)
            | Self::AddAddress(_)
            | Self::RemoveAddress(_)
            | Self::Rename(_) => true,
            Self::Lagg(request) => request.is_change(),
        }
    }

    /// Whether what it asks for can be at all.
    pub(crate) fn check(&self, name: IfName) -> Result<(), RequestError> {
        match self {
            Self::SetMtu(mtu) => check_mtu(*mtu),
            Self::SetMac(mac) => check_mac(*mac),
            _ => Ok(()),
        }
        .map_err(|why| RequestError::Invalid { name, why })
    }
}

impl RequestError {
    /// What the system would call it.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoInterface(_) => Errno::NXIO,
            Self::NotSupported { .. } => Errno::OPNOTSUPP,
            Self::Invalid { .. } => Errno::INVAL,
            Self::Exists { .. } => Errno::EXIST,
            Self::NotFound { .. } => Errno::NOENT,
            Self::Busy { .. } => Errno::BUSY,
            Self::Failed { .. } => Errno::IO,
        }
    }
}

pub(crate) fn check_mtu(mtu: usize) -> Result<(), String> {
    if (MTU_MIN..=MTU_MAX).contains(&mtu) {
        return Ok(());
    }
    Err(format!("an MTU of {mtu} bytes can't be: it is {MTU_MIN} to {MTU_MAX}"))
}

pub(crate) fn check_mac(mac: MacAddress) -> Result<(), String> {
    if mac.is_station() {
        return Ok(());
    }
    Err(format!("{mac} can't be its MAC address: it names a group or nobody"))
}
