//! Throw-away virtual machines with a real Linux kernel, for tests.
//!
//! A file server is right when real clients say so, and durable when a machine that lost its power
//! says so. Both need a kernel of their own: its NFS client mounts, its bonding driver speaks LACP,
//! and its memory can be lost without anybody's harm. This crate makes such machines of Debian
//! packages and QEMU, with nothing else, and boots them in seconds also where the processor can't
//! help.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use holm_guest::{Disk, Guest, Network};
//!
//! # fn main() -> Result<(), holm_guest::Error> {
//! // A client of a server that listens on 127.0.0.1:2049 here.
//! let outcome = Guest::builder()
//!     .script("mount -t nfs -o vers=3,tcp,nolock,port=2049,mountport=2049 host:/ /mnt && ls /mnt")
//!     .run()?
//!     .success()?;
//! println!("{}", outcome.text());
//!
//! // A machine that loses its power, and another one with its disk.
//! let guest = || Guest::builder().disk(Disk::kept("/tmp/disk", 256));
//! let mut first = guest().script("date > /scratch/a; sync; echo synced; sleep infinity").spawn()?;
//! first.wait_for_output("synced", Duration::from_secs(60))?;
//! first.power_loss()?;
//! guest().script("cat /scratch/a").run()?.success()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The pieces
//!
//! - [`Guest::builder`] describes a guest: its script, [`Network`]s, [`Disk`]s, [`Share`]s.
//! - [`CachedDisk`] is a disk that loses what was not flushed when its power fails.
//! - [`Guest`] is one that runs; several can, at once. None outlives this process.
//! - [`Outcome`] is how its script ended; [`Error`] says what went wrong, with the guest's output
//!   and the end of its console.
//! - [`Image`] is what they all boot. It is built at first use, in about a minute, and kept in
//!   `$HOLM_GUEST_CACHE` or below `~/.cache`; a change of its recipe makes another one.
//!
//! # What it takes
//!
//! A Debian machine, x86-64. The packages `qemu-system-x86`, `mmdebstrap`, `squashfs-tools` and
//! `xz-utils` (and `uidmap`, when the image is not built by root) are installed when run as root;
//! otherwise the error says which are missing. Running a guest takes no privilege.
//!
//! | variable | |
//! |---|---|
//! | `HOLM_GUEST_CACHE` | directory of the images |
//! | `HOLM_GUEST_PACKAGES` | more Debian packages for the image, separated by blanks |
//! | `HOLM_GUEST_ACCELERATOR` | `kvm` or `tcg`; by default KVM if a guest boots with it |
//!
//! # In the guest
//!
//! The root file system is the image under a tmpfs: what is written there takes memory and goes
//! with the guest. The script is root, in `/root`; when it ends, everything it started is killed
//! and the disks are unmounted. The host's loopback is `10.0.2.2`, or `host`; there is no route to
//! anywhere else.
//!
//! Inside, `scripts/customize.sh` finishes the image, `scripts/stage1.sh` finds the root disk at
//! boot, and `scripts/init.sh` sets up the rest and runs the script. Output, exit code and input go
//! through virtio ports, each a socket pair shared with QEMU: no file and no socket of a guest is
//! left behind, however it ends.

mod accelerator;
mod builder;
mod cached_disk;
mod devices;
mod error;
mod guest;
mod host;
mod image;
mod kernel;
mod monitor;
mod nbd;
mod payload;
mod process;
mod recipe;
mod streams;

pub use self::{
    builder::{Builder, parse_variable},
    cached_disk::{CachedDisk, PowerLoss},
    devices::{Disk, Network, Share},
    error::{Error, Remains},
    guest::{Guest, Outcome},
    image::Image,
    streams::Output,
};
