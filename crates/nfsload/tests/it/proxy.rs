//! A server that is wrong: between a client and a right one, it damages what passes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub const READ: u32 = 6;
pub const WRITE: u32 = 7;

/// What is done to a message; the procedure is that of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One bit of the last word of a READ reply of at least a block.
    FlippedBit,
    /// A READ reply ends early, and its record with it.
    Truncated,
    /// A reply answers nobody.
    WrongXid,
    /// A WRITE is acknowledged, but its bytes go elsewhere.
    LostWrite,
    /// The connection ends in the middle of a reply.
    Cut,
}

/// A proxy that damages one message once it is armed.
pub struct Proxy {
    pub address: SocketAddr,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    /// Damages every `nth` message of the kind, at most `times` times.
    pub fn start(server: SocketAddr, damage: Damage, nth: u32, times: u32) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let armed = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU32::new(0));
        let state = (Arc::clone(&armed), count);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(server).unwrap();
                let calls = Arc::default();
                let (armed, count) = state.clone();
                let one = Pipe { damage, nth, times, armed, count, calls };
                let other = one.clone();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || one.pass(from, to, |pipe, call| pipe.damage_call(call)));
                std::thread::spawn(move || other.pass(server, client, Pipe::damage_reply));
            }
        });
        Self { address, armed }
    }

    /// From now on.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Pipe {
    damage: Damage,
    nth: u32,
    times: u32,
    armed: Arc<AtomicBool>,
    count: Arc<AtomicU32>,
    /// Procedures by xid.
    calls: Arc<Mutex<HashMap<u32, u32>>>,
}

impl Pipe {
    fn pass(self, mut from: TcpStream, mut to: TcpStream, change: fn(&Self, &mut Vec<u8>) -> bool) {
        let mut mark = [0; 4];
        while from.read_exact(&mut mark).is_ok() {
            let length = u32::from_be_bytes(mark) & 0x7fff_ffff;
            let mut record = vec![0; length as usize];
            if from.read_exact(&mut record).is_err() {
                break;
            }
            let announced = record.len();
            let cut = change(&self, &mut record);
            let length = if cut { announced } else { record.len() };
            let mark = (length as u32 | 1 << 31).to_be_bytes();
            if to.write_all(&[&mark, &record[..]].concat()).is_err() || cut {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn due(&self) -> bool {
        if !self.armed.load(Ordering::SeqCst) {
            return false;
        }
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        count.is_multiple_of(self.nth) && count / self.nth <= self.times
    }

    fn damage_call(&self, call: &mut [u8]) -> bool {
        let procedure = word(call, 20);
        self.calls.lock().unwrap().insert(word(call, 0), procedure);
        if self.damage == Damage::LostWrite && procedure == WRITE && self.due() {
            let credential = 24 + 8 + word(call, 28) as usize;
            let handle = credential + 8;
            let offset = handle + 4 + (word(call, handle) as usize).next_multiple_of(4);
            call[offset..offset + 8].copy_from_slice(&(4u64 << 20).to_be_bytes());
        }
        false
    }

    fn damage_reply(&self, reply: &mut Vec<u8>) -> bool {
        let procedure = self.calls.lock().unwrap().remove(&word(reply, 0));
        let read = procedure == Some(READ) && reply.len() > 4096;
        match self.damage {
            Damage::FlippedBit if read && self.due() => {
                *reply.last_mut().unwrap() ^= 0x10;
            }
            Damage::Truncated if read && self.due() => reply.truncate(reply.len() - 8),
            Damage::WrongXid if read && self.due() => reply[0] ^= 0x80,
            Damage::Cut if read && self.due() => {
                reply.truncate(100);
                return true;
            }
            _ => {}
        }
        false
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}
