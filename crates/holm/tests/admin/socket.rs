//! The admin socket is for its owner alone, replaces what is dead, and nothing that lives.

use holm::admin::{Socket, socket::Why};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("holm/admin.sock")
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("exists").permissions().mode() & 0o7777
}

fn why(path: &Path) -> Why {
    Socket::bind(path).expect_err("refused").why
}

#[test]
fn it_is_for_its_owner_alone_and_goes_with_it() {
    let folder = Folder::new();
    let socket = Socket::bind(&folder.socket()).expect("bound");
    assert_eq!(mode(&folder.socket()), 0o600);
    assert_eq!(mode(folder.socket().parent().expect("a folder")), 0o711, "none can list it");
    UnixStream::connect(folder.socket()).expect("somebody listens");
    drop(socket);
    assert_eq!(
        fs::symlink_metadata(folder.socket()).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn what_is_left_of_a_dead_server_is_replaced() {
    let folder = Folder::new();
    fs::create_dir(folder.socket().parent().expect("a folder")).expect("made");
    drop(UnixListener::bind(folder.socket()).expect("bound"));
    UnixStream::connect(folder.socket()).expect_err("nobody listens");
    let _socket = Socket::bind(&folder.socket()).expect("bound");
    UnixStream::connect(folder.socket()).expect("somebody listens");
}

#[test]
fn a_server_that_answers_is_not_replaced() {
    let folder = Folder::new();
    let _socket = Socket::bind(&folder.socket()).expect("bound");
    let before = fs::symlink_metadata(folder.socket()).expect("exists").ino();
    assert!(matches!(why(&folder.socket()), Why::InUse));
    assert_eq!(fs::symlink_metadata(folder.socket()).expect("exists").ino(), before);
    UnixStream::connect(folder.socket()).expect("it still listens");
}

#[test]
fn of_many_at_once_one_gets_it() {
    let folder = Folder::new();
    fs::create_dir(folder.socket().parent().expect("a folder")).expect("made");
    for _ in 0..20 {
        drop(UnixListener::bind(folder.socket()).expect("bound"));
        let sockets: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Socket::bind(&folder.socket()))).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!(sockets.iter().filter(|socket| socket.is_ok()).count(), 1);
        UnixStream::connect(folder.socket()).expect("it listens");
    }
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    let path = folder.0.path().join("file");
    fs::write(&path, "kept").expect("written");
    assert!(matches!(why(&path), Why::NotASocket));
    assert_eq!(fs::read_to_string(&path).expect("still there"), "kept");
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let folder = Folder::new();
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o777)).expect("set");
    let path = folder.0.path().join("admin.sock");
    assert!(matches!(why(&path), Why::SharedFolder(_)));
    // Unless nobody may rename what is another's.
    fs::set_permissions(folder.0.path(), fs::Permissions::from_mode(0o1777)).expect("set");
    Socket::bind(&path).expect("bound");
}

#[test]
fn the_socket_of_a_successor_is_left_alone() {
    let folder = Folder::new();
    let first = Socket::bind(&folder.socket()).expect("bound");
    fs::remove_file(folder.socket()).expect("removed");
    let _second = Socket::bind(&folder.socket()).expect("bound");
    drop(first);
    UnixStream::connect(folder.socket()).expect("the second still listens");
}

#[test]
fn a_path_that_is_too_long_is_refused_in_words() {
    let folder = Folder::new();
    assert!(matches!(why(&folder.0.path().join("s".repeat(120))), Why::TooLong));
}
