//! A client that waits for every reply: for mounting, setting up and reading back.

use crate::nfs::{self, ReadHead, Written};
use crate::rpc::{self, Header, LAST_FRAGMENT, MAX_RECORD};
use crate::xdr::{Decoder, Encode, padding};
use crate::{Error, Target};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A file handle.
pub type Handle = Vec<u8>;

/// One connection to one program.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    header: Header,
    xid: u32,
    call: Vec<u8>,
    reply: Vec<u8>,
}

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

impl Client {
    /// Connects to the NFS program.
    pub fn nfs(target: &Target) -> Result<Self, Error> {
        Self::connect(target, target.address, nfs::NFS_PROGRAM)
    }

    fn connect(target: &Target, address: SocketAddr, program: u32) -> Result<Self, Error> {
        let attempt = || format!("connect to {address}");
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).map_err(Error::io(attempt()))?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
            .map_err(Error::io(attempt()))?;
        let header = Header::new(program, nfs::VERSION, target.uid, target.gid);
        Ok(Self { stream, header, xid: first_xid(), call: Vec::new(), reply: Vec::new() })
    }

    /// Asks for the handle of the target's export.
    pub fn mount(target: &Target) -> Result<Handle, Error> {
        let address = SocketAddr::new(target.address.ip(), target.mount_port);
        let mut client = Self::connect(target, address, nfs::MOUNT_PROGRAM)?;
        let operation = format!("MNT {}", target.export);
        let mut results = client.call(&operation, nfs::MOUNT_MNT, |arguments| {
            arguments.opaque(target.export.as_bytes());
        })?;
        Ok(results.opaque().map_err(Error::truncated(&operation))?.to_vec())
    }

    /// Does nothing on the server.
    pub fn null(&mut self) -> Result<(), Error> {
        self.exchange("NULL", nfs::NULL, |_| ()).map(|_| ())
    }

    /// Whether the handle is a directory, and the size.
    pub fn getattr(&mut self, handle: &[u8]) -> Result<(bool, u64), Error> {
        let operation = "GETATTR";
        let results = self.call(operation, nfs::GETATTR, |arguments| arguments.opaque(handle))?;
        let directory = results.clone().uint() == Ok(nfs::DIRECTORY);
        let size = nfs::size(&mut results.clone()).map_err(Error::truncated(operation))?;
        Ok((directory, size))
    }

    /// The handle and size of a name; `None` if there is no such name.
    pub fn lookup(&mut self, directory: &[u8], name: &str) -> Result<Option<(Handle, u64)>, Error> {
        let operation = format!("LOOKUP {name}");
        let results = self.call(&operation, nfs::LOOKUP, |arguments| {
            arguments.opaque(directory);
            arguments.opaque(name.as_bytes());
        });
        let mut results = match results {
            Err(Error::Status { status: nfs::NOENT, .. }) => return Ok(None),
            other => other?,
        };
        let truncated = || Error::truncated(&operation);
        let handle = results.opaque().map_err(truncated())?.to_vec();
        let size = match nfs::post_op_size(&mut results).map_err(truncated())? {
            Some(size) => size,
            None => self.getattr(&handle)?.1,
        };
        Ok(Some((handle, size)))
    }

    /// The directory of that name, made if there is none.
    pub fn directory(&mut self, parent: &[u8], name: &str) -> Result<Handle, Error> {
        self.make(parent, name, nfs::MKDIR).map(|(handle, _)| handle)
    }

    /// The file of that name and its size, made if there is none.
    pub fn file(&mut self, parent: &[u8], name: &str) -> Result<(Handle, u64), Error> {
        self.make(parent, name, nfs::CREATE)
    }

    fn make(&mut self, parent: &[u8], name: &str, procedure: u32) -> Result<(Handle, u64), Error> {
        if let Some(found) = self.lookup(parent, name)? {
            return Ok(found);
        }
        let operation = format!("{} {name}", nfs::procedure_name(procedure));
        let results = self.call(&operation, procedure, |arguments| {
            arguments.opaque(parent);
            arguments.opaque(name.as_bytes());
            if procedure == nfs::CREATE {
                arguments.uint(0); // UNCHECKED
                nfs::put_mode(arguments, 0o644);
            } else {
                nfs::put_mode(arguments, 0o755);
            }
        });
        let handle = match results {
            Ok(mut results) => nfs::post_op_handle(&mut results)
                .map_err(Error::truncated(&operation))?
                .map(<[u8]>::to_vec),
            Err(Error::Status { status: nfs::EXIST, .. }) => None,
            Err(error) => return Err(error),
        };
        match handle {
            Some(handle) => Ok((handle, 0)),
            None => self.lookup(parent, name)?.ok_or_else(|| Error::Reply {
                operation,
                problem: "succeeded, but there is no such name".to_owned(),
            }),
        }
    }

    /// The largest READ and WRITE that the server wants.
    pub fn transfer_sizes(&mut self, root: &[u8]) -> Result<(u32, u32), Error> {
        let operation = "FSINFO";
        let mut results = self.call(operation, nfs::FSINFO, |arguments| arguments.opaque(root))?;
        let mut decode = || {
            nfs::post_op_size(&mut results)?;
            let read = results.uint()?;
            results.fixed(8)?;
            Ok((read, results.uint()?))
        };
        decode().map_err(Error::truncated(operation))
    }

    /// Writes all of `data`.
    pub fn write(
        &mut self,
        file: &[u8],
        offset: u64,
        stable: u32,
        data: &[u8],
    ) -> Result<Written, Error> {
        let operation = format!("WRITE of {} bytes at {offset}", data.len());
        let mut results = self.call(&operation, nfs::WRITE, |arguments| {
            arguments.opaque(file);
            arguments.hyper(offset);
            arguments.uint(data.len() as u32);
            arguments.uint(stable);
            arguments.opaque(data);
        })?;
        let written = Written::decode(&mut results).map_err(Error::truncated(&operation))?;
        if written.count as usize == data.len() {
            Ok(written)
        } else {
            Err(Error::Reply { operation, problem: format!("took {} bytes", written.count) })
        }
    }

    /// Makes what was written to a file durable; the verifier tells whether it is.
    pub fn commit(&mut self, file: &[u8]) -> Result<u64, Error> {
        let operation = "COMMIT";
        let mut results = self.call(operation, nfs::COMMIT, |arguments| {
            arguments.opaque(file);
            arguments.hyper(0);
            arguments.uint(0);
        })?;
        let mut decode = || {
            nfs::wcc(&mut results)?;
            results.hyper()
        };
        decode().map_err(Error::truncated(operation))
    }

    /// Reads at most `count` bytes.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> Result<&[u8], Error> {
        let operation = format!("READ of {count} bytes at {offset}");
        let mut results = self.call(&operation, nfs::READ, |arguments| {
            arguments.opaque(file);
            arguments.hyper(offset);
            arguments.uint(count);
        })?;
        let head = ReadHead::decode(&mut results).map_err(Error::truncated(&operation))?;
        let length = head.map_or(u32::MAX, |head| head.count) as usize;
        if length > count as usize || results.rest().len() != length + padding(length) {
            let problem = "the length of the data is not what it says".to_owned();
            return Err(Error::Reply { operation, problem });
        }
        results.fixed(length).map_err(Error::truncated(&operation))
    }

    /// A call of which only the status matters.
    pub(crate) fn call_once(
        &mut self,
        operation: &str,
        procedure: u32,
        arguments: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Error> {
        self.call(operation, procedure, arguments).map(drop)
    }

    /// Calls, checks the status, and gives what follows it.
    fn call(
        &mut self,
        operation: &str,
        procedure: u32,
        arguments: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Decoder<'_>, Error> {
        let mut results = self.exchange(operation, procedure, arguments)?;
        match results.uint().map_err(Error::truncated(operation))? {
            nfs::OK => Ok(results),
            status => Err(Error::Status { operation: operation.to_owned(), status }),
        }
    }

    fn exchange(
        &mut self,
        operation: &str,
        procedure: u32,
        arguments: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Decoder<'_>, Error> {
        self.xid = self.xid.wrapping_add(1);
        self.call.clear();
        let begun = self.header.begin(&mut self.call, self.xid);
        arguments(&mut self.call);
        Header::finish(&mut self.call, &begun, procedure, 0);
        self.stream.write_all(&self.call).map_err(Error::io(format!("send {operation}")))?;
        self.receive(operation)?;
        let mut reply = Decoder::new(&self.reply);
        if reply.uint() != Ok(self.xid) {
            let problem = "the reply has another xid".to_owned();
            return Err(Error::Reply { operation: operation.to_owned(), problem });
        }
        match rpc::reply_header(&mut reply) {
            Ok(()) => Ok(reply),
            Err(refusal) => Err(Error::Refused { operation: operation.to_owned(), refusal }),
        }
    }

    /// One record, all its fragments.
    fn receive(&mut self, operation: &str) -> Result<(), Error> {
        let attempt = || Error::io(format!("receive the reply to {operation}"));
        self.reply.clear();
        loop {
            let mut mark = [0; 4];
            self.stream.read_exact(&mut mark).map_err(attempt())?;
            let mark = u32::from_be_bytes(mark);
            let start = self.reply.len();
            let end = start + (mark & !LAST_FRAGMENT) as usize;
            if end > MAX_RECORD {
                let problem = format!("a record of more than {MAX_RECORD} bytes");
                return Err(Error::Reply { operation: operation.to_owned(), problem });
            }
            self.reply.resize(end, 0);
            self.stream.read_exact(&mut self.reply[start..]).map_err(attempt())?;
            if mark & LAST_FRAGMENT != 0 {
                return Ok(());
            }
        }
    }
}

/// An xid that no earlier connection used shortly before: a duplicate request cache would answer.
pub fn first_xid() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}
