//! TCP over the stacks of namespaces: who sends back what comes, and who sends and compares.

use holm_ifnet::stack::{NsStacks, Offered, Stack, Stream};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

const PORT: u16 = 2049;

/// Sends back whatever comes to a namespace, for as long as it is kept. Nobody waits: whoever has brought
/// something sends it back.
pub struct Echo {
    _offered: Offered,
    all: Arc<Mutex<Vec<Arc<Session>>>>,
}

struct Session {
    stream: Stream,
    /// What came and was not sent back.
    pending: Mutex<Vec<u8>>,
}

impl Echo {
    pub fn offer(stacks: &NsStacks) -> io::Result<Self> {
        let all = Arc::<Mutex<Vec<Arc<Session>>>>::default();
        let sessions = all.clone();
        let offered = stacks.listen(PORT, move |stream| {
            let session = Arc::new(Session { stream, pending: Mutex::default() });
            lock(&sessions).push(session.clone());
            let (weak, sessions) = (Arc::downgrade(&session), sessions.clone());
            session.stream.set_wake(Arc::new(move || {
                let Some(session) = weak.upgrade() else { return };
                if session.turn().is_err() {
                    lock(&sessions).retain(|other| !Arc::ptr_eq(other, &session));
                }
            }));
        })?;
        Ok(Self { _offered: offered, all })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Not while the list is locked: who lets go of a stream may wake others.
        let all = std::mem::take(&mut *lock(&self.all));
        drop(all);
    }
}

impl Session {
    /// Receives and sends until nothing more can be; an error at the end.
    fn turn(&self) -> io::Result<()> {
        let mut pending = lock(&self.pending);
        let mut space = [0; 16 << 10];
        loop {
            while !pending.is_empty() {
                match self.stream.send(&pending) {
                    Ok(count) => drop(pending.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            match self.stream.receive(&mut space) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => pending.extend(&space[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Sends so many bytes there, and compares what comes back. An error is one of the connection: its link has
/// gone, or has not come yet.
pub fn exchange(stack: &Arc<Stack>, to: IpAddr, length: usize, seed: u8) -> io::Result<()> {
    let stream = stack.connect(SocketAddr::new(to, PORT))?;
    let bell = Arc::new((Mutex::new(false), Condvar::new()));
    let clapper = bell.clone();
    stream.set_wake(Arc::new(move || {
        *lock(&clapper.0) = true;
        clapper.1.notify_all();
    }));
    let byte = |at: usize| (at as u8).wrapping_mul(31) ^ seed ^ (at >> 8) as u8;
    let (mut sent, mut came) = (0, 0);
    let mut space = [0; 16 << 10];
    while came < length {
        let mut moved = false;
        let chunk: Vec<u8> = (sent..length.min(sent + space.len())).map(byte).collect();
        if !chunk.is_empty() {
            match stream.send(&chunk) {
                Ok(count) => {
                    sent += count;
                    moved |= count > 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        match stream.receive(&mut space) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let same =
                    space.iter().take(count).enumerate().all(|(n, it)| *it == byte(came + n));
                assert!(same, "other bytes came back than were sent");
                came += count;
                moved = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if !moved {
            let rung = lock(&bell.0);
            let wait = bell.1.wait_while(rung, |rung| !*rung);
            *wait.unwrap_or_else(PoisonError::into_inner) = false;
        }
    }
    stream.end();
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
