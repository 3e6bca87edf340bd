//! What an image is made of. Everything that decides what is in it is in the recipe's text; an
//! image is kept under a name derived from that text, so another recipe is another image.

use std::env;

use crate::{Error, host};

/// Packages of the root file system.
const PACKAGES: &[&str] = &[
    // the system
    "busybox-static",
    "kmod",
    "iproute2",
    "iputils-ping",
    "netbase",
    "procps",
    "psmisc",
    "ethtool",
    // NFS, both sides
    "nfs-common",
    "nfs-kernel-server",
    "rpcbind",
    "nfs4-acl-tools",
    // looking at things
    "tcpdump",
    "strace",
    "lsof",
    "attr",
    "acl",
    // networks
    "nftables",
    "iperf3",
    "ncat",
    // file systems
    "e2fsprogs",
    "xfsprogs",
    "btrfs-progs",
    "fuse3",
    // work for a file system
    "fio",
    "dbench",
    "fsmark",
    "git",
    "gcc",
    "libc6-dev",
    "make",
    "python3-minimal",
    "sqlite3",
];

/// Kernel modules that are kept, as paths below `kernel/`: what no virtual machine can have stays
/// out.
const MODULES: &[&str] = &[
    "arch",
    "crypto",
    "fs",
    "lib",
    "net",
    "drivers/block",
    "drivers/char",
    "drivers/crypto",
    "drivers/firmware",
    "drivers/md",
    "drivers/virtio",
    "drivers/net/bonding",
    "drivers/net/team",
    "drivers/net/ipvlan",
    "drivers/net/vxlan",
    "drivers/net/netdevsim",
    "drivers/net/dummy.ko",
    "drivers/net/ifb.ko",
    "drivers/net/macvlan.ko",
    "drivers/net/macvtap.ko",
    "drivers/net/mii.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/nlmon.ko",
    "drivers/net/tap.ko",
    "drivers/net/tun.ko",
    "drivers/net/veth.ko",
    "drivers/net/virtio_net.ko",
    "drivers/net/vrf.ko",
];

/// Modules that every guest needs, loaded before there is a root.
const BOOT_MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "squashfs", "overlay", "virtio_console", "virtio_net"];

const CUSTOMIZE: &str = include_str!("../scripts/customize.sh");
const STAGE1: &str = include_str!("../scripts/stage1.sh");

/// How mmdebstrap is called, apart from names of files.
pub(crate) const MMDEBSTRAP_OPTIONS: &[&str] = &[
    "--quiet",
    "--variant=minbase",
    "--format=tar",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
];

/// How sqfstar is called: a guest reads its root through an emulated processor, which makes
/// unpacking dear, and the host has the file in its page cache.
pub(crate) const SQFSTAR_OPTIONS: &[&str] =
    &["-noI", "-noId", "-noD", "-noF", "-noX", "-no-fragments", "-quiet"];

/// What an image is made of.
pub(crate) struct Recipe {
    packages: Vec<String>,
    /// The script that runs on the finished root file system.
    pub(crate) customize: String,
    release: String,
}

impl Recipe {
    /// The recipe for this machine: its Debian release, and the packages that `HOLM_GUEST_PACKAGES`
    /// adds.
    pub(crate) fn new() -> Result<Self, Error> {
        let added = env::var("HOLM_GUEST_PACKAGES").unwrap_or_default();
        let packages = PACKAGES.iter().copied().chain(added.split_whitespace());
        let customize = format!(
            "modules={}\nboot_modules={}\nstage1={}\n{CUSTOMIZE}",
            quote(&MODULES.join(" ")),
            quote(&BOOT_MODULES.join(" ")),
            quote(STAGE1),
        );
        let packages = packages.map(str::to_owned).collect();
        Ok(Self { packages, customize, release: host::release()? })
    }

    /// The packages, as mmdebstrap takes them.
    pub(crate) fn packages(&self) -> String {
        self.packages.join(",")
    }

    /// All that decides what is in the image.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.release.clone(), self.packages()];
        lines.extend(MMDEBSTRAP_OPTIONS.iter().map(|&option| option.into()));
        lines.extend(SQFSTAR_OPTIONS.iter().map(|&option| option.into()));
        lines.push(self.customize.clone());
        lines.join("\n")
    }

    /// The name of its image: the FNV-1a hash of the text. An image carries its recipe, so two
    /// recipes of one name would be noticed.
    pub(crate) fn name(&self) -> String {
        let hash = self.text().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{}-{hash:016x}", self.release)
    }
}

/// The text as one word of a shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_quoted_text_is_one_word_of_a_shell() {
        for text in ["", "a b", "it's", "$HOME `id` \"x\" \\", "two\nlines\n", "'"] {
            let output = Command::new("sh")
                .args(["-c", &format!("printf '%s' {}", quote(text))])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }

    #[test]
    fn another_recipe_has_another_name() {
        let recipe = |packages: &[&str]| Recipe {
            packages: packages.iter().map(|&package| package.into()).collect(),
            customize: String::new(),
            release: "bookworm".into(),
        };
        assert_ne!(recipe(&["git"]).name(), recipe(&["git", "fio"]).name());
        assert_eq!(recipe(&["git"]).name(), recipe(&["git"]).name());
    }
}
