//! What is answered is on the disk; a file system that is shut down without a last flush shows it.

use crate::world::*;
use holm_nfsd::attributes::{SetAttributes, SetTime, Time};
use holm_nfsd::identity::Caller;
use holm_nfsd::volume::{Access, Create, Durability, Node, Options, Stability, Volume};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

/// Stops the file system as a power failure would: what is not on the disk is gone.
fn fail_power(disk: &Disk) {
    stop(disk);
    disk.remount();
}

/// From here on nothing comes to the disk.
pub fn stop(disk: &Disk) {
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let without_flush: u32 = 2;
    let directory = fs::File::open(disk.mount_point()).unwrap();
    // SAFETY: the request reads a number through a pointer that is valid for the call.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN, &raw const without_flush) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Lets `work` happen in a tree that is on the disk, and fails the power.
fn after_power_failure(options: Options, work: impl FnOnce(&Volume, &Caller<'_>, &Node)) -> Disk {
    let disk = Disk::new(Kind::Ext4);
    let file = disk.export().join("old");
    fs::write(&file, "old").unwrap();
    fs::create_dir(disk.export().join("dir")).unwrap();
    rustix::fs::syncfs(fs::File::open(&file).unwrap()).unwrap();
    let volume = serve(&disk.export(), memory(), options).volume;
    acting_as(1001, |caller| work(&volume, caller, &volume.root().unwrap()));
    drop(volume);
    fail_power(&disk);
    disk
}

fn change_everything(volume: &Volume, caller: &Caller<'_>, root: &Node) {
    let change = SetAttributes {
        modified: SetTime::Client(Time { seconds: 77, nanoseconds: 0 }),
        ..mode(0o640)
    };
    let dir = volume.new_directory(caller, root, "made").unwrap();
    volume.create(caller, &dir, name("file"), &Create::Guarded(change)).unwrap();
    volume.create(caller, root, name("exclusive"), &Create::Exclusive([1; 8])).unwrap();
    volume.make_symlink(caller, root, name("link"), b"target", &mode(0o777)).unwrap();
    let renamed = volume.new_file(caller, root, "before").unwrap().node;
    volume.rename(caller, (root, name("before")), (&dir, name("after"))).unwrap();
    volume.set_attributes(caller, &renamed, &change, None).unwrap();
    volume.link(caller, &renamed, root, name("linked")).unwrap();
    volume.remove(caller, root, name("old")).unwrap();
    volume.remove_directory(caller, root, name("dir")).unwrap();
}

#[test]
fn changes_of_directories_and_attributes_survive_a_power_failure() {
    as_root(|| {
        let disk = after_power_failure(Options::default(), change_everything);
        let find = |path: &str| fs::symlink_metadata(disk.export().join(path));
        for path in ["made/file", "made/after", "linked"] {
            let found = find(path).unwrap();
            assert_eq!((found.mode() & 0o7777, found.mtime()), (0o640, 77), "{path}");
        }
        assert_eq!(find("linked").unwrap().ino(), find("made/after").unwrap().ino());
        assert!(find("link").is_ok() && find("before").is_err());
        assert!(find("old").is_err() && find("dir").is_err());
        // The client asks again whether its file was made.
        let volume = volume(&disk.export());
        acting_as(1001, |caller| {
            let root = volume.root().unwrap();
            let again = Create::Exclusive([1; 8]);
            assert!(volume.create(caller, &root, name("exclusive"), &again).is_ok());
        });
    });
}

#[test]
fn without_durability_they_do_not() {
    as_root(|| {
        let durability = Durability::LostOnPowerFailure;
        let options = Options { durability, ..Default::default() };
        let disk = after_power_failure(options, change_everything);
        let find = |path: &str| fs::symlink_metadata(disk.export().join(path));
        assert!(find("old").is_ok() && find("dir").is_ok(), "or the other test proves nothing");
        assert!(find("made").is_err() && find("exclusive").is_err() && find("link").is_err());
    });
}

#[test]
fn data_survives_as_was_asked() {
    as_root(|| {
        let disk = after_power_failure(Options::default(), |volume, caller, root| {
            let write = |file: &str, stability| {
                let made = volume.new_file(caller, root, file).unwrap();
                let open = volume.open_file(caller, &made.node, Access::Write).unwrap();
                assert_eq!(open.write_at(caller, b"data", 9000, stability), Ok(4));
                open
            };
            write("file-sync", Stability::FileSync);
            write("data-sync", Stability::DataSync);
            write("committed", Stability::Unstable).commit().unwrap();
            write("unstable", Stability::Unstable);
        });
        let read = |file: &str| fs::read(disk.export().join(file)).unwrap();
        for file in ["file-sync", "data-sync", "committed"] {
            assert_eq!(read(file).len(), 9004, "{file}");
            assert_eq!(&read(file)[9000..], b"data", "{file}");
        }
        assert_eq!(read("unstable"), b"", "or the test proves nothing");
    });
}
