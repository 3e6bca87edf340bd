//! The procedures of NFSv3, by handle: each is one call, but for what the server wants to be asked again.

use crate::connection::{Connections, Pause, random};
use crate::error::{Error, Problem, Result};
use crate::handle::Handle;
use crate::uncommitted::Remote;
use holm_nfs_proto::nfs3::{
    self, AccessArgs, AccessRes, Attributes, Call, CommitArgs, CommitRes, CreateArgs, CreateHow,
    CreateRes, DirOpArgs, FileName, FsArgs, FsInfoOk, FsInfoRes, FsStatOk, FsStatRes, GetAttrArgs,
    GetAttrRes, LinkArgs, LinkRes, LookupArgs, LookupRes, MkDirArgs, Outcome, Path, PathConfArgs,
    PathConfOk, PathConfRes, ReadArgs, ReadDirArgs, ReadDirPlusArgs, ReadDirPlusRes, ReadDirRes,
    ReadLinkArgs, ReadLinkRes, ReadRes, RemoveArgs, RemoveRes, RenameArgs, RenameRes, SetAttrArgs,
    SetAttrRes, SetAttributes, StableHow, SymLinkArgs, Time, WriteArgs, WriteRes, WriteVerifier,
};
use holm_sunrpc::client::Procedure;
use holm_xdr::{Decoder, Opaque};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Instant;

/// The server's NFS program, asked by handle. [`Mount`](crate::Mount) has the same by path.
///
/// It can be shared between threads; each waits for its own call. A call that has no answer is sent again
/// until the [patience](crate::Options::patience) ends, on a new connection if need be, and
/// `NFS3ERR_JUKEBOX` is asked again after a pause that grows.
#[derive(Debug)]
pub struct Nfs3 {
    connections: Connections,
    /// For errors.
    server: String,
    /// Most bytes of a READ and of a WRITE.
    read_max: usize,
    write_max: usize,
}

/// A file that was found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// What the server calls it.
    pub handle: Handle,
    /// What it is.
    pub attributes: Attributes,
}

/// What a WRITE came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes that were written: at least one, if any were to be.
    pub count: usize,
    /// How safe they are.
    pub committed: StableHow,
    /// Another one later means that what was not committed may be lost.
    pub verifier: WriteVerifier,
}

/// An entry of a directory as a page brings it.
#[derive(Debug)]
pub(crate) struct PageEntry {
    pub name: OsString,
    pub cookie: u64,
    pub attributes: Option<Attributes>,
    pub handle: Option<Handle>,
}

/// A part of a directory.
#[derive(Debug)]
pub(crate) struct Page {
    pub entries: Vec<PageEntry>,
    pub verifier: nfs3::CookieVerifier,
    pub eof: bool,
}

impl Nfs3 {
    pub(crate) const fn new(connections: Connections, server: String) -> Self {
        Self { connections, server, read_max: TRANSFER_MIN, write_max: TRANSFER_MIN }
    }

    /// Transfers as much at a time as the server says, and as is sensible.
    pub(crate) fn limit(&mut self, info: &FsInfoOk) {
        let sensible = |max: u32| match max {
            0 => TRANSFER_MIN,
            max => (max as usize).min(TRANSFER_MAX),
        };
        self.read_max = sensible(info.read_max);
        self.write_max = sensible(info.write_max);
    }

    pub(crate) const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// What a file is (GETATTR).
    ///
    /// # Errors
    /// [`Error`].
    pub fn stat(&self, file: &Handle) -> Result<Attributes> {
        let call = Call::GetAttr(GetAttrArgs { object: file.wire() });
        self.ask("look at", &call, |input| {
            Ok(input.get::<GetAttrRes>()?.into_result().map(|ok| ok.attributes))
        })
    }

    /// Changes what a file is (SETATTR). With a guard only if its ctime is that; otherwise it fails with
    /// [`NotSync`](nfs3::Error::NotSync).
    ///
    /// # Errors
    /// [`Error`].
    pub fn set(
        &self,
        file: &Handle,
        attributes: &SetAttributes,
        guard: Option<Time>,
    ) -> Result<()> {
        let args = SetAttrArgs { object: file.wire(), new_attributes: *attributes, guard };
        self.ask("change the attributes of", &Call::SetAttr(args), |input| {
            Ok(input.get::<SetAttrRes>()?.into_result().map(drop))
        })
    }

