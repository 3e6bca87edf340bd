//! One connection of the door as a socket: a message is a packet, and a file goes with one.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connection. Nothing of it blocks.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A message, of so many bytes.
    Message(usize),
    /// Nothing for now.
    Nothing,
    /// The end, or something that no client sends: it is longer than there is room for, or brings
    /// descriptors along, which the kernel has closed.
    End,
}

impl Socket {
    /// One that does not block.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Receives one message. May block after all where the last descriptor of a file came along, which is
    /// then closed.
    pub(super) fn receive(&self, space: &mut [u8]) -> Received {
        // No room for descriptors, so that we never have any.
        let mut control = RecvAncillaryBuffer::default();
        loop {
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0, &mut [IoSliceMut::new(space)], &mut control, flags) {
                Ok(message)
                    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) =>
                {
                    return Received::End;
                }
                // No message is empty.
                Ok(message) if message.bytes == 0 => return Received::End,
                Ok(message) => return Received::Message(message.bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::End,
            }
        }
    }

    /// Sends one message, with a file.
    ///
    /// # Errors
    ///
    /// Also if the client has not taken what was sent before.
    pub(super) fn send(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let file = file.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !file.is_empty() && !control.push(SendAncillaryMessage::ScmRights(file)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let message = [IoSlice::new(message)];
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &message, &mut control, flags))?;
        Ok(())
    }

    /// Nothing is received or sent any more, at either end. What was sent before can still be read there.
    pub(super) fn end(&self) {
        // An error says that the other end was faster.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{
        AddressFamily, RecvAncillaryMessage, SocketFlags, SocketType, send, socketpair,
    };
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    fn pair() -> (Socket, OwnedFd) {
        let (flags, kind) = (SocketFlags::CLOEXEC, SocketType::SEQPACKET);
        let (one, other) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        (Socket::new(one), other)
    }

    #[test]
    fn messages_come_whole_and_one_by_one() {
        let (socket, peer) = pair();
        let mut space = [0; 8];
        assert_eq!(socket.receive(&mut space), Received::Nothing);
        send(&peer, b"one", SendFlags::empty()).unwrap();
        send(&peer, b"exactly8", SendFlags::empty()).unwrap();
        send(&peer, b"one more.", SendFlags::empty()).unwrap();
        assert_eq!(socket.receive(&mut space), Received::Message(3));
        assert_eq!(socket.receive(&mut space), Received::Message(8));
        assert_eq!(&space, b"exactly8");
        assert_eq!(socket.receive(&mut space), Received::End, "too long");
        send(&peer, b"", SendFlags::empty()).unwrap();
        assert_eq!(socket.receive(&mut space), Received::End, "empty");
        drop(peer);
        assert_eq!(socket.receive(&mut space), Received::End);
    }

    #[test]
    fn descriptors_are_sent_and_never_received() {
        let (socket, peer) = pair();
        let file = tempfile::tempfile().unwrap();
        socket.send(b"here", Some(file.as_fd())).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 8];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&peer, &mut [IoSliceMut::new(&mut text)], &mut control, flags).unwrap();
        assert_eq!(&text[..got.bytes], b"here");
        let Some(RecvAncillaryMessage::ScmRights(mut files)) = control.drain().next() else {
            panic!("no descriptor");
        };
        let received = File::from(files.next().unwrap());
        assert_eq!(received.metadata().unwrap().ino(), file.metadata().unwrap().ino());

        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files = [writer.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        sendmsg(&peer, &[IoSlice::new(b"take")], &mut control, SendFlags::empty()).unwrap();
        drop(writer);
        assert_eq!(socket.receive(&mut text), Received::End);
        // Otherwise there would be no end: somebody could write still.
        assert_eq!(reader.read(&mut text).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_takes_nothing_is_noticed_and_the_end_is_seen() {
        let (socket, peer) = pair();
        let refused = (0..1 << 20).find_map(|_| socket.send(&[7; 64], None).err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        socket.end();
        let mut space = [0; 64];
        assert_eq!(socket.receive(&mut space), Received::End);
        let (mut taken, flags) = (0, RecvFlags::empty());
        while rustix::net::recv(&peer, &mut space, flags).unwrap().0 > 0 {
            taken += 1;
        }
        assert!(taken > 0, "what was sent before the end is lost");
    }
}
