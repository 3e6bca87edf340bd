//! Where objects were last seen, kept over restarts.
//!
//! One table: *(export, digest of an object) → places*, newest first; a place is the digest of a
//! directory and a name in it. That is all a path store needs, and none of it is trusted: the node
//! in a client's handle carries the digest, and what a path leads to is opened only if it has that
//! digest. A lost, old or damaged entry makes a handle stale, never another file's.
//!
//! So the database is written for a crash of the *server*: every entry has reached the operating
//! system when the call that makes it returns. Flushing it to the disk, for a crash of the
//! *machine*, is a choice ([`Syncing`]).

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// When entries are flushed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syncing {
    /// When [`PathDatabase::sync`] is called, and at the end. After a crash of the machine, objects
    /// that were seen since are stale; if the file was damaged, all are.
    #[default]
    WhenAsked,
    /// Before the call that makes an entry returns.
    Always,
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the path database {}: {source}", path.display())]
pub struct DatabaseError {
    what: &'static str,
    path: PathBuf,
    source: Box<redb::Error>,
}

/// Where the objects of a namespace's exports were last seen.
#[derive(Debug)]
pub struct PathDatabase {
    database: Database,
    file: Option<File>,
    recreated: bool,
    /// Held by writers: readers before it see what a writer of the same object wrote.
    writing: Mutex<()>,
}

/// Identifies an object: see [`PathStore`](super::PathStore).
pub(crate) type Digest = [u8; 16];

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) parent: Digest,
    pub(crate) name: Vec<u8>,
}

/// What changes for one object.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It was seen there.
    Seen(Location),
    /// It is not there any more.
    Gone(Location),
}

impl PathDatabase {
    /// Opens the database in `path`, or makes it. One that is damaged is replaced by an empty one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, written, or is open already.
    pub fn open(path: &Path, syncing: Syncing) -> Result<Self, DatabaseError> {
        let failed = |what| {
            move |source| DatabaseError { what, path: path.to_owned(), source: Box::new(source) }
        };
        let open = || lock(path).map_err(|source| failed("open")(source.into()));
        match Self::load(&open()?, syncing, false) {
            Err(error) if is_damage(&error) => {}
            loaded => return loaded.map_err(failed("load")),
        }
        // What the library still holds of the old file is nobody's any more.
        fs::remove_file(path).map_err(|source| failed("replace")(source.into()))?;
        Self::load(&open()?, syncing, true).map_err(failed("replace"))
    }

    /// A database that nothing of remains: handles do not survive a restart.
    ///
    /// # Errors
    ///
    /// None that are known.
    pub fn in_memory() -> Result<Self, DatabaseError> {
        let failed = |source| {
            let source = Box::new(source);
            DatabaseError { what: "make", path: PathBuf::new(), source }
        };
        let backend = redb::backends::InMemoryBackend::new();
        let database =
            builder().create_with_backend(backend).map_err(|error| failed(error.into()))?;
        Self::prepare(database, None, false).map_err(failed)
    }

    /// Whether the file was damaged and is new: all handles that need it are stale.
    pub fn was_recreated(&self) -> bool {
        self.recreated
    }

    /// Flushes everything to the disk.
    ///
    /// # Errors
    ///
    /// Those of `fdatasync`.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Forgets an export.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub fn forget_export(&self, export: u32) -> io::Result<()> {
        let first = key(export, &[0; 16]);
        let last = key(export, &[0xff; 16]);
        self.write(|table| {
            table.retain_in::<&Key, _>(&first..=&last, |_, _| false)?;
            Ok(())
        })
    }

    pub(crate) fn places(&self, export: u32, digest: &Digest) -> io::Result<Vec<Location>> {
        let read = || -> Result<Vec<Location>, redb::Error> {
            let table = self.database.begin_read()?.open_table(TABLE)?;
            let found = table.get(&key(export, digest))?;
            Ok(found.map(|places| decode(places.value())).unwrap_or_default())
        };
        read().map_err(into_io)
    }

    /// Makes all changes, or none; none that is already so is written.
    pub(crate) fn change(&self, export: u32, changes: &[(Digest, Change)]) -> io::Result<()> {
        let mut needed = Vec::new();
        for (digest, change) in changes {
            let places = self.places(export, digest)?;
            if apply(&places, change).is_some() {
                needed.push((digest, change));
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        self.write(|table| {
            for (digest, change) in needed {
                let key = key(export, digest);
                let places = table.get(&key)?.map(|places| decode(places.value()));
                match apply(&places.unwrap_or_default(), change) {
                    None => {}
                    Some(places) if places.is_empty() => drop(table.remove(&key)?),
                    Some(places) => drop(table.insert(&key, encode(&places).as_slice())?),
                }
            }
            Ok(())
        })
    }

    /// Loads what is in the file, if all of it is what was written.
    fn load(file: &File, syncing: Syncing, recreated: bool) -> Result<Self, redb::Error> {
        let backend = Backend { file: file.try_clone()?, syncing };
        let load = || -> Result<Database, redb::Error> {
            let mut database = builder().create_with_backend(backend)?;
            database.check_integrity()?;
            Ok(database)
        };
        // What is not flushed may be on the disk in parts after a crash of the machine, and the
        // library takes some of the pages that it meets for granted.
        let loaded = panic::catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|_| Err(redb::Error::Corrupted("it cannot be read".into())));
        Self::prepare(loaded?, Some(file.try_clone()?), recreated)
    }

    fn prepare(
        database: Database,
        file: Option<File>,
        recreated: bool,
    ) -> Result<Self, redb::Error> {
        let this = Self { database, file, recreated, writing: Mutex::new(()) };
        let transaction = this.database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(this)
    }

    fn write(
        &self,
        work: impl FnOnce(&mut redb::Table<'_, &Key, &[u8]>) -> Result<(), redb::StorageError>,
    ) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let write = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            // Written out; whether that includes the disk is up to the backend.
            transaction.set_durability(Durability::Immediate)?;
            work(&mut transaction.open_table(TABLE)?)?;
            Ok(transaction.commit()?)
        };
        write().map_err(into_io)
    }
}

