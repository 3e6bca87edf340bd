//! Clients that were not made for this server: the tools of libnfs, and Linux in a guest.

use crate::wire::*;
use crate::world::{Scratch, as_ordinary_user, as_root, run};
use holm_nfsd::beneath::Mounts;
use holm_nfsd::export::ExportOptions;
use holm_nfsd::handle::StoreKind;
use holm_nfsd::service::{Context, Inline, Peer, Service, Transport};
use holm_sunrpc::{Connection, Limits, Step};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A service over TCP, for as long as the test runs.
struct Tcp {
    port: u16,
}

impl Tcp {
    /// Listens with one thread per connection: it is a test.
    fn serve(service: &Arc<Service>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, service) = (stream.unwrap(), service.clone());
                std::thread::spawn(move || serve(stream, &service));
            }
        });
        Self { port }
    }

    fn url(&self, path: &str) -> String {
        let port = self.port;
        format!("nfs://127.0.0.1{path}?version=3&nfsport={port}&mountport={port}")
    }

    fn url_as(&self, path: &str, user: u32) -> String {
        format!("{}&uid={user}&gid={user}", self.url(path))
    }
}

fn serve(mut stream: TcpStream, service: &Arc<Service>) {
    let programs = holm_nfsd::programs::<Inline>();
    let mut context = Context::new(privileges(), Inline).unwrap();
    let (from, local) = (stream.peer_addr().unwrap(), stream.local_addr().unwrap());
    let peer = Peer::new(Transport::Tcp, from, local);
    let mut connection = Connection::new(Limits::default());
    loop {
        match stream.read(connection.space()) {
            Ok(0) | Err(_) => return,
            Ok(count) => connection.received(count),
        }
        loop {
            let step = context
                .attend(service, peer, |context| connection.serve(&programs, context, 64))
                .unwrap();
            stream.write_all(connection.unsent()).unwrap();
            connection.sent(connection.unsent().len());
            if step == Step::Receive {
                break;
            }
        }
    }
}

fn need_tools() {
    if Command::new("nfs-ls").output().is_ok() {
        return;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs the package libnfs-utils; as root it installs it"
    );
    static INSTALL: std::sync::Once = std::sync::Once::new();
    INSTALL.call_once(|| {
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
            apt.output().is_ok_and(|output| output.status.success())
        };
        let install = ["install", "-y", "-q", "libnfs-utils"];
        let installed = apt(&install) || (apt(&["update", "-q"]) && apt(&install));
        assert!(installed, "the package libnfs-utils cannot be installed");
    });
}

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

fn refused(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let failed = !output.status.success() || said.contains("NFS3ERR") || said.contains("MNT3ERR");
    assert!(failed, "{program} {arguments:?} did it: {said}");
    said
}

/// Files of all sizes around what clients and servers have limits at.
fn make_tree(directory: &Path) {
    let mut state = 0x1234_5678_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(byte).collect()
    };
    let sizes = [0, 1, 3, 4, 5, 4095, 4096, 4097, 65_536, (1 << 20) - 1, 1 << 20, (3 << 20) + 17];
    for dir in ["", "a", "a/b", "a/b/c"] {
        fs::create_dir_all(directory.join(dir)).unwrap();
        for size in sizes {
            let name = format!("file of {size}");
            fs::write(directory.join(dir).join(name), noise(size)).unwrap();
        }
    }
    for number in 0..300 {
        fs::write(directory.join(format!("a/many {number:04}")), number.to_string()).unwrap();
    }
}