    /// What has a name in a directory (LOOKUP). Symbolic links are not followed.
    ///
    /// # Errors
    /// [`Error`].
    pub fn lookup(&self, directory: &Handle, name: &OsStr) -> Result<Node> {
        let what = "look up";
        let call = Call::Lookup(LookupArgs { what: self.place(what, directory, name)? });
        let (handle, attributes) = self.ask(what, &call, |input| {
            let found = input.get::<LookupRes<'_>>()?.into_result();
            Ok(found.map(|ok| (Handle::from(ok.object), ok.object_attributes)))
        })?;
        self.node(handle, attributes)
    }

    /// Which of these rights the caller has (ACCESS): bits of
    /// [`access`](holm_nfs_proto::nfs3::access), asked for and granted.
    ///
    /// # Errors
    /// [`Error`].
    pub fn access(&self, file: &Handle, rights: u32) -> Result<u32> {
        let call = Call::Access(AccessArgs { object: file.wire(), access: rights });
        self.ask("ask for the rights to", &call, |input| {
            Ok(input.get::<AccessRes>()?.into_result().map(|ok| ok.access & rights))
        })
    }

    /// Where a symbolic link points to (READLINK).
    ///
    /// # Errors
    /// [`Error`].
    pub fn read_link(&self, link: &Handle) -> Result<OsString> {
        let call = Call::ReadLink(ReadLinkArgs { symlink: link.wire() });
        self.ask("read the link", &call, |input| {
            let link = input.get::<ReadLinkRes<'_>>()?.into_result();
            Ok(link.map(|ok| OsString::from_vec(ok.data.to_vec())))
        })
    }

