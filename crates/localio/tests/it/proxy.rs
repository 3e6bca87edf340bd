//! What lies between a client and a right server, and does to each message whatever a test wants.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A message on its way.
pub struct Message<'m> {
    /// Of the call, also where this is its reply.
    pub procedure: u32,
    pub xid: u32,
    pub is_reply: bool,
    /// From the transaction on; may be changed.
    pub bytes: &'m mut Vec<u8>,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It goes on twice.
    Twice,
    /// It gets lost.
    Lost,
    /// It goes on up to its middle, and the connection ends.
    Half,
    /// It goes on, and the connection ends.
    Last,
    /// The connection ends.
    Cut,
}

type Rule = dyn Fn(&mut Message<'_>) -> Fate + Send + Sync;

/// Starts one; it ends with the test's process.
pub fn start(
    server: SocketAddr,
    rule: impl Fn(&mut Message<'_>) -> Fate + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let rule: Arc<Rule> = Arc::new(rule);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            let calls = Arc::default();
            let pipe = Pipe { rule: rule.clone(), calls, is_reply: false };
            let back = Pipe { is_reply: true, ..pipe.clone() };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || pipe.pass(from, to));
            std::thread::spawn(move || back.pass(server, client));
        }
    });
    address
}

#[derive(Clone)]
struct Pipe {
    rule: Arc<Rule>,
    /// Procedures by transaction.
    calls: Arc<Mutex<HashMap<u32, u32>>>,
    is_reply: bool,
}

impl Pipe {
    fn pass(self, mut from: TcpStream, mut to: TcpStream) {
        while let Some(mut bytes) = receive(&mut from) {
            let xid = word(&bytes, 0);
            let procedure = if self.is_reply {
                *self.calls.lock().unwrap().get(&xid).unwrap()
            } else {
                // NFS alone has numbers of its own; others are put out of the way.
                let own = if word(&bytes, 12) == 100_003 { 0 } else { word(&bytes, 12) };
                let procedure = own + word(&bytes, 20);
                self.calls.lock().unwrap().insert(xid, procedure);
                procedure
            };
            let is_reply = self.is_reply;
            let mut message = Message { procedure, xid, is_reply, bytes: &mut bytes };
            let fate = (self.rule)(&mut message);
            let record = [&(bytes.len() as u32 | 1 << 31).to_be_bytes(), &bytes[..]].concat();
            let sent = match fate {
                Fate::Passes | Fate::Last => to.write_all(&record),
                Fate::Twice => to.write_all(&record).and_then(|()| to.write_all(&record)),
                Fate::Half => to.write_all(&record[..record.len() / 2]),
                Fate::Lost | Fate::Cut => Ok(()),
            };
            if sent.is_err() || matches!(fate, Fate::Half | Fate::Last | Fate::Cut) {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// A record.
pub fn receive(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let mut mark = [0; 4];
        from.read_exact(&mut mark).ok()?;
        let mark = u32::from_be_bytes(mark);
        let start = bytes.len();
        bytes.resize(start + (mark & 0x7fff_ffff) as usize, 0);
        from.read_exact(&mut bytes[start..]).ok()?;
        if mark >> 31 == 1 {
            return Some(bytes);
        }
    }
}

pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn set_word(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
}