/// Paths and contents of all files.
fn tree(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory_) = left.pop() {
        for entry in fs::read_dir(directory_).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

/// What libnfs mounts is what comes before the last `/`, which has to leave something.
fn path_of(name: &str) -> String {
    if name.contains('/') { format!("/{name}") } else { format!("//{name}") }
}

/// Copies a tree in and out again and compares every byte, and what is listed.
fn copies(options: ExportOptions, kind: StoreKind) {
    let scratch = Scratch::new();
    let (source, back) = (scratch.path().join("source"), scratch.path().join("back"));
    make_tree(&source);
    let export = options.directory.clone();
    let service = service(vec![options]);
    assert_eq!(service.exports().exports()[0].volume().store().kind(), kind);
    let tcp = Tcp::serve(&service);

    fs::create_dir_all(back.join("a/b/c")).unwrap();
    fs::create_dir_all(export.join("a/b/c")).unwrap();
    let files = tree(&source);
    for name in files.keys() {
        let local = source.join(name);
        output("nfs-cp", &[local.to_str().unwrap(), &tcp.url(&path_of(name))]);
    }
    assert!(tree(&export) == files, "copied in");
    for (index, (name, content)) in files.iter().enumerate() {
        let url = tcp.url(&path_of(name));
        if index % 2 == 0 {
            assert!(output("nfs-cat", &[&url]) == *content, "{name}");
            fs::write(back.join(name), content).unwrap();
        } else {
            output("nfs-cp", &[&url, back.join(name).to_str().unwrap()]);
        }
    }
    assert!(tree(&back) == files, "copied out");

    let listed = String::from_utf8(output("nfs-ls", &["-R", &tcp.url("/")])).unwrap();
    for name in files.keys() {
        let name = name.rsplit('/').next().unwrap();
        assert!(listed.contains(name), "{name} in {listed}");
    }
    assert!(listed.lines().count() >= files.len() + 3);
    let size = |name: &str| {
        let line = listed.lines().find(|line| line.ends_with(name)).unwrap();
        line.split_whitespace().any(|field| field == "65536")
    };
    assert!(size("file of 65536"), "{listed}");
}

#[test]
fn libnfs_copies_a_tree_in_and_out_by_kernel_handles() {
    as_root(|| {
        need_tools();
        let scratch = Scratch::new();
        copies(trusting(scratch.path()), StoreKind::Kernel);
    });
}

#[test]
fn libnfs_copies_a_tree_in_and_out_by_paths() {
    as_root(|| {
        need_tools();
        let scratch = Scratch::new();
        let mut options = trusting(scratch.path());
        options.mounts = Mounts::Crossed;
        copies(options, StoreKind::Path);
    });
}

#[test]
fn libnfs_copies_a_tree_in_and_out_of_an_ordinary_users_server() {
    if rustix::process::geteuid().is_root() {
        need_tools();
    }
    as_ordinary_user(|| {
        need_tools();
        let scratch = Scratch::new();
        copies(trusting(scratch.path()), StoreKind::Path);
    });
}

#[test]
fn libnfs_is_refused_what_it_may_not() {
    as_root(|| {
        need_tools();
        let (scratch, local) = (Scratch::new(), Scratch::new());
        let mut options = ExportOptions::new("/data".parse().unwrap(), scratch.path());
        options.privileged_port = true;
        let tcp = Tcp::serve(&service(vec![options]));
        fs::write(scratch.path().join("file"), "content").unwrap();
        run("chmod", &["600", scratch.path().join("file").to_str().unwrap()]);
        let copy = local.path().join("copy");
        fs::write(&copy, "copy").unwrap();
        let copy = copy.to_str().unwrap();

        refused("nfs-cat", &[&tcp.url("/data/file")]);
        refused("nfs-cat", &[&tcp.url_as("/data/file", 1001)]);
        refused("nfs-cp", &[copy, &tcp.url_as("/data/file", 1001)]);
        refused("nfs-ls", &[&tcp.url("/other/")]);
        refused("nfs-cat", &[&tcp.url("/data/../file")]);
        output("nfs-cp", &[copy, &tcp.url_as("/data/mine", 1001)]);
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(scratch.path().join("mine")).unwrap().uid(), 1001);
        output("nfs-cp", &[copy, &tcp.url("/data/nobodys")]);
        assert_eq!(fs::metadata(scratch.path().join("nobodys")).unwrap().uid(), 65534);
        assert_eq!(fs::read(scratch.path().join("file")).unwrap(), b"content");
    });
}

