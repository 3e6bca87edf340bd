//! Figures of the file system: FSSTAT, FSINFO, PATHCONF (RFC 1813, sections 3.3.18 to 3.3.20).

use super::{Node, Volume};
use crate::{Result, sys};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that are free for users who are not privileged.
    pub available: u64,
    /// Files that the file system has room for.
    pub total_files: u64,
    /// Files that can still be made.
    pub free_files: u64,
    /// Files that can still be made by users who are not privileged.
    pub available_files: u64,
}

/// What names and files can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hard links of a file.
    pub links: u32,
    /// Bytes in a name. Longer ones are refused, not cut off.
    pub name: u32,
    /// Bytes in a file, at most: file systems do not say; some have less.
    pub file: u64,
    /// Whether names that differ in case only are the same.
    pub case_insensitive: bool,
    /// Whether names keep their case.
    pub case_preserving: bool,
    /// Whether only a privileged user can give a file away.
    pub chown_restricted: bool,
    /// Nanoseconds that time stamps are exact to, at best.
    pub time_granularity: u32,
}

impl Volume {
    /// How much room there is where `node` is.
    ///
    /// # Errors
    ///
    /// If the file system does not say.
    pub fn space(&self, node: &Node) -> Result<Space> {
        let stat = rustix::fs::fstatvfs(node.fd())?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space {
            total: bytes(stat.f_blocks),
            free: bytes(stat.f_bfree),
            available: bytes(stat.f_bavail),
            total_files: stat.f_files,
            free_files: stat.f_ffree,
            available_files: stat.f_favail,
        })
    }

    /// What names and files can be where `node` is.
    ///
    /// # Errors
    ///
    /// If the file system does not say.
    pub fn limits(&self, node: &Node) -> Result<Limits> {
        let stat = rustix::fs::fstatfs(node.fd())?;
        let fat = matches!(sys::file_system(node.fd())?, MSDOS | EXFAT);
        Ok(Limits {
            links: sys::link_max(node.fd()).unwrap_or(1),
            name: u32::try_from(stat.f_namelen).unwrap_or(255).min(255),
            file: i64::MAX as u64,
            case_insensitive: fat,
            case_preserving: true,
            chown_restricted: true,
            time_granularity: 1,
        })
    }
}

const EXFAT: u32 = 0x2011_bab0;
const MSDOS: u32 = 0x4d44;