/// Whether the file is there and makes no sense: after a crash of the machine it may hold anything.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(error) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        redb::Error::DatabaseAlreadyOpen | redb::Error::PreviousIo => false,
        _ => true,
    }
}

/// The file, which no other process has open through us.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    file.try_lock()?;
    Ok(file)
}

/// The places of an object after a change; `None` if they are as they were.
fn apply(places: &[Location], change: &Change) -> Option<Vec<Location>> {
    let (Change::Seen(place) | Change::Gone(place)) = change;
    let others = places.iter().filter(|known| *known != place);
    let after: Vec<_> = match change {
        Change::Seen(_) if places.first() == Some(place) => return None,
        Change::Seen(_) => std::iter::once(place).chain(others).take(MAX_PLACES).cloned().collect(),
        Change::Gone(_) => others.cloned().collect(),
    };
    (after != places).then_some(after)
}

fn encode(places: &[Location]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in places {
        bytes.extend_from_slice(&place.parent);
        // A name has at most 255 bytes.
        bytes.push(place.name.len() as u8);
        bytes.extend_from_slice(&place.name);
    }
    bytes
}

/// Reads as far as it makes sense.
fn decode(mut bytes: &[u8]) -> Vec<Location> {
    let mut places = Vec::new();
    while let Some((parent, rest)) = bytes.split_first_chunk::<16>()
        && let Some((&length, rest)) = rest.split_first()
        && let Some((name, rest)) = rest.split_at_checked(usize::from(length))
    {
        places.push(Location { parent: *parent, name: name.to_vec() });
        bytes = rest;
    }
    places
}

fn key(export: u32, digest: &Digest) -> Key {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&export.to_be_bytes());
    key[4..].copy_from_slice(digest);
    key
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn into_io(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// The file, flushed or not.
#[derive(Debug)]
struct Backend {
    file: File,
    syncing: Syncing,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.syncing {
            Syncing::Always => self.file.sync_data(),
            Syncing::WhenAsked => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        // By itself the lock would last as long as a child process that is about to be executed.
        self.file.unlock()?;
        synced
    }
}

type Key = [u8; 20];

const TABLE: TableDefinition<'static, &Key, &[u8]> = TableDefinition::new("places");
/// Hard links that are remembered; any one that is left finds the file.
const MAX_PLACES: usize = 4;
/// For each database, of which a namespace has one.
const CACHE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn location() -> impl Strategy<Value = Location> {
        (any::<[u8; 16]>(), proptest::collection::vec(any::<u8>(), 0..=255))
            .prop_map(|(parent, name)| Location { parent, name })
    }

    proptest! {
        #[test]
        fn places_are_read_as_written(places in proptest::collection::vec(location(), 0..4)) {
            prop_assert_eq!(decode(&encode(&places)), places);
        }

        #[test]
        fn damaged_places_are_read_without_harm(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            decode(&bytes);
        }
    }

    #[test]
    fn a_file_that_lost_its_content_or_its_end_is_replaced() {
        let folder = std::env::temp_dir().join(format!("holm-database-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("paths.redb");
        drop(PathDatabase::open(&path, Syncing::WhenAsked).unwrap());
        let whole = fs::read(&path).unwrap();
        let zeros = vec![0; whole.len()];
        for damaged in [&zeros[..], &whole[..whole.len() / 2], &whole[..100], b"?"] {
            fs::write(&path, damaged).unwrap();
            assert!(PathDatabase::open(&path, Syncing::WhenAsked).unwrap().was_recreated());
            assert!(!PathDatabase::open(&path, Syncing::WhenAsked).unwrap().was_recreated());
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_place_seen_last_comes_first_and_a_place_that_is_gone_is_forgotten() {
        let database = PathDatabase::in_memory().unwrap();
        let place = |name: &str| Location { parent: [1; 16], name: name.into() };
        let object = [9; 16];
        let seen = |name| (object, Change::Seen(place(name)));
        database.change(1, &[seen("a"), seen("b")]).unwrap();
        assert_eq!(database.places(1, &object).unwrap(), [place("b"), place("a")]);
        assert_eq!(database.places(2, &object).unwrap(), [], "another export's");
        database.change(1, &[(object, Change::Gone(place("b")))]).unwrap();
        assert_eq!(database.places(1, &object).unwrap(), [place("a")]);
        database.forget_export(1).unwrap();
        assert_eq!(database.places(1, &object).unwrap(), []);
    }
}