    /// Reads into `buffer` (READ): how much, and whether the file ends behind that. The server may give
    /// less than was asked for.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<(usize, bool)> {
        let what = "read";
        let asked = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let call = Call::Read(ReadArgs { file: file.wire(), offset, count: asked });
        // A call's results may be looked at twice, if it is asked again.
        let place = RefCell::new(buffer);
        let outcome = self.ask(what, &call, |input| {
            let ok = match input.get::<ReadRes<'_>>()? {
                Outcome::Ok(ok) => ok,
                Outcome::Failed(error, _) => return Ok(Err(error)),
            };
            let mut buffer = place.borrow_mut();
            Ok(Ok(match buffer.get_mut(..ok.data.len()) {
                Some(buffer) if ok.count as usize == ok.data.len() => {
                    buffer.copy_from_slice(&ok.data);
                    Ok((ok.data.len(), ok.eof))
                }
                _ => Err((ok.count, ok.data.len())),
            }))
        })?;
        match outcome {
            Ok((0, false)) if asked > 0 => {
                Err(self.malformed(what, "no data, and not at the end of the file".to_owned()))
            }
            Ok(read) => Ok(read),
            Err((count, len)) => Err(self.malformed(
                what,
                format!("{len} bytes of data that are said to be {count}, for {asked} at most"),
            )),
        }
    }

    /// Writes from the beginning of `data` (WRITE). The server may take less than all of it.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(
        &self,
        file: &Handle,
        offset: u64,
        data: &[u8],
        stable: StableHow,
    ) -> Result<Written> {
        let what = "write to";
        let too_much = || self.error(what, Problem::Invalid("more data than fits into a call"));
        let count = u32::try_from(data.len()).map_err(|_| too_much())?;
        let payload = Opaque::new(data).map_err(|_| too_much())?;
        let call =
            Call::Write(WriteArgs { file: file.wire(), offset, count, stable, data: payload });
        let ok = self.ask(what, &call, |input| Ok(input.get::<WriteRes>()?.into_result()))?;
        if ok.count > count || (ok.count == 0 && count > 0) {
            return Err(self.malformed(what, format!("{} of {count} bytes written", ok.count)));
        }
        if ok.committed < stable {
            let said = format!("{:?} where {stable:?} was asked for", ok.committed);
            return Err(self.malformed(what, said));
        }
        let count = ok.count as usize;
        Ok(Written { count, committed: ok.committed, verifier: ok.verifier })
    }

    /// Has all of a file on stable storage (COMMIT), unless the verifier is another than that of a WRITE.
    ///
    /// # Errors
    /// [`Error`].
    pub fn commit(&self, file: &Handle) -> Result<WriteVerifier> {
        let call = Call::Commit(CommitArgs { file: file.wire(), offset: 0, count: 0 });
        self.ask("commit", &call, |input| {
            Ok(input.get::<CommitRes>()?.into_result().map(|ok| ok.verifier))
        })
    }

    /// Makes a file (CREATE), or takes the one that is there if `exclusive` is not set. An exclusive one
    /// is made once, also if the call is sent twice.
    ///
    /// # Errors
    /// [`Error`]; [`Exist`](nfs3::Error::Exist) if it is there and `exclusive` is set.
    pub fn create(
        &self,
        directory: &Handle,
        name: &OsStr,
        attributes: &SetAttributes,
        exclusive: bool,
    ) -> Result<Node> {
        let what = "create";
        let place = self.place(what, directory, name)?;
        let make = |how| {
            let call = Call::Create(CreateArgs { place, how });
            self.ask(what, &call, created)
        };
        if !exclusive {
            return self.made(directory, name, make(CreateHow::Unchecked(*attributes))?);
        }
        match make(CreateHow::Exclusive(random())) {
            // The verifier lies where attributes would be: those come now (section 3.3.8).
            Ok(new) => {
                let node = self.made(directory, name, new)?;
                self.set(&node.handle, attributes, None)?;
                let attributes = self.stat(&node.handle)?;
                Ok(Node { attributes, ..node })
            }
            Err(error) if error.status() == Some(nfs3::Error::NotSupp) => {
                self.made(directory, name, make(CreateHow::Guarded(*attributes))?)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a directory (MKDIR).
    ///
    /// # Errors
    /// [`Error`].
    pub fn make_directory(
        &self,
        directory: &Handle,
        name: &OsStr,
        attributes: &SetAttributes,
    ) -> Result<Node> {
        let what = "make the directory";
        let place = self.place(what, directory, name)?;
        let call = Call::MkDir(MkDirArgs { place, attributes: *attributes });
        self.made(directory, name, self.ask(what, &call, created)?)
    }

    /// Makes a symbolic link (SYMLINK).
    ///
    /// # Errors
    /// [`Error`].
    pub fn symlink(&self, directory: &Handle, name: &OsStr, target: &OsStr) -> Result<Node> {
        let what = "make the symbolic link";
        let place = self.place(what, directory, name)?;
        let too_long = || self.error(what, Problem::Invalid("the target of a link is too long"));
        let symlink_data = Path::new(target.as_bytes()).map_err(|_| too_long())?;
        let symlink_attributes = SetAttributes::default();
        let call = Call::SymLink(SymLinkArgs { place, symlink_attributes, symlink_data });
        self.made(directory, name, self.ask(what, &call, created)?)
    }

    /// Gives a file another name (LINK).
    ///
    /// # Errors
    /// [`Error`].
    pub fn link(&self, file: &Handle, directory: &Handle, name: &OsStr) -> Result<()> {
        let what = "make the link";
        let link = self.place(what, directory, name)?;
        self.ask(what, &Call::Link(LinkArgs { file: file.wire(), link }), |input| {
            Ok(input.get::<LinkRes>()?.into_result().map(drop))
        })
    }

    /// Removes a name that is no directory (REMOVE).
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self, directory: &Handle, name: &OsStr) -> Result<()> {
        let what = "remove";
        let object = self.place(what, directory, name)?;
        self.ask(what, &Call::Remove(RemoveArgs { object }), removed)
    }

    /// Removes an empty directory (RMDIR).
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove_directory(&self, directory: &Handle, name: &OsStr) -> Result<()> {
        let what = "remove the directory";
        let object = self.place(what, directory, name)?;
        self.ask(what, &Call::RmDir(RemoveArgs { object }), removed)
    }

    /// Renames, over whatever has the new name if that can be (RENAME).
    ///
    /// # Errors
    /// [`Error`].
    pub fn rename(&self, from: (&Handle, &OsStr), to: (&Handle, &OsStr)) -> Result<()> {
        let what = "rename";
        let (from, to) = (self.place(what, from.0, from.1)?, self.place(what, to.0, to.1)?);
        self.ask(what, &Call::Rename(RenameArgs { from, to }), |input| {
            Ok(input.get::<RenameRes>()?.into_result().map(drop))
        })
    }

    /// How full the file system is (FSSTAT).
    ///
    /// # Errors
    /// [`Error`].
    pub fn fs_stat(&self, root: &Handle) -> Result<FsStatOk> {
        self.ask("ask for the space of", &Call::FsStat(FsArgs { fs_root: root.wire() }), |input| {
            Ok(input.get::<FsStatRes>()?.into_result())
        })
    }

    /// What the server does best with the file system (FSINFO).
    ///
    /// # Errors
    /// [`Error`].
    pub fn fs_info(&self, root: &Handle) -> Result<FsInfoOk> {
        self.ask("ask for the limits of", &Call::FsInfo(FsArgs { fs_root: root.wire() }), |input| {
            Ok(input.get::<FsInfoRes>()?.into_result())
        })
    }

    /// What names and links the file system can have (PATHCONF).
    ///
    /// # Errors
    /// [`Error`].
    pub fn path_conf(&self, object: &Handle) -> Result<PathConfOk> {
        let call = Call::PathConf(PathConfArgs { object: object.wire() });
        self.ask("ask for the limits of", &call, |input| {
            Ok(input.get::<PathConfRes>()?.into_result())
        })
    }

    /// A part of a directory with what its entries are (READDIRPLUS).
    pub(crate) fn page_plus(
        &self,
        directory: &Handle,
        cookie: u64,
        cookie_verifier: nfs3::CookieVerifier,
        max_count: u32,
    ) -> Result<Page> {
        let args = ReadDirPlusArgs {
            dir: directory.wire(),
            cookie,
            cookie_verifier,
            dir_count: max_count,
            max_count,
        };
        self.ask("list", &Call::ReadDirPlus(args), |input| {
            let page = input.get::<ReadDirPlusRes<'_>>()?.into_result();
            Ok(page.map(|ok| Page {
                verifier: ok.cookie_verifier,
                eof: ok.eof,
                entries: ok.entries.into_iter().map(PageEntry::from).collect(),
            }))
        })
    }

    /// A part of a directory, names only (READDIR).
    pub(crate) fn page(
        &self,
        directory: &Handle,
        cookie: u64,
        cookie_verifier: nfs3::CookieVerifier,
        count: u32,
    ) -> Result<Page> {
        let args = ReadDirArgs { dir: directory.wire(), cookie, cookie_verifier, count };
        self.ask("list", &Call::ReadDir(args), |input| {
            let page = input.get::<ReadDirRes<'_>>()?.into_result();
            Ok(page.map(|ok| Page {
                verifier: ok.cookie_verifier,
                eof: ok.eof,
                entries: ok.entries.into_iter().map(PageEntry::from).collect(),
            }))
        })
    }

    pub(crate) fn malformed(&self, what: &'static str, why: String) -> Error {
        self.error(what, Problem::Malformed(why))
    }

    pub(crate) fn error(&self, what: &'static str, problem: Problem) -> Error {
        Error::new(what, format!("a file of {}", self.server), problem)
    }

    /// Calls, until it is answered with something else than "later".
    fn ask<T>(
        &self,
        what: &'static str,
        call: &Call<'_>,
        take: impl Fn(&mut Decoder<'_>) -> std::result::Result<Answered<T>, holm_xdr::Error>,
    ) -> Result<T> {
        let (program, version) = (nfs3::PROGRAM, nfs3::VERSION);
        let procedure = Procedure { program, version, number: call.procedure().number() };
        let until = Instant::now() + self.connections.peer().patience();
        let mut pause = Pause::long();
        loop {
            // Nobody has a connection while pausing.
            let answer = self.connections.lend().call(procedure, call, &take);
            match answer {
                Ok(Ok(results)) => return Ok(results),
                Ok(Err(nfs3::Error::JukeBox)) if pause.before(until) => {}
                Ok(Err(status)) => return Err(self.error(what, Problem::Status(status))),
                Err(problem) => return Err(self.error(what, problem)),
            }
        }
    }

    fn place<'a>(
        &self,
        what: &'static str,
        directory: &'a Handle,
        name: &'a OsStr,
    ) -> Result<DirOpArgs<'a>> {
        let invalid = |why| self.error(what, Problem::Invalid(why));
        check_name(name.as_bytes()).map_err(invalid)?;
        let name = FileName::new(name.as_bytes()).map_err(|_| invalid("the name is too long"))?;
        Ok(DirOpArgs { dir: directory.wire(), name })
    }

    /// The server need not say what it has found.
    fn node(&self, handle: Handle, attributes: Option<Attributes>) -> Result<Node> {
        let attributes = match attributes {
            Some(attributes) => attributes,
            None => self.stat(&handle)?,
        };
        Ok(Node { handle, attributes })
    }

    /// The server need not even name what it has made.
    fn made(&self, directory: &Handle, name: &OsStr, (handle, attributes): Made) -> Result<Node> {
        match handle {
            Some(handle) => self.node(handle, attributes),
            None => self.lookup(directory, name),
        }
    }
}

