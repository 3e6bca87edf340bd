//! A small export, made anew for every input: what the programs are tried on.

use holm_nfs_proto::nfs3;
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::handle::HandleKey;
use holm_nfsd::identity::{Privileges, SquashWho};
use holm_nfsd::service::{Context, Inline, Listening, Peer, Service, Transport};
use holm_nfsd::store::PathDatabase;
use holm_sunrpc::Programs;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A directory of this process for what a target makes: below `$HOLM_FUZZ_DIR`, or where temporary
/// files are.
pub fn scratch() -> PathBuf {
    let all = std::env::var_os("HOLM_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let own = all.join(format!("holm-fuzz-{}", std::process::id()));
    if !own.exists() {
        fs::create_dir(&own).expect("a directory to work in");
    }
    own
}

/// Lies beside the export, where no client may get.
pub const SECRET: &[u8] = b"nobody reads this through the export";

/// The programs, and the thread that serves.
pub struct Server {
    pub programs: Programs<Context<Inline>>,
    /// There from the first [service](Self::service) on.
    pub context: Option<Context<Inline>>,
    directory: PathBuf,
}

impl Server {
    /// All programs, or those that are served by datagrams.
    pub fn new(datagrams: bool) -> Self {
        let programs = match datagrams {
            false => holm_nfsd::programs(),
            true => holm_nfsd::programs_by_datagram(),
        };
        Self { programs, context: None, directory: scratch() }
    }

    /// A new export with a few files, a secret beside it, and its service; every caller is taken at
    /// its word.
    pub fn service(&mut self) -> (Arc<Service>, Vec<Vec<u8>>) {
        static PRIVILEGES: LazyLock<Privileges> =
            LazyLock::new(|| Privileges::detect().expect("what we may do"));
        // As long as it has a context the thread is whoever called last, who may not remove everything.
        drop(self.context.take());
        let export = self.directory.join("export");
        match fs::symlink_metadata(&export) {
            Ok(_) => fs::remove_dir_all(&export).expect("the export can be removed"),
            Err(_) => fs::write(self.directory.join("secret"), SECRET).expect("a secret"),
        }
        fs::create_dir_all(export.join("directory/below")).expect("directories");
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777));
        fs::write(export.join("file"), [b'f'; 9000]).expect("a file");
        for path in ["", "directory", "file"] {
            open(&export.join(path)).expect("permissions");
        }
        symlink("../secret", export.join("out")).expect("a link");

        let key = HandleKey::from_bytes([7; 16]);
        let mut options = ExportOptions::new("/".parse().expect("a path"), &export);
        options.squash.who = SquashWho::Nobody;
        let opened = Export::open(options, &key, || PathDatabase::in_memory().map(Arc::new));
        let opened = Arc::new(opened.expect("an export"));
        let root = opened.seal(&key, &opened.volume().store().root_node());
        let service = Service::new(key, Default::default()).expect("random numbers");
        service.set_exports(ExportTable::new(vec![opened]).expect("one export"));
        let local = LOCAL.parse().expect("an address");
        service.set_listening(vec![Listening::new(Transport::Tcp, local)]);
        let context = Context::new(&PRIVILEGES, Inline).expect("the one of this thread");
        self.context = Some(context);
        (service, vec![root.as_bytes().to_vec()])
    }

    /// Nothing beside the export has changed.
    pub fn check_beside(&self) {
        let secret = fs::read(self.directory.join("secret")).expect("the secret is there");
        assert_eq!(secret, SECRET, "the secret was changed");
        let beside = fs::read_dir(&self.directory).expect("the directory above").count();
        assert_eq!(beside, 2, "something was made or removed beside the export");
    }
}

const LOCAL: &str = "127.0.0.1:2049";

/// A client on this machine.
pub fn peer(transport: Transport) -> Peer {
    let parse = |address: &str| address.parse().expect("an address");
    Peer::new(transport, parse("127.0.0.1:700"), parse(LOCAL))
}

/// Where a message names the handle `n` of those that are known, and has no way to know it: four
/// bytes long, `fh` and the number. Gives the message with the handles in their places.
pub fn with_handles(message: &[u8], handles: &[Vec<u8>]) -> Vec<u8> {
    let (words, rest) = message.as_chunks::<4>();
    let mut out = Vec::with_capacity(message.len());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if *word == [0, 0, 0, 4]
            && let Some([b'f', b'h', high, low]) = words.peek()
        {
            let number = usize::from(u16::from_be_bytes([*high, *low])) % handles.len();
            let handle = &handles[number];
            out.extend((handle.len() as u32).to_be_bytes());
            out.extend(handle);
            out.resize(out.len().next_multiple_of(4), 0);
            words.next();
        } else {
            out.extend(word);
        }
    }
    out.extend(rest);
    out
}

/// Insists that `reply` holds results of an NFSv3 procedure and nothing else; gives the handle in
/// them.
pub fn nfs3_results(procedure: nfs3::Procedure, reply: &[u8]) -> Option<Vec<u8>> {
    use nfs3::{Outcome, Procedure::*};
    let mut input = holm_xdr::Decoder::strict(reply);
    let input_ref = &mut input;
    let mut handle = None;
    macro_rules! get {
        ($result:ty) => {
            input_ref.get::<$result>().map(drop)
        };
        ($result:ty, $field:ident) => {
            input_ref.get::<$result>().map(|result| {
                if let Outcome::Ok(ok) = result {
                    handle =
                        Option::from(ok.$field).map(|found: nfs3::FileHandle<'_>| found.to_vec());
                }
            })
        };
    }
    let decoded = match procedure {
        Null => Ok(()),
        GetAttr => get!(nfs3::GetAttrRes),
        SetAttr => get!(nfs3::SetAttrRes),
        Lookup => get!(nfs3::LookupRes<'_>, object),
        Access => get!(nfs3::AccessRes),
        ReadLink => get!(nfs3::ReadLinkRes<'_>),
        Read => get!(nfs3::ReadRes<'_>),
        Write => get!(nfs3::WriteRes),
        Create | MkDir | SymLink | MkNod => get!(nfs3::CreateRes<'_>, object),
        Remove | RmDir => get!(nfs3::RemoveRes),
        Rename => get!(nfs3::RenameRes),
        Link => get!(nfs3::LinkRes),
        ReadDir => get!(nfs3::ReadDirRes<'_>),
        ReadDirPlus => get!(nfs3::ReadDirPlusRes<'_>),
        FsStat => get!(nfs3::FsStatRes),
        FsInfo => get!(nfs3::FsInfoRes),
        PathConf => get!(nfs3::PathConfRes),
        Commit => get!(nfs3::CommitRes),
    };
    if let Err(error) = decoded.and_then(|()| input.finish()) {
        panic!("the results of {} are not what the RFC says: {error}", procedure.name());
    }
    handle
}
