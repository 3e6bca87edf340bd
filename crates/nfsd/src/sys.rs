//! The system calls that need `unsafe`, and the few descriptors that the process keeps for them.

#![allow(unsafe_code)]

use crate::name::NAME_MAX;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::ffi::{CStr, c_int, c_long};
use std::fmt::Write as _;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

type Result<T> = std::result::Result<T, Errno>;

/// The most bytes of a handle that any file system of Linux gives.
pub(crate) const MAX_HANDLE: usize = 128;

/// A kernel handle that can be found again even in another directory's place (Linux 6.13).
pub(crate) const HANDLE_CONNECTABLE: u32 = 0x2;
/// A kernel handle that identifies and need not be opened again (Linux 6.5).
pub(crate) const HANDLE_IDENTIFIER: u32 = 0x200;

/// In the type of a handle: it must be found beneath the directory it is opened with.
pub(crate) const TYPE_CONNECTED: u32 = 0x1_0000;
const TYPE_FLAGS: u32 = 0xffff_0000;

/// A handle as the kernel gives it, without the flags in its type.
#[derive(Clone, Copy)]
pub(crate) struct KernelHandle {
    pub(crate) kind: u32,
    length: usize,
    bytes: [u8; MAX_HANDLE],
}

impl KernelHandle {
    pub(crate) fn new(kind: u32, handle: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_HANDLE];
        bytes.get_mut(..handle.len())?.copy_from_slice(handle);
        Some(Self { kind, length: handle.len(), bytes })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// `struct file_handle` with room for the largest handle.
#[repr(C)]
struct RawHandle {
    length: u32,
    kind: u32,
    bytes: [u8; MAX_HANDLE],
}

/// The kernel's handle of an open object, which may be `O_PATH`.
pub(crate) fn name_to_handle(object: BorrowedFd<'_>, flags: u32) -> Result<KernelHandle> {
    if flags & HANDLE_CONNECTABLE == 0 {
        let handle = name_to_handle_at(object, c"", flags | AtFlags::EMPTY_PATH.bits());
        return handle.map(|(handle, _)| handle);
    }
    // The kernel wants a name for a connectable handle; this one means exactly this descriptor.
    let name = DescriptorName::of(object);
    let flags = flags | libc::AT_SYMLINK_FOLLOW as u32;
    name_to_handle_at(descriptors()?, name.as_c_str(), flags).map(|(handle, _)| handle)
}

/// The kernel's handle of an entry of a directory, and the number of the mount that it is on; of a
/// symbolic link, the link. The name has no `/`.
pub(crate) fn entry_to_handle(
    dir: BorrowedFd<'_>,
    name: &[u8],
    flags: u32,
) -> Result<(KernelHandle, u64)> {
    let mut bytes = [0; NAME_MAX + 1];
    bytes.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
    let name = CStr::from_bytes_until_nul(&bytes).map_err(|_| Errno::NAMETOOLONG)?;
    name_to_handle_at(dir, name, flags)
}

fn name_to_handle_at(dir: BorrowedFd<'_>, name: &CStr, flags: u32) -> Result<(KernelHandle, u64)> {
    let mut handle = RawHandle { length: MAX_HANDLE as u32, kind: 0, bytes: [0; MAX_HANDLE] };
    let mut mount: c_int = 0;
    // SAFETY: `handle` has room for the `length` bytes it announces, `name` ends with NUL, and all
    // pointers are valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            dir.as_raw_fd(),
            name.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags,
        )
    };
    check(result)?;
    let length = usize::try_from(handle.length).ok().filter(|&length| length <= MAX_HANDLE);
    let length = length.ok_or(Errno::OVERFLOW)?;
    let mount = u64::try_from(mount).map_err(|_| Errno::OVERFLOW)?;
    Ok((KernelHandle { kind: handle.kind & !TYPE_FLAGS, length, bytes: handle.bytes }, mount))
}

/// Opens what `handle` names, `O_PATH`, in the mount that `mount` is on.
///
/// With [`TYPE_CONNECTED`] among `demands`, only what lies beneath `mount`.
pub(crate) fn open_by_handle(
    mount: BorrowedFd<'_>,
    handle: &KernelHandle,
    demands: u32,
) -> Result<OwnedFd> {
    let mut raw = RawHandle {
        length: handle.length as u32,
        kind: handle.kind | demands,
        bytes: handle.bytes,
    };
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: `raw` holds the `length` bytes it announces and is valid for the call.
    let result = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), &raw mut raw, flags)
    };
    let descriptor = check(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as c_int) })
}

