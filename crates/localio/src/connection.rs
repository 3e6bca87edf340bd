//! Connections to the server that are made again when they break, and calls that are sent again.
//!
//! A call that had no answer when its connection broke is sent again with the **same transaction**, so
//! that the server's duplicate request cache answers it if it was done already: a REMOVE that is done
//! twice would fail the second time.

use crate::dial::dial;
use crate::error::Problem;
use crate::options::Options;
use holm_lifetime::sync::{Condvar, Mutex};
use holm_sunrpc::auth::Groups;
use holm_sunrpc::client::{CallError, Client, Procedure};
use holm_sunrpc::{AuthSys, auth};
use holm_xdr::{Decode, Decoder, Encode, Opaque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What connections to one server have in common.
#[derive(Debug)]
pub struct Peer {
    machine_name: Vec<u8>,
    uid: u32,
    gid: u32,
    gids: Groups,
    patience: Duration,
}

impl Peer {
    pub fn new(options: &Options) -> Self {
        let mut machine_name = rustix::system::uname().nodename().to_bytes().to_vec();
        machine_name.truncate(auth::MACHINE_NAME_MAX as usize);
        let groups = options.user.groups.get(..auth::GROUPS_MAX).unwrap_or(&options.user.groups);
        Self {
            machine_name,
            uid: options.user.uid,
            gid: options.user.gid,
            gids: Groups::new(groups).unwrap_or_default(),
            // The clock has an end.
            patience: options.patience.min(PATIENCE_MAX),
        }
    }

    pub const fn patience(&self) -> Duration {
        self.patience
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    peer: Arc<Peer>,
    address: SocketAddr,
    /// `None` when it broke.
    client: Option<Client<Patient>>,
    /// The transaction of the next call, and of one that had no answer.
    xid: u32,
}

impl Connection {
    /// Connects, or says why it can't.
    pub fn open(peer: &Arc<Peer>, address: SocketAddr) -> io::Result<Self> {
        let mut new = Self::closed(peer, address);
        new.client = Some(new.connect(Instant::now() + peer.patience)?);
        Ok(new)
    }

    /// Connects when it is first used.
    pub fn closed(peer: &Arc<Peer>, address: SocketAddr) -> Self {
        let xid = u32::from_ne_bytes(random());
        Self { peer: peer.clone(), address, client: None, xid }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls, and gives what `take` makes of the results. Whoever calls must not have the same call
    /// sent anew after an error: it may have been done.
    pub fn call<T>(
        &mut self,
        procedure: Procedure,
        args: &impl Encode,
        take: &impl Fn(&mut Decoder<'_>) -> Result<T, holm_xdr::Error>,
    ) -> Result<T, Problem> {
        let begun = Instant::now();
        let until = begun + self.peer.patience;
        let mut pause = Pause::new();
        // What had an answer, or will not be sent again, leaves its transaction behind.
        let answered = |this: &mut Self| this.xid = this.xid.wrapping_add(1);
        loop {
            let last = match self.attempt(procedure, args, take, until) {
                Ok(results) => {
                    answered(self);
                    return Ok(results);
                }
                Err(CallError::Refused(refusal)) => {
                    answered(self);
                    return Err(Problem::Refused(refusal));
                }
                Err(CallError::Io(error)) => why_io(&error),
                Err(error @ CallError::Closed) => error.to_string(),
                Err(error @ (CallError::Record(_) | CallError::Reply(_))) => {
                    // Sent again it would have the same answer.
                    self.client = None;
                    answered(self);
                    return Err(Problem::malformed(error.to_string()));
                }
                Err(CallError::TooLong(_)) => {
                    return Err(Problem::Invalid("more data than fits into a call"));
                }
            };
            self.client = None;
            if !pause.before(until) {
                answered(self);
                return Err(Problem::NoAnswer { waited: begun.elapsed(), last });
            }
        }
    }

    fn attempt<T>(
        &mut self,
        procedure: Procedure,
        args: &impl Encode,
        take: &impl Fn(&mut Decoder<'_>) -> Result<T, holm_xdr::Error>,
        until: Instant,
    ) -> Result<T, CallError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.connect(until)?,
        };
        let client = self.client.insert(client);
        client.stream().begin();
        let Results(results) = client.call(procedure, args)?;
        Ok(take(&mut Decoder::new(results))?)
    }

    fn connect(&self, until: Instant) -> io::Result<Client<Patient>> {
        let left = until.saturating_duration_since(Instant::now());
        let stream = dial(self.address, left)?;
        if stream.local_addr()? == self.address {
            // Nobody listens at this port of our own machine, and TCP has connected it with itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let stream = Patient::new(stream, self.peer.patience / ATTEMPTS)?;
        let Peer { machine_name, uid, gid, gids, .. } = &*self.peer;
        let machine_name = Opaque::new(machine_name).unwrap_or_default();
        let user = AuthSys { stamp: 0, machine_name, uid: *uid, gid: *gid, gids: *gids };
        Ok(Client::new(stream).with_user(&user).with_xid(self.xid))
    }
}

/// Connections to one port, lent to one thread each.
#[derive(Debug)]
pub struct Connections {
    peer: Arc<Peer>,
    address: SocketAddr,
    state: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Debug)]
struct Pool {
    /// The one that was used last is at the end.
    idle: Vec<Connection>,
    /// How many more may be made.
    left: usize,
}

impl Connections {
    /// Beginning with one, at most `most` to the same place.
    pub fn new(first: Connection, most: usize) -> Self {
        let (peer, address) = (first.peer.clone(), first.address);
        let pool = Pool { idle: vec![first], left: most.saturating_sub(1) };
        Self { peer, address, state: Mutex::new(pool), returned: Condvar::new() }
    }

    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection for this thread alone; waits while all are lent.
    pub fn lend(&self) -> Lent<'_> {
        let mut pool = self.state.lock();
        let connection = loop {
            if let Some(connection) = pool.idle.pop() {
                break connection;
            }
            if let Some(left) = pool.left.checked_sub(1) {
                pool.left = left;
                break Connection::closed(&self.peer, self.address);
            }
            pool = self.returned.wait(pool);
        };
        Lent { connections: self, connection: Some(connection) }
    }
}

/// A connection that is given back at the end.
pub struct Lent<'c> {
    connections: &'c Connections,
    /// There until it is dropped.
    connection: Option<Connection>,
}

impl Lent<'_> {
    /// [`Connection::call`].
    pub fn call<T>(
        &mut self,
        procedure: Procedure,
        args: &impl Encode,
        take: &impl Fn(&mut Decoder<'_>) -> Result<T, holm_xdr::Error>,
    ) -> Result<T, Problem> {
        match &mut self.connection {
            Some(connection) => connection.call(procedure, args, take),
            None => Err(Problem::Invalid("the connection was given back")),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.connections.state.lock();
        pool.idle.extend(self.connection.take());
        drop(pool);
        self.connections.returned.notify_one();
    }
}

/// Pauses between attempts: none before the first, since a connection may merely have been idle for
/// too long, then longer and longer ones.
#[derive(Debug)]
pub struct Pause {
    next: Duration,
}

impl Pause {
    pub const fn new() -> Self {
        Self { next: Duration::ZERO }
    }

    /// One that takes some time from the first on.
    pub const fn long() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// Waits, and says whether there is time for another attempt.
    pub fn before(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.next.min(left));
        self.next = (self.next * 2).clamp(FIRST_PAUSE, LAST_PAUSE);
        true
    }
}

/// A stream on which no call takes much longer than it may, however slowly bytes come.
#[derive(Debug)]
struct Patient {
    stream: TcpStream,
    patience: Duration,
    until: std::cell::Cell<Instant>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> io::Result<Self> {
        let patience = patience.max(SHORTEST);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        // A server that is gone without a word, as with its power, is noticed while we wait for it.
        rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
        rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
        rustix::net::sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
        rustix::net::sockopt::set_tcp_keepcnt(&stream, 3)?;
        let until = Instant::now() + patience;
        Ok(Self { stream, patience, until: until.into() })
    }

    /// A call begins.
    fn begin(&self) {
        self.until.set(Instant::now() + self.patience);
    }

    fn check(&self) -> io::Result<()> {
        if self.until.get() <= Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(buffer)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// All that follows the header of a reply.
struct Results<'a>(&'a [u8]);

impl<'a> Decode<'a> for Results<'a> {
    fn decode(input: &mut Decoder<'a>) -> Result<Self, holm_xdr::Error> {
        Ok(Self(input.rest()))
    }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        // It fails only when a signal comes before there is any randomness.
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

fn why_io(error: &io::Error) -> String {
    match error.kind() {
        // What a socket with a timeout says.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "nothing came".to_owned(),
        _ => error.to_string(),
    }
}

/// How often a call is sent on connections that do not break but bring nothing: a server that was
/// busy with it when it came again drops it, and knows the answer the next time.
const ATTEMPTS: u32 = 3;
const PATIENCE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A timeout of nothing is none.
const SHORTEST: Duration = Duration::from_millis(1);
