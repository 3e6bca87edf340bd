//! Who is at the other end of a unix socket, by the kernel's word.
#![allow(unsafe_code)]

use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};

/// Who had connected, at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// None if it is in a pid namespace that we don't see.
    pub(super) pid: Option<i32>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Beside that.
    pub(super) groups: Vec<u32>,
}

/// The credentials that the process at the other end had when it connected: `SO_PEERCRED` of unix(7), and
/// `SO_PEERGROUPS`.
///
/// # Errors
///
/// The system's, and that there are more groups than there can be.
pub(super) fn credentials(socket: impl AsFd) -> Result<Credentials, Errno> {
    let ucred = option::<libc::ucred>(&socket, libc::SO_PEERCRED, 1)?;
    let ucred = ucred.first().ok_or(Errno::INVAL)?;
    Ok(Credentials {
        // Zero: it has none here.
        pid: (ucred.pid > 0).then_some(ucred.pid),
        uid: ucred.uid,
        gid: ucred.gid,
        groups: groups(&socket)?,
    })
}

fn groups(socket: &impl AsFd) -> Result<Vec<u32>, Errno> {
    match option::<libc::gid_t>(socket, libc::SO_PEERGROUPS, FEW_GROUPS) {
        Err(Errno::RANGE) => option(socket, libc::SO_PEERGROUPS, MOST_GROUPS),
        found => found,
    }
}

/// Plain numbers that the kernel fills in, of which every pattern of bits is one.
trait Plain: Copy {}
impl Plain for libc::ucred {}
impl Plain for libc::gid_t {}

/// As many values of an option as there are, `most` at most.
fn option<T: Plain>(socket: &impl AsFd, name: libc::c_int, most: usize) -> Result<Vec<T>, Errno> {
    let mut values: Vec<T> = Vec::with_capacity(most);
    let space: &mut [MaybeUninit<T>] = values.spare_capacity_mut();
    let mut length = libc::socklen_t::try_from(size_of_val(space)).map_err(|_| Errno::INVAL)?;
    let room = length;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes no more than `length`
    // bytes to `space`, of which there are that many.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            space.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    let count = length.min(room) as usize / size_of::<T>();
    // SAFETY: the kernel has filled in the first `length` bytes, so that many values, which is no more
    // than there was room for; and all patterns of bits are values.
    unsafe { values.set_len(count) };
    Ok(values)
}

const FEW_GROUPS: usize = 32;
/// `NGROUPS_MAX` of limits.h(0).
const MOST_GROUPS: usize = 65536;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_process_knows_itself() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut found = credentials(&one).unwrap();
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        found.groups.sort_unstable();
        groups.sort_unstable();
        let expected = Credentials {
            pid: Some(rustix::process::getpid().as_raw_nonzero().get()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn many_groups_are_all_found() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let all: Vec<u32> = (1000..1000 + FEW_GROUPS as u32 + 100).collect();
        let found = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let groups: Vec<_> =
                    all.iter().map(|group| rustix::process::Gid::from_raw(*group)).collect();
                // Of this thread alone.
                rustix::thread::set_thread_groups(&groups).unwrap();
                let (one, _other) = UnixStream::pair().unwrap();
                credentials(&one).unwrap().groups
            });
            thread.join().unwrap()
        });
        assert_eq!(found, all);
    }
}
