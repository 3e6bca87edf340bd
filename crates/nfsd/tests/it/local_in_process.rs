//! Files for the program that serves them.

use crate::wire::*;
use crate::world::{Disk, Kind, Scratch, as_ordinary_user, as_root, key, memory};
use holm_nfsd::Status;
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::identity::{Credentials, SquashWho};
use holm_nfsd::localio::{InProcess, InProcessFile, Missed};
use holm_nfsd::volume::Access;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// The door of a client's server from within, as this user.
fn within(client: &Client, id: u32) -> InProcess {
    let ns = &client.thread.tenant.as_ref().unwrap().ns;
    InProcess::new(ns, &client.service, client.peer, Credentials::new(id, id, &[]))
}

fn open(client: &Client, id: u32, handle: &[u8], access: Access) -> Result<InProcessFile, Missed> {
    let from = within(client, id);
    client.thread.with_context(|context| from.open(context, handle, access))
}

fn read(client: &Client, file: &InProcessFile) -> Result<Vec<u8>, Missed> {
    let mut buffer = [0; 100];
    let count = client.thread.with_context(|context| file.read_at(context, &mut buffer, 0))?;
    Ok(buffer[..count].to_vec())
}

fn write(client: &Client, file: &InProcessFile, data: &[u8]) -> Result<usize, Missed> {
    client.thread.with_context(|context| file.write_at(context, data, 0))
}

fn commit(client: &Client, file: &InProcessFile) -> Result<(), Missed> {
    client.thread.with_context(|context| file.commit(context))
}

#[test]
fn a_program_has_its_own_files_until_the_namespace_goes() {
    let test = || {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let file = open(&client, 0, &handle, Access::ReadWrite).unwrap();
        assert_eq!(write(&client, &file, b"by ourselves"), Ok(12));
        assert_eq!(commit(&client, &file), Ok(()));
        assert_eq!(read(&client, &file), Ok(b"by ourselves".to_vec()));
        assert_eq!(client.read(&handle, 0, 100).unwrap().0, b"by ourselves");
        client.thread.told();
        read(&client, &file).unwrap();
        assert_eq!(client.thread.told(), [("LOCALIO READ", handle.clone())]);

        // Nothing is held, so nobody has to be waited for.
        client.service.local().recall_all();
        client.thread.tenant.as_ref().unwrap().remove();
        assert_eq!(read(&client, &file), Err(Missed::Recalled));
        assert_eq!(write(&client, &file, b"x"), Err(Missed::Recalled));
        assert_eq!(commit(&client, &file), Err(Missed::Recalled));
        let again = open(&client, 0, &handle, Access::Read).map(drop);
        assert_eq!(again, Err(Missed::Recalled));
    };
    as_root(test);
    as_ordinary_user(test);
}

#[test]
fn a_program_may_what_its_user_may() {
    as_root(|| {
        let disk = Disk::new(Kind::Tmpfs);
        let path = disk.export().join("file");
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let options = ExportOptions { read_only: true, ..trusting(&disk.export()) };
        let again = Export::open(options, &key(), || Ok(memory()));
        let again = ExportTable::new(vec![Arc::new(again.unwrap())]).unwrap();
        let mut options = trusting(&disk.export());
        options.squash.who = SquashWho::Root;
        let client = Client::new(&Thread::new(), &service(vec![options]));
        let root = client.mount("/").unwrap();
        let handle = client.lookup(&root, b"file").unwrap();
        let try_to = |id, access| open(&client, id, &handle, access).map(drop);
        let refused = Err(Missed::Failed(Status::Acces));
        for id in [0, 1001] {
            assert_eq!(try_to(id, Access::Read), Ok(()));
            assert_eq!(try_to(id, Access::Write), refused);
        }
        let elsewhere = client.from("10.0.0.1:700");
        assert_eq!(open(&elsewhere, 0, &handle, Access::Read).map(drop), refused);
        let forged = open(&client, 0, &handle[1..], Access::Read).map(drop);
        assert_eq!(forged, Err(Missed::Failed(Status::BadHandle)));
        let directory = open(&client, 0, &root, Access::Read).map(drop);
        assert_eq!(directory, Err(Missed::Failed(Status::IsDir)));

        // What was opened is not more than a handle: it is asked every time.
        let file = open(&client, 1001, &handle, Access::Read).unwrap();
        assert_eq!(read(&client, &file), Ok(b"content".to_vec()));
        client.service.set_exports(ExportTable::default());
        assert_eq!(read(&client, &file), Err(Missed::Failed(Status::Stale)));
        client.service.set_exports(again);
        assert_eq!(read(&client, &file), Ok(b"content".to_vec()));
        let refused = open(&client, 1001, &handle, Access::ReadWrite).map(drop);
        assert_eq!(refused, Err(Missed::Failed(Status::RoFs)));
    });
}

#[test]
fn what_a_program_has_written_is_on_the_disk_or_it_is_told() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        let root = client.mount("/").unwrap();
        let handle = client.create(&root, b"file").unwrap();
        let file = open(&client, 0, &handle, Access::ReadWrite).unwrap();
        write(&client, &file, b"first").unwrap();
        assert_eq!(commit(&client, &file), Ok(()));
        write(&client, &file, b"second").unwrap();
        crate::durability::stop(&disk);
        // Somebody else is told first, and the next flush has nothing to say.
        assert!(client.commit(&handle).into_result().is_err());
        assert_eq!(commit(&client, &file), Err(Missed::Failed(Status::Io)));
    });
}
