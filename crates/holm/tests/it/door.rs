//! A client at the door of a namespace, as plain as can be: messages, and descriptors that come with them.

#![allow(dead_code)] // Several programs of tests use it, none all of it.

use crate::world::Nfs;
use holm_nfs_proto::localio::door::{
    Access, Close, MESSAGE_MAX, Message, Open, Opened, Refused, Request, Welcome,
};
use holm_nfs_proto::localio::{PROGRAM, Procedure as Localio, Uuid, VERSION};
use holm_nfs_proto::nfs3;
use holm_sunrpc::client::{CallError, Procedure};
use holm_xdr::{Encode, Encoder, Opaque};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A connection to a door.
pub struct AtDoor(OwnedFd);

impl AtDoor {
    /// Knocks.
    pub fn connect(door: &Path) -> io::Result<Self> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(door)?)?;
        Ok(Self(socket))
    }

    /// Comes in, and proves over the NFS connection that it is here.
    pub fn come_in(door: &Path, nfs: &mut Nfs) -> Self {
        let this = Self::connect(door).unwrap();
        this.prove(nfs).expect("it is let in");
        this
    }

    /// The same on a connection; none if it is not let in.
    pub fn prove(&self, nfs: &mut Nfs) -> Option<()> {
        assert_eq!(self.hear()?.0, Message::Welcome(Welcome::THIS));
        let uuid = uuid();
        self.say(&Request::Register(uuid)).unwrap();
        assert_eq!(self.hear()?.0, Message::Registered);
        uuid_is_local(nfs, &uuid).unwrap();
        // It was sent before the reply.
        assert_eq!(self.hear()?.0, Message::Proven);
        Some(())
    }

    /// The same where the server may go meanwhile.
    pub fn try_prove(&self, nfs: &mut Nfs) -> Option<()> {
        let uuid = uuid();
        let is = |expected: Message| self.hear().filter(|(said, _)| *said == expected);
        is(Message::Welcome(Welcome::THIS))?;
        self.say(&Request::Register(uuid)).ok()?;
        is(Message::Registered)?;
        uuid_is_local(nfs, &uuid).ok()?;
        is(Message::Proven).map(drop)
    }

    pub fn say(&self, request: &Request<'_>) -> io::Result<()> {
        let mut out = Encoder::with_capacity(MESSAGE_MAX);
        request.encode(&mut out);
        self.say_bytes(out.as_slice())
    }

    pub fn say_bytes(&self, message: &[u8]) -> io::Result<()> {
        Ok(send(&self.0, message, SendFlags::NOSIGNAL).map(drop)?)
    }

    /// The next message, and the file that came with it; nothing at the end.
    pub fn hear(&self) -> Option<(Message, Option<File>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut message = [0; MESSAGE_MAX];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(&mut message)], &mut control, flags);
        // A reset is an end as well.
        let length = received.map_or(0, |received| received.bytes);
        if length == 0 {
            return None;
        }
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next().map(File::from),
            _ => None,
        });
        Some((Message::from_packet(&message[..length]).unwrap(), file))
    }

    /// Opens a file, by its number and itself.
    pub fn open(&self, handle: &[u8], access: Access) -> Result<(u64, File), nfs3::Error> {
        self.try_open(handle, access).expect("an answer")
    }

    /// The same where the server may go meanwhile, and wants everything back then.
    pub fn try_open(
        &self,
        handle: &[u8],
        access: Access,
    ) -> Option<Result<(u64, File), nfs3::Error>> {
        let handle = Opaque::new(handle).unwrap();
        self.say(&Request::Open(Open { serial: 7, handle, access })).ok()?;
        match self.hear()? {
            (Message::Opened(Opened { serial: 7, file }), Some(descriptor)) => {
                Some(Ok((file, descriptor)))
            }
            (Message::Refused(Refused { serial: 7, status }), None) => Some(Err(status)),
            (Message::RecallAll, None) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Says that it has closed a file, and flushed it before that.
    pub fn close(&self, file: u64) -> io::Result<()> {
        self.say(&Request::Close(Close { file, flushed: true }))
    }
}

/// One that nobody had before.
fn uuid() -> Uuid {
    let mut uuid = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut uuid).unwrap();
    uuid
}

/// Names a UUID over NFS.
pub fn uuid_is_local(nfs: &mut Nfs, uuid: &Uuid) -> Result<(), CallError> {
    let number = Localio::UuidIsLocal.number();
    let procedure = Procedure { program: PROGRAM, version: VERSION, number };
    nfs.0.call(procedure, uuid)
}
