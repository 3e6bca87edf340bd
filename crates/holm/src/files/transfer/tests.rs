//! Copies between directories of this machine: what is interrupted, what is left out, what is refused.

use super::local::LocalDirectory;
use super::names::{Names, marker};
use super::record::Record;
use super::side::{Directory, Facts};
use super::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::TempDir;

#[derive(Default)]
struct Looker {
    failed: Mutex<Vec<String>>,
    found: AtomicU64,
    moved: AtomicU64,
}

impl Watch for Looker {
    fn found(&self, _: u64, bytes: u64) {
        add(&self.found, bytes);
    }

    fn moved(&self, bytes: u64) {
        add(&self.moved, bytes);
    }

    fn failed(&self, trouble: &Trouble) {
        self.failed.lock().unwrap().push(trouble.to_string());
    }
}

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("to")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn directory(&self, name: &str) -> Arc<dyn Directory> {
        LocalDirectory::open(&self.path(name)).unwrap()
    }

    fn facts(&self, name: &str) -> Facts {
        self.directory("").look(OsStr::new(name)).unwrap().unwrap()
    }

    /// A file with data in pieces that are far from each other.
    fn large(&self, name: &str) -> Vec<u8> {
        let mut content = vec![0; 40 << 20];
        for (number, piece) in content.chunks_mut(4 << 20).enumerate() {
            piece[8192..200_000].fill(number as u8 + 1);
        }
        let file = fs::File::create(self.path(name)).unwrap();
        file.set_len(content.len() as u64).unwrap();
        for start in (0..content.len()).step_by(4 << 20) {
            let data = start + 8192..start + 200_000;
            file.write_all_at(&content[data.clone()], data.start as u64).unwrap();
        }
        content
    }

    /// `name` into the directory `to`.
    fn copy(&self, name: &str, again: bool) -> (Summary, Looker) {
        let source = Spot { directory: self.directory(""), name: Some(name.into()) };
        let target = Spot { directory: self.directory("to"), name: Some(name.into()) };
        let options = Options { recursive: true, owner: false, again, files: 4, pieces: 3 };
        let looker = Looker::default();
        let summary = copy(&[Item { source, target, into: true }], options, &looker);
        (summary, looker)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn holes_stay_holes_and_all_is_counted() {
    let world = World::new();
    let content = world.large("file");
    let (summary, looker) = world.copy("file", false);
    let data = 10 * (200_000 - 8192);
    assert_eq!((summary.copied, summary.failed), (1, 0));
    assert!((data..=data + 10 * 4096).contains(&summary.bytes), "{summary:?}");
    assert!(fs::read(world.path("to/file")).unwrap() == content);
    assert!(blocks(&world.path("to/file")) <= blocks(&world.path("file")) + (1 << 20));
    assert_eq!(looker.found.into_inner(), looker.moved.into_inner());
    assert_eq!(world.names("to"), ["file"]);
    // Zeros that the source has written are no data, either.
    fs::write(world.path("zeros"), vec![0; 8 << 20]).unwrap();
    assert_eq!(world.copy("zeros", false).0.bytes, 0);
    assert_eq!(fs::read(world.path("to/zeros")).unwrap(), vec![0; 8 << 20]);
}

/// What an interrupted copy has left: a part, and a record that says so many bytes of it are durable.
fn leave(world: &World, name: &str, part: &[u8], durable: u64, token: Option<&str>) {
    let facts = world.facts(name);
    let names = Names::new(&facts, OsStr::new(name));
    let to = world.directory("to");
    let file = to.own(&names.part).unwrap();
    file.write_at(part, 0).unwrap();
    let own = file.token().unwrap();
    let record = to.own(&names.record).unwrap();
    let mut record = Record::open(record, token.unwrap_or(&own), facts.size).unwrap();
    record.note(durable).unwrap();
}

#[test]
fn a_copy_goes_on_where_its_record_says() {
    let world = World::new();
    let mut content = world.large("file");
    let durable = 10 << 20;
    // Something else, so that it shows that it was left alone.
    let part = vec![0xaa; durable];
    leave(&world, "file", &part, durable as u64, None);
    let (summary, looker) = world.copy("file", false);
    assert_eq!((summary.copied, summary.resumed, summary.failed), (1, 1, 0));
    content[..durable].fill(0xaa);
    assert!(fs::read(world.path("to/file")).unwrap() == content);
    assert_eq!(looker.found.into_inner(), looker.moved.into_inner());
    assert_eq!(world.names("to"), ["file"]);
}

/// Interrupted when all was written and the mode was that of the source, which not even its owner may write
/// to.
#[test]
fn a_copy_of_a_read_only_file_goes_on_too() {
    let copied = || {
        let world = World::new();
        let mut content = world.large("large");
        fs::write(world.path("small"), "content").unwrap();
        let read_only = fs::Permissions::from_mode(0o444);
        for name in ["large", "small"] {
            fs::set_permissions(world.path(name), read_only.clone()).unwrap();
            leave(&world, name, &[0xaa; 7], 7, None);
            let part = Names::new(&world.facts(name), OsStr::new(name)).part;
            fs::set_permissions(world.path("to").join(part), read_only.clone()).unwrap();
        }
        let summaries = ["large", "small"].map(|name| world.copy(name, false).0);
        assert_eq!(summaries.map(|summary| (summary.copied, summary.resumed)), [(1, 1), (1, 0)]);
        content[..7].fill(0xaa);
        assert!(fs::read(world.path("to/large")).unwrap() == content);
        assert_eq!(fs::read(world.path("to/small")).unwrap(), b"content");
        for name in ["to/large", "to/small"] {
            let mode = fs::metadata(world.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o444);
        }
    };
    // Root may write to anything.
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let uid = rustix::process::Uid::from_raw(1000);
                // Of this thread, and those that it starts.
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            }
            copied();
        });
        other.join().unwrap();
    });
}