#[test]
fn linux_works_in_a_mounted_tree_and_finds_what_it_left() {
    as_root(|| {
        let scratch = Scratch::new();
        let tcp = Tcp::serve(&service(vec![trusting(scratch.path())]));
        let outcome = holm_guest::Guest::builder()
            .module("nfs")
            .variable("PORT", tcp.port.to_string())
            .script(GUEST_SCRIPT)
            .run()
            .unwrap()
            .success()
            .unwrap();
        let told = outcome.text();
        let sums = told.split_once("SUMS\n").expect(&told).1;
        fs::write(scratch.path().join("SUMS"), sums).unwrap();
        let check = Command::new("sha256sum")
            .args(["-c", "--quiet", "SUMS"])
            .current_dir(scratch.path())
            .output()
            .unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        assert!(sums.lines().count() > 300, "{told}");
        run(
            "git",
            &[
                "-c",
                "safe.directory=*",
                "-C",
                scratch.path().join("clone").to_str().unwrap(),
                "fsck",
                "--full",
            ],
        );
    });
}

const GUEST_SCRIPT: &str = r#"set -eu
mount -t nfs -o vers=3,tcp,nolock,port=$PORT,mountport=$PORT,mountproto=tcp host:/ /mnt
cd /mnt
grep -q "vers=3" /proc/mounts

# A repository, and work in it.
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q origin
cd origin
mkdir -p src/deep/er
for i in $(seq 150); do echo "line $i" > src/file$i; done
cp -r /etc/ssl /etc/apt src/deep/er/ 2>/dev/null || true
find src -type d -empty -delete
git add -A && git commit -qm first
git checkout -qb side
for i in $(seq 1 2 150); do echo more >> src/file$i; done
git mv src/deep src/moved
git commit -qam second
git checkout -q - && git merge -q --no-edit side
cd ..
git clone -q origin clone
git -C clone fsck --full
diff -r --exclude=.git origin clone

# Files while they are open, links, modes, times, holes, special files.
exec 3> open && echo before >&3 && rm open && echo after >&3 && exec 3>&-
test ! -e open
ln origin/src/file1 hard && ln -s origin/src/file2 soft
test "$(stat -c %h hard)" = 2 && test "$(cat soft)" = "$(cat origin/src/file2)"
install -m 0444 /etc/hostname readonly && test "$(stat -c %a readonly)" = 444
touch -d "2001-02-03 04:05:06.789" readonly
test "$(stat -c %Y readonly)" = 981173106
dd if=/dev/urandom of=sparse bs=4096 seek=1500000 count=3 status=none conv=fsync
test "$(stat -c %s sparse)" = 6144012288
truncate -s 10 sparse && test "$(stat -c %s sparse)" = 10
mkfifo fifo && test -p fifo && rm fifo
mknod null c 1 3 && echo x > null && rm null
dd if=/dev/urandom of=big bs=1M count=40 status=none
dd if=big of=copy bs=64k oflag=dsync status=none count=20
cmp -n 1310720 big copy
mkdir many && (cd many && for i in $(seq 1200); do : > f$i; done)
test "$(ls many | wc -l)" = 1200
rm -r many
mkdir -m 2775 group && chgrp 50 group && mkdir group/in && test "$(stat -c %g group/in)" = 50
echo x > mine && chmod 4755 mine && chown 1000 mine && test "$(stat -c %a mine)" = 755

# By several at once, with renames over each other.
for w in 1 2 3 4; do
  (for i in $(seq 30); do echo $w $i > t.$w; mv -f t.$w target; cat target > /dev/null || true; done) &
done
wait
echo 3 > /proc/sys/vm/drop_caches
cd / && umount /mnt
mount -t nfs -o vers=3,tcp,nolock,port=$PORT,mountport=$PORT,mountproto=tcp host:/ /mnt
cd /mnt
cat readonly > /dev/null
echo SUMS
find . -type f ! -path './origin/.git/*' -print0 | xargs -0 sha256sum
"#;
