//! The database of paths, damaged: a handle still leads to its own file, or nowhere.
//!
//! The first byte says what is damaged: the entry of a file, or any bytes of the database.
#![no_main]

use holm_fuzz::world::scratch;
use holm_nfsd::attributes::Kind;
use holm_nfsd::beneath::{Mounts, Root};
use holm_nfsd::handle::{HandleKey, NodeId};
use holm_nfsd::name::Component;
use holm_nfsd::store::{Found, PathDatabase, PathStore, Store, Syncing};
use libfuzzer_sys::fuzz_target;
use redb::{Database, TableDefinition};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// As in `holm_nfsd::store`: (export, object) → places.
const TABLE: TableDefinition<'static, &[u8; 20], &[u8]> = TableDefinition::new("places");

/// What is there before anything is damaged.
struct Honest {
    root: Arc<Root>,
    database: PathBuf,
    content: Vec<u8>,
    file: NodeId,
    inode: u64,
}

static HONEST: LazyLock<Honest> = LazyLock::new(|| {
    // The library may panic on what it reads; then the database takes the file for damaged. What
    // gets as far as the target still ends it.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let directory = scratch().join("tree");
    fs::create_dir_all(&directory).expect("a directory");
    for name in ["file", "other"] {
        fs::write(directory.join(name), name).expect("a file");
    }
    let root = Arc::new(Root::open(&directory, Mounts::Closed).expect("a root"));
    let database = scratch().join("database");
    let open = || PathDatabase::open(&database, Syncing::WhenAsked).expect("a database");
    let store = store(&root, open());
    let [file, _] = ["file", "other"].map(|name| {
        let object = File::open(directory.join(name)).expect("a file");
        let component = Component::parse(name.as_bytes()).and_then(Component::to_create);
        let found = Found {
            parent: &store.root_node(),
            name: component.expect("a name"),
            object: object.as_fd(),
            kind: Kind::Regular,
        };
        store.encode(&found).expect("a node")
    });
    drop(store);
    let content = fs::read(&database).expect("what was written");
    let inode = fs::metadata(directory.join("file")).expect("a file").ino();
    Honest { root, database, content, file, inode }
});

fn store(root: &Arc<Root>, database: PathDatabase) -> PathStore {
    PathStore::new(root, 1, &HandleKey::from_bytes([7; 16]), &Arc::new(database)).expect("a store")
}

fuzz_target!(|data: &[u8]| {
    let Some((what, data)) = data.split_first() else { return };
    let honest = &*HONEST;
    fs::write(&honest.database, &honest.content).expect("the database as it was");
    match what % 2 {
        0 => write_entry(&honest.database, &honest.file, data),
        _ => damage(&honest.database, data, &honest.content),
    }
    let database = PathDatabase::open(&honest.database, Syncing::WhenAsked);
    let database = database.expect("one that is damaged is replaced");
    let store = store(&honest.root, database);
    if let Ok(opened) = store.open(&honest.file) {
        let inode = File::from(opened).metadata().expect("of what is open").ino();
        assert_eq!(inode, honest.inode, "another file");
    }
});

/// The entry of the file, as the bytes say; `fh` in a place of 16 bytes is the root's node.
fn write_entry(database: &Path, file: &NodeId, entry: &[u8]) {
    let mut key = [0; 20];
    key[3] = 1;
    key[4..].copy_from_slice(file.as_bytes());
    let database = Database::open(database).expect("the honest database");
    let transaction = database.begin_write().expect("to write");
    transaction.open_table(TABLE).expect("the table").insert(&key, entry).expect("an entry");
    transaction.commit().expect("to write");
}

/// Each four bytes put one byte somewhere, or cut the file there.
fn damage(database: &Path, changes: &[u8], honest: &[u8]) {
    let mut content = honest.to_vec();
    for change in changes.as_chunks::<4>().0 {
        let [high, middle, low, byte] = *change;
        let at = usize::from(high & 0x7f) << 16 | usize::from(middle) << 8 | usize::from(low);
        let at = at % honest.len();
        match (high & 0x80, content.get_mut(at)) {
            (0, Some(place)) => *place = byte,
            (0, None) => {}
            _ => content.truncate(at),
        }
    }
    fs::write(database, content).expect("the damaged database");
}
