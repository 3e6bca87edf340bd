//! The messages of a server's door: a unix socket (`SOCK_SEQPACKET`) on which clients of the same
//! machine are handed open files.
//!
//! Our own protocol, not that of Linux, whose client and server share a kernel. Each packet is one
//! message. Where the door is says the port mapper: GETADDR of the LOCALIO program on the network
//! [`NETID`].
//!
//! 1. The server sends [`Message::Welcome`] as soon as somebody has come.
//! 2. The client sends [`Request::Register`] with a UUID, and the server [`Message::Registered`]. Then
//!    the client names it in UUID_IS_LOCAL on its NFS connection. Before the reply to that,
//!    [`Message::Proven`] comes here, or never.
//! 3. [`Request::Open`] is answered with [`Message::Opened`], which has one descriptor with it
//!    (`SCM_RIGHTS`), or [`Message::Refused`]. [`Request::Close`] has no answer.
//! 4. [`Message::Recall`] and [`Message::RecallAll`] want files back: the client finishes what is in
//!    flight, closes the descriptor and sends [`Request::Close`].

use super::Uuid;
use crate::nfs3::{Error, FileHandle};
use holm_xdr::{Decode, Decoder, Encode};

/// What the network is called at the port mapper on which a door is: the address is the path of the
/// socket (RFC 5665, section 4.2.2, has no other use for the name).
pub const NETID: &[u8] = b"local";
/// What a server says first, so that a client does not take something else for it.
pub const MAGIC: u32 = 0x686f_6c6d;
/// The version of these messages.
pub const VERSION: u32 = 1;
/// Most bytes of a message, in either direction.
pub const MESSAGE_MAX: usize = 256;

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Request<'a> {
    /// It will name this UUID, which it has made up for this one time, on its NFS connection.
    #[xdr(case = 1)]
    Register(Uuid),
    /// It wants a file.
    #[xdr(case = 2)]
    Open(Open<'a>),
    /// It has closed a file.
    #[xdr(case = 3)]
    Close(Close),
}

/// Which file a client wants, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Open<'a> {
    /// Chosen by the client, to find the answer by.
    pub serial: u32,
    /// The file, as NFS calls it.
    pub handle: FileHandle<'a>,
    /// What for.
    pub access: Access,
}

/// What a file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(i32)]
pub enum Access {
    /// Reading.
    Read = 1,
    /// Writing.
    Write = 2,
    /// Both.
    ReadWrite = 3,
}

/// Which file a client has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Close {
    /// The number that came with it.
    pub file: u64,
    /// All that was written to it is on the disk.
    pub flushed: bool,
}

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// Come in.
    #[xdr(case = 1)]
    Welcome(Welcome),
    /// The UUID is known, and waits to be named.
    #[xdr(case = 2)]
    Registered,
    /// It was named. Files can be opened.
    #[xdr(case = 3)]
    Proven,
    /// Here is a file; the descriptor comes with the message.
    #[xdr(case = 4)]
    Opened(Opened),
    /// It is not opened.
    #[xdr(case = 5)]
    Refused(Refused),
    /// A file is wanted back, by its number.
    #[xdr(case = 6)]
    Recall(u64),
    /// All files are wanted back, and no other will be opened.
    #[xdr(case = 7)]
    RecallAll,
}

/// Who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Welcome {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`].
    pub version: u32,
}

impl Welcome {
    /// What this version says.
    pub const THIS: Self = Self { magic: MAGIC, version: VERSION };
}

/// A file that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Opened {
    /// The client's number of the request.
    pub serial: u32,
    /// The server's number of the file. The connection never has it again.
    pub file: u64,
}

/// A file that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Refused {
    /// The client's number of the request.
    pub serial: u32,
    /// Why not. [`Error::NotSupp`]: not here, but by NFS.
    pub status: Error,
}

impl<'a> Request<'a> {
    /// A message of a client: all of the packet, and not more than [`MESSAGE_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// If it is none: the connection is to be closed.
    pub fn from_packet(packet: &'a [u8]) -> Result<Self, holm_xdr::Error> {
        whole(packet)
    }
}

impl Message {
    /// A message of a server, as [`Request::from_packet`].
    ///
    /// # Errors
    ///
    /// If it is none: the connection is to be closed.
    pub fn from_packet(packet: &[u8]) -> Result<Self, holm_xdr::Error> {
        whole(packet)
    }
}

fn whole<'a, T: Decode<'a>>(packet: &'a [u8]) -> Result<T, holm_xdr::Error> {
    let mut input = Decoder::strict(packet);
    let message = input.get()?;
    input.finish()?;
    Ok(message)
}