#[test]
fn a_record_of_another_file_is_not_believed() {
    let world = World::new();
    let content = world.large("file");
    // Of a part that was removed and made again.
    leave(&world, "file", b"", 10 << 20, Some("another"));
    let (summary, _) = world.copy("file", false);
    assert_eq!((summary.copied, summary.resumed), (1, 0));
    assert!(fs::read(world.path("to/file")).unwrap() == content);
}

#[test]
fn what_has_changed_begins_anew() {
    let world = World::new();
    world.large("file");
    leave(&world, "file", &vec![0xaa; 10 << 20], 10 << 20, None);
    let file = fs::File::options().write(true).open(world.path("file")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    drop(file);
    let (summary, _) = world.copy("file", false);
    assert_eq!((summary.copied, summary.resumed), (1, 0));
    assert!(fs::read(world.path("to/file")).unwrap() == fs::read(world.path("file")).unwrap());
}

#[test]
fn what_is_there_is_not_copied_again() {
    let world = World::new();
    fs::write(world.path("file"), "content").unwrap();
    assert_eq!(world.copy("file", false).0.copied, 1);
    let before = fs::metadata(world.path("to/file")).unwrap().ino();
    let (summary, _) = world.copy("file", false);
    assert_eq!((summary.copied, summary.same), (0, 1));
    assert_eq!(fs::metadata(world.path("to/file")).unwrap().ino(), before);
    assert_eq!(world.copy("file", true).0.copied, 1);
    // Of the same size, but of another time.
    fs::write(world.path("file"), "CONTENT").unwrap();
    assert_eq!(world.copy("file", false).0.copied, 1);
    assert_eq!(fs::read(world.path("to/file")).unwrap(), b"CONTENT");
}

/// Whatever lies under the name of a part, or of the target, is not followed.
#[test]
fn links_in_the_target_are_replaced_not_followed() {
    let world = World::new();
    fs::write(world.path("file"), "content").unwrap();
    fs::write(world.path("victim"), "untouched").unwrap();
    let part = Names::new(&world.facts("file"), OsStr::new("file")).part;
    symlink(world.path("victim"), world.path("to").join(&part)).unwrap();
    symlink(world.path("victim"), world.path("to/file")).unwrap();
    assert_eq!(world.copy("file", false).0.copied, 1);
    assert_eq!(fs::read(world.path("victim")).unwrap(), b"untouched");
    assert!(fs::symlink_metadata(world.path("to/file")).unwrap().is_file());
    assert_eq!(fs::read(world.path("to/file")).unwrap(), b"content");
    // One more name of a file that matters.
    fs::write(world.path("file"), "changed").unwrap();
    let part = Names::new(&world.facts("file"), OsStr::new("file")).part;
    fs::hard_link(world.path("victim"), world.path("to").join(&part)).unwrap();
    assert_eq!(world.copy("file", false).0.copied, 1);
    assert_eq!(fs::read(world.path("victim")).unwrap(), b"untouched");
    // A directory that is none.
    fs::create_dir(world.path("tree")).unwrap();
    fs::write(world.path("tree/file"), "content").unwrap();
    fs::create_dir(world.path("elsewhere")).unwrap();
    symlink(world.path("elsewhere"), world.path("to/tree")).unwrap();
    assert_eq!(world.copy("tree", false).0.failed, 1);
    assert!(world.names("elsewhere").is_empty());
}

#[test]
fn an_interrupted_tree_is_gone_on_with_where_it_is() {
    let world = World::new();
    fs::create_dir(world.path("tree")).unwrap();
    for name in ["a", "b"] {
        fs::write(world.path("tree").join(name), name).unwrap();
    }
    // As the first call has left it, to which `to` was not there yet.
    let marker = marker(&world.facts("tree").identity);
    fs::write(world.path("to").join(&marker), "").unwrap();
    fs::copy(world.path("tree/a"), world.path("to/a")).unwrap();
    assert_eq!(world.copy("tree", false).0.failed, 0);
    assert_eq!(world.names("to"), ["a", "b"]);
    // That one is complete; the next is a copy within it.
    assert_eq!(world.copy("tree", false).0.failed, 0);
    assert_eq!(world.names("to"), ["a", "b", "tree"]);
}

#[test]
fn a_tree_is_not_copied_into_itself() {
    let world = World::new();
    fs::write(world.path("to/file"), "content").unwrap();
    let source = Spot { directory: world.directory(""), name: None };
    let target = Spot { directory: world.directory("to"), name: Some("new".into()) };
    let options = Options { recursive: true, owner: false, again: false, files: 2, pieces: 2 };
    let looker = Looker::default();
    let summary = copy(&[Item { source, target, into: true }], options, &looker);
    assert_eq!(summary.failed, 1);
    let failed = looker.failed.into_inner().unwrap();
    assert!(failed[0].contains("to/new") && failed[0].contains("target itself"), "{failed:?}");
    assert!(!world.path("to/new/to/new/to").exists());
}
