//! The server that does the least: it parses calls, looks at the few arguments that decide what a
//! reply is, and answers from memory. What a user-space server on this machine can reach at most.

mod answers;
mod connection;

use self::answers::Answers;
use self::connection::Connection;
use crate::Error;
use rustix::event::{EventfdFlags, epoll, eventfd};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the server pretends to have.
#[derive(Debug, Clone)]
pub struct LimitOptions {
    /// Port on 127.0.0.1; 0 takes any.
    pub port: u16,
    /// Threads; connections are dealt out over them.
    pub threads: usize,
    /// Bytes of every file.
    pub size: u64,
    /// Entries of every directory.
    pub entries: usize,
    /// What WRITE does and READ reads.
    pub content: Content,
}

impl Default for LimitOptions {
    fn default() -> Self {
        let content = Content::Canned;
        Self { port: 0, threads: 2, size: 256 << 20, entries: 1000, content }
    }
}

/// What WRITE does and READ reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// READ gives the same bytes for all files; WRITE puts them into a memfd, as if it were the
    /// page cache
    Canned,
    /// Names and bytes are kept in memory, so that what is read back can be verified; slower
    Kept,
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct LimitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answers: Answers,
    listener: TcpListener,
    workers: Vec<Worker>,
    stop: AtomicBool,
}

/// Where connections for a thread are put.
#[derive(Debug)]
struct Worker {
    epoll: OwnedFd,
    wake: OwnedFd,
    accepted: Mutex<Vec<TcpStream>>,
}

impl LimitServer {
    /// Starts it on 127.0.0.1.
    pub fn start(options: &LimitOptions) -> Result<Self, Error> {
        let attempt = || Error::io(format!("listen on 127.0.0.1:{}", options.port));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).map_err(attempt())?;
        listener.set_nonblocking(true).map_err(attempt())?;
        let address = listener.local_addr().map_err(attempt())?;
        let workers: Result<Vec<_>, _> = (0..options.threads.max(1)).map(|_| worker()).collect();
        let workers = workers.map_err(Error::system("make an epoll instance"))?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&workers[0].epoll, &listener, data, epoll::EventFlags::IN)
            .map_err(Error::system("watch the listener"))?;
        let answers = Answers::new(options)?;
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { answers, listener, workers, stop });
        let mut server = Self { address, shared, threads: Vec::new() };
        for index in 0..server.shared.workers.len() {
            let shared = Arc::clone(&server.shared);
            let thread = std::thread::Builder::new()
                .name(format!("limit-{index}"))
                .spawn(move || shared.serve(index))
                .map_err(Error::io("start a thread"))?;
            server.threads.push(thread);
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends, which it does not by itself.
    pub fn wait(mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for LimitServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in &self.shared.workers {
            worker.wake();
        }
        for thread in self.threads.drain(..) {
            // A panic was printed where it happened.
            let _ = thread.join();
        }
    }
}

const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;

fn worker() -> rustix::io::Result<Worker> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
    Ok(Worker { epoll, wake, accepted: Mutex::default() })
}

impl Worker {
    fn wake(&self) {
        // It fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn hand(&self, stream: TcpStream) {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        self.wake();
    }

    fn take(&self) -> Vec<TcpStream> {
        // Only so that it does not wake again.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn serve(&self, index: usize) {
        let worker = &self.workers[index];
        let mut connections: Vec<Option<Connection>> = Vec::new();
        let mut events = Vec::with_capacity(256);
        let mut next = 0;
        while !self.stop.load(Ordering::Acquire) {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&worker.epoll, spare, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(&mut next),
                    WAKE => {
                        for stream in worker.take() {
                            add(worker, &mut connections, stream);
                        }
                    }
                    index => self.ready(worker, &mut connections[index as usize], index),
                }
            }
        }
    }

    fn accept(&self, next: &mut usize) {
        while let Ok((stream, _)) = self.listener.accept() {
            self.workers[*next % self.workers.len()].hand(stream);
            *next += 1;
        }
    }

    /// Serves a connection; one that failed or broke the protocol is closed.
    fn ready(&self, worker: &Worker, slot: &mut Option<Connection>, index: u64) {
        let Some(connection) = slot else { return };
        let was_blocked = connection.is_blocked();
        if connection.serve(&self.answers).is_err() {
            *slot = None;
            return;
        }
        let blocked = connection.is_blocked();
        if blocked != was_blocked {
            // What can't be answered is not received either.
            let flags = if blocked { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            let data = epoll::EventData::new_u64(index);
            if epoll::modify(&worker.epoll, &connection.stream, data, flags).is_err() {
                *slot = None;
            }
        }
    }
}

fn add(worker: &Worker, connections: &mut Vec<Option<Connection>>, stream: TcpStream) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let index = connections.iter().position(Option::is_none).unwrap_or(connections.len());
    let data = epoll::EventData::new_u64(index as u64);
    if epoll::add(&worker.epoll, &stream, data, epoll::EventFlags::IN).is_ok() {
        let connection = Some(Connection::new(stream));
        match connections.get_mut(index) {
            Some(slot) => *slot = connection,
            None => connections.push(connection),
        }
    }
}
