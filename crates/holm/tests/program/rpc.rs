//! Calls on a connection, whatever an honest client would do.

use crate::calls::{fh, mode, place};
use holm_nfs_proto::{mount, nfs3};
use holm_sunrpc::auth::{AuthSys, Groups};
use holm_sunrpc::client::{CallError, Client, Procedure};
use holm_xdr::{Decode, Opaque};
use nfs3::{Call, Error};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

/// A connection on which a user calls.
pub struct Rpc(Client<TcpStream>);

/// A handle, as a client keeps it.
pub type Handle = Vec<u8>;

impl Rpc {
    /// As root, who is squashed unless the export says otherwise.
    pub fn connect(port: u16) -> Self {
        Self::connect_as(port, 0, 0, &[])
    }

    pub fn connect_as(port: u16, uid: u32, gid: u32, groups: &[u32]) -> Self {
        let machine_name = Opaque::new(b"test").unwrap();
        let gids = Groups::new(groups).unwrap();
        let user = AuthSys { stamp: 0, machine_name, uid, gid, gids };
        // A call of another connection must not be taken for one of these sent again.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let first = NEXT.fetch_add(1 << 20, Ordering::Relaxed);
        let client = Client::connect(("127.0.0.1", port), None).unwrap();
        Self(client.with_user(&user).with_xid(first))
    }

    pub fn nfs<'c, R: Decode<'c>>(&'c mut self, call: &Call<'_>) -> R {
        let (program, version) = (nfs3::PROGRAM, nfs3::VERSION);
        let number = call.procedure().number();
        self.0.call(Procedure { program, version, number }, call).unwrap()
    }

    /// Sends a call, and leaves its reply to [`end`](Self::end).
    pub fn begin(&mut self, call: &Call<'_>) {
        let (program, version) = (nfs3::PROGRAM, nfs3::VERSION);
        let number = call.procedure().number();
        self.0.send(Procedure { program, version, number }, call).unwrap();
    }

    /// What the next result begins with; nothing, if the server ends the connection instead.
    pub fn end(&mut self) -> Option<u32> {
        match self.0.receive() {
            Ok(reply) => Some(reply.outcome.unwrap().u32().unwrap()),
            Err(CallError::Closed | CallError::Io(_)) => None,
            Err(other) => panic!("{other}"),
        }
    }

    /// What the result begins with: 0 is success.
    pub fn status(&mut self, call: &Call<'_>) -> u32 {
        self.nfs(call)
    }

    pub fn mount(&mut self, path: &str) -> Result<Handle, mount::Error> {
        let call = mount::Call::Mnt(Opaque::new(path.as_bytes()).unwrap());
        let (program, version) = (mount::PROGRAM, mount::VERSION);
        let number = call.procedure().number();
        match self.0.call(Procedure { program, version, number }, &call).unwrap() {
            mount::MountRes::Ok(ok) => Ok(ok.handle.to_vec()),
            mount::MountRes::Failed(error) => Err(error),
        }
    }

    pub fn lookup(&mut self, dir: &[u8], name: &[u8]) -> Result<Handle, Error> {
        self.lookup_what(dir, name).map(|(handle, _)| handle)
    }

    /// With what is said of it in the same reply.
    pub fn lookup_what(
        &mut self,
        dir: &[u8],
        name: &[u8],
    ) -> Result<(Handle, nfs3::PostOpAttributes), Error> {
        let call = Call::Lookup(nfs3::LookupArgs { what: place(dir, name) });
        let ok = self.nfs::<nfs3::LookupRes<'_>>(&call).into_result()?;
        Ok((ok.object.to_vec(), ok.object_attributes))
    }

    pub fn getattr(&mut self, object: &[u8]) -> Result<nfs3::Attributes, Error> {
        let call = Call::GetAttr(nfs3::GetAttrArgs { object: fh(object) });
        Ok(self.nfs::<nfs3::GetAttrRes>(&call).into_result()?.attributes)
    }

    pub fn create(&mut self, dir: &[u8], name: &[u8]) -> Result<Handle, Error> {
        let how = nfs3::CreateHow::Unchecked(mode(0o644));
        let call = Call::Create(nfs3::CreateArgs { place: place(dir, name), how });
        let ok = self.nfs::<nfs3::CreateRes<'_>>(&call).into_result()?;
        Ok(ok.object.unwrap().to_vec())
    }

    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Result<Vec<u8>, Error> {
        let call = Call::Read(nfs3::ReadArgs { file: fh(file), offset, count });
        let ok = self.nfs::<nfs3::ReadRes<'_>>(&call).into_result()?;
        Ok(ok.data.to_vec())
    }

    /// Names, and the handles that came with them.
    pub fn list(
        &mut self,
        dir: &[u8],
        cookie: u64,
        cookie_verifier: [u8; 8],
    ) -> Result<Listed, Error> {
        let (dir_count, max_count) = (8192, 32 << 10);
        let dir = fh(dir);
        let args = nfs3::ReadDirPlusArgs { dir, cookie, cookie_verifier, dir_count, max_count };
        let ok = self.nfs::<nfs3::ReadDirPlusRes<'_>>(&Call::ReadDirPlus(args)).into_result()?;
        let entry = |entry: &nfs3::EntryPlus<'_>| {
            let handle = entry.name_handle.map(|handle| handle.to_vec());
            (entry.name.to_vec(), handle)
        };
        let entries = ok.entries.iter().map(entry).collect();
        Ok(Listed { entries, verifier: ok.cookie_verifier })
    }
}

/// Entries of a directory, and the verifier of their cookies.
pub struct Listed {
    pub entries: Vec<(Vec<u8>, Option<Handle>)>,
    pub verifier: [u8; 8],
}
