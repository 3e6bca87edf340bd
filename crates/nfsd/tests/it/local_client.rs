//! A client at the door of a server in this process.

use crate::wire::*;
use holm_nfs_proto::localio::door::{self, Access, Message, Request};
use holm_nfs_proto::localio::{self, Uuid};
use holm_nfs_proto::nfs3::Error;
use holm_nfsd::cache::Object;
use holm_nfsd::localio::{Line, PeerCredentials, Rules, Session, Turned};
use holm_xdr::Encoder;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// One client, and what it has heard.
pub struct Local {
    pub nfs: Client,
    pub session: Arc<Session<Object>>,
    pub ear: Ear,
}

/// The other end of a line. It takes in as much as there is room for.
#[derive(Clone)]
pub struct Ear(Arc<Mutex<Heard>>);

struct Heard {
    room: usize,
    messages: Vec<(Message, Option<OwnedFd>)>,
    ended: bool,
}

impl Line for Ear {
    fn send(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut heard = self.0.lock().unwrap();
        assert!(!heard.ended, "{message:?} after the end");
        if heard.messages.len() == heard.room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let message = Message::from_packet(message).unwrap();
        heard.messages.push((message, file.map(|file| file.try_clone_to_owned().unwrap())));
        Ok(())
    }

    fn end(&self) {
        self.0.lock().unwrap().ended = true;
    }
}

impl Ear {
    pub fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Heard { room, messages: Vec::new(), ended: false })))
    }

    /// What was said since this was asked last.
    pub fn heard(&self) -> Vec<(Message, Option<OwnedFd>)> {
        std::mem::take(&mut self.0.lock().unwrap().messages)
    }

    /// The same of messages without files.
    pub fn messages(&self) -> Vec<Message> {
        let plain = |(message, file): (Message, Option<OwnedFd>)| {
            assert!(file.is_none());
            message
        };
        self.heard().into_iter().map(plain).collect()
    }

    pub fn has_ended(&self) -> bool {
        self.0.lock().unwrap().ended
    }
}

/// Somebody who is only in the group of the same number.
pub fn user(id: u32) -> PeerCredentials {
    PeerCredentials { pid: Some(4000), uid: id, gid: id, groups: Vec::new() }
}

pub fn admit(client: &Client, users: &[u32]) {
    let rules = Rules { users: users.iter().copied().collect(), sessions: 40, files: 100 };
    client.service.local().set_rules(rules);
}

impl Local {
    /// Comes in, but has proven nothing yet.
    pub fn arrive(client: &Client, who: PeerCredentials) -> Result<Self, Turned> {
        Self::arrive_with_room(client, who, usize::MAX)
    }

    pub fn arrive_with_room(
        client: &Client,
        who: PeerCredentials,
        room: usize,
    ) -> Result<Self, Turned> {
        let ear = Ear::new(room);
        let session = client.service.local().arrive(who, ear.clone())?;
        assert_eq!(ear.messages(), [Message::Welcome(door::Welcome::THIS)]);
        Ok(Self { nfs: client.clone(), session, ear })
    }

    /// The whole way in.
    pub fn new(client: &Client, who: PeerCredentials) -> Self {
        let local = Self::arrive(client, who).unwrap();
        let uuid = local.register();
        client.name(uuid);
        assert_eq!(local.ear.messages(), [Message::Proven]);
        local
    }

    pub fn register(&self) -> Uuid {
        let mut uuid = [0; 16];
        rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty()).unwrap();
        assert!(self.say(&Request::Register(uuid)));
        assert_eq!(self.ear.messages(), [Message::Registered]);
        uuid
    }

    pub fn say(&self, request: &Request<'_>) -> bool {
        let mut message = Encoder::new();
        message.put(request);
        self.nfs.at_the_door(&self.session, &message)
    }

    pub fn open(&self, handle: &[u8], access: Access) -> Result<(u64, File), Error> {
        let open = door::Open { serial: 77, handle: fh(handle), access };
        assert!(self.say(&Request::Open(open)));
        match self.ear.heard().pop().unwrap() {
            (Message::Opened(door::Opened { serial: 77, file }), Some(fd)) => Ok((file, fd.into())),
            (Message::Refused(door::Refused { serial: 77, status }), None) => Err(status),
            other => panic!("{other:?}"),
        }
    }

    pub fn close(&self, file: u64, flushed: bool) -> bool {
        self.say(&Request::Close(door::Close { file, flushed }))
    }
}

impl Client {
    /// UUID_IS_LOCAL.
    pub fn name(&self, uuid: Uuid) {
        let call = localio::Call::UuidIsLocal(uuid);
        let procedure = (localio::PROGRAM, localio::VERSION, call.procedure().number());
        self.try_call::<()>(procedure, &call).unwrap();
    }
}