/// Whether a server can be asked for a name, or give it.
pub(crate) fn check_name(name: &[u8]) -> std::result::Result<(), &'static str> {
    match name {
        b"" => Err("an empty name"),
        b"." | b".." => Err("'.' and '..' are no names of their own"),
        name if name.contains(&b'/') => Err("a name with a '/' in it"),
        name if name.contains(&0) => Err("a name with a NUL in it"),
        _ => Ok(()),
    }
}

impl From<nfs3::EntryPlus<'_>> for PageEntry {
    fn from(entry: nfs3::EntryPlus<'_>) -> Self {
        Self {
            name: OsString::from_vec(entry.name.to_vec()),
            cookie: entry.cookie,
            attributes: entry.name_attributes,
            handle: entry.name_handle.map(Handle::from),
        }
    }
}

impl From<nfs3::Entry<'_>> for PageEntry {
    fn from(entry: nfs3::Entry<'_>) -> Self {
        let nfs3::Entry { name, cookie, .. } = entry;
        let name = OsString::from_vec(name.to_vec());
        Self { name, cookie, attributes: None, handle: None }
    }
}

impl Remote for Nfs3 {
    fn read_max(&self) -> usize {
        self.read_max
    }

    fn write_max(&self) -> usize {
        self.write_max
    }

    fn read(&self, file: &Handle, offset: u64, buffer: &mut [u8]) -> Result<(usize, bool)> {
        Self::read(self, file, offset, buffer)
    }

    fn write(&self, file: &Handle, offset: u64, data: &[u8], stable: StableHow) -> Result<Written> {
        Self::write(self, file, offset, data, stable)
    }

    fn commit(&self, file: &Handle) -> Result<WriteVerifier> {
        Self::commit(self, file)
    }
}

/// What the server answered.
type Answered<T> = std::result::Result<T, nfs3::Error>;
type Made = (Option<Handle>, Option<Attributes>);

fn created(input: &mut Decoder<'_>) -> std::result::Result<Answered<Made>, holm_xdr::Error> {
    let made = input.get::<CreateRes<'_>>()?.into_result();
    Ok(made.map(|ok| (ok.object.map(Handle::from), ok.object_attributes)))
}

fn removed(input: &mut Decoder<'_>) -> std::result::Result<Answered<()>, holm_xdr::Error> {
    Ok(input.get::<RemoveRes>()?.into_result().map(drop))
}

/// What every server takes at a time.
const TRANSFER_MIN: usize = 4096;
/// More at a time does not make anything faster.
const TRANSFER_MAX: usize = 1 << 20;