/// Sets the user that this thread's file accesses are checked as; returns who it was.
pub(crate) fn set_fs_uid(uid: u32) -> u32 {
    // SAFETY: the call takes no pointers and changes only this thread.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// Sets the group that this thread's file accesses are checked as; returns which it was.
pub(crate) fn set_fs_gid(gid: u32) -> u32 {
    // SAFETY: the call takes no pointers and changes only this thread.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}

/// Sets the supplementary groups of this thread, and of no other.
pub(crate) fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the pointer is valid for as many groups as the call is told.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(result).map(drop)
}

/// The supplementary groups of this thread.
pub(crate) fn groups() -> Result<Vec<u32>> {
    // SAFETY: asked for no more than the number of groups, the kernel writes nothing.
    let count = check(unsafe { libc::syscall(libc::SYS_getgroups, 0, 0) })?;
    let mut groups = vec![0u32; count as usize];
    // SAFETY: `groups` has room for the number of groups that the call is told.
    let result = unsafe { libc::syscall(libc::SYS_getgroups, groups.len(), groups.as_mut_ptr()) };
    groups.truncate(check(result)? as usize);
    Ok(groups)
}

/// Changes the mode of an open object, which may be `O_PATH`.
pub(crate) fn change_mode(object: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: the name is a valid C string; the other arguments are numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fchmodat2,
            object.as_raw_fd(),
            c"".as_ptr(),
            mode,
            AtFlags::EMPTY_PATH.bits(),
        )
    };
    match check(result) {
        // Before Linux 6.6, through the name of the descriptor.
        Err(Errno::NOSYS) => {
            let name = DescriptorName::of(object);
            let mode = Mode::from_raw_mode(mode);
            rustix::fs::chmodat(descriptors()?, name.as_c_str(), mode, AtFlags::empty())
        }
        result => result.map(drop),
    }
}

/// Whether the thread's identity may access an open object so; it may be `O_PATH`.
pub(crate) fn check_access(object: BorrowedFd<'_>, access: Access) -> Result<()> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::EACCESS;
    // SAFETY: the name is a valid C string; the other arguments are numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            object.as_raw_fd(),
            c"".as_ptr(),
            access.bits(),
            flags.bits(),
        )
    };
    check(result).map(drop)
}

/// A mount of its own that nobody else sees: of what an open object, which may be `O_PATH`, is in its
/// mount, without set-user-ID and devices. It ends with the last descriptor of it.
pub(crate) fn clone_mount(object: BorrowedFd<'_>, read_only: bool) -> Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the name is a valid C string; the other arguments are numbers.
    let result =
        unsafe { libc::syscall(libc::SYS_open_tree, object.as_raw_fd(), c"".as_ptr(), flags) };
    let descriptor = check(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let clone = unsafe { OwnedFd::from_raw_fd(descriptor as c_int) };
    let read_only = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | read_only,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the name is a valid C string, and `attributes` as large as the call is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            clone.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            mem::size_of::<libc::mount_attr>(),
        )
    };
    check(result)?;
    Ok(clone)
}

/// Whether programs get no rights of their owners in the mount that an open object is in.
pub(crate) fn has_no_set_uid(object: BorrowedFd<'_>) -> Result<bool> {
    Ok(rustix::fs::fstatvfs(object)?.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID))
}

/// How many hard links a file may have in the file system of an open object.
pub(crate) fn link_max(object: BorrowedFd<'_>) -> Option<u32> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::fpathconf(object.as_raw_fd(), libc::_PC_LINK_MAX) };
    u32::try_from(result).ok()
}

/// Opens an `O_PATH` descriptor for use, with the access checks of the thread's identity.
pub(crate) fn reopen(object: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
    let name = DescriptorName::of(object);
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    rustix::fs::openat(descriptors()?, name.as_c_str(), flags, Mode::empty())
}

/// Gives an open object another name.
pub(crate) fn link(object: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let own = DescriptorName::of(object);
    rustix::fs::linkat(descriptors()?, own.as_c_str(), dir, name, AtFlags::SYMLINK_FOLLOW)
}

/// The magic number of the file system that an object is on.
pub(crate) fn file_system(object: BorrowedFd<'_>) -> Result<u32> {
    // As `statfs` gives it, in a type that depends on the machine; the numbers have 32 bits.
    Ok(rustix::fs::fstatfs(object)?.f_type as u32)
}

/// Attributes of an open object, which may be `O_PATH`.
pub(crate) fn statx(object: BorrowedFd<'_>, mask: StatxFlags) -> Result<Statx> {
    rustix::fs::statx(object, c"", AtFlags::EMPTY_PATH, mask)
}

/// Attributes of an entry of a directory, and which mount it is on; of a symbolic link, the link.
pub(crate) fn statx_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

/// The directory in which the process finds its own descriptors by number.
fn descriptors() -> Result<BorrowedFd<'static>> {
    static DESCRIPTORS: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(known) = DESCRIPTORS.get() {
        return Ok(known.as_fd());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, c"/proc/self/fd", flags, Mode::empty())?;
    // Something else mounted there must not get to choose what our descriptors mean.
    if file_system(opened.as_fd())? != PROC {
        return Err(Errno::NOSYS);
    }
    Ok(DESCRIPTORS.get_or_init(|| opened).as_fd())
}

/// The number of a descriptor as a C string.
struct DescriptorName {
    bytes: [u8; 12],
    length: usize,
}

impl DescriptorName {
    fn of(object: BorrowedFd<'_>) -> Self {
        let mut name = Self { bytes: [0; 12], length: 0 };
        // A descriptor has at most ten digits: it fits, and a NUL is left.
        let _ = write!(name, "{}", object.as_raw_fd());
        name
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

impl std::fmt::Write for DescriptorName {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        let free = self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn check(result: c_long) -> Result<c_long> {
    if result >= 0 {
        return Ok(result);
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Err(Errno::from_raw_os_error(errno))
}

const PROC: u32 = 0x9fa0;
const _: () = assert!(mem::size_of::<RawHandle>() == 8 + MAX_HANDLE);
