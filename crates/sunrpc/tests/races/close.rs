//! When a listener has been closed, no connection that it has accepted is left.

use crate::harness::{fails, passes};
use crate::stand::{World, in_pool};
use holm_pool::Turn;
use holm_sunrpc::Programs;
use holm_sunrpc::server::{
    Arrivals, Counted, ListenerHandle, Peer, ServerLimits, Service, Transport, Wake, listen,
    receive_arrivals,
};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// A listener at which somebody waits to be accepted.
trait Door: Default + Send + Sync + 'static {
    /// Has whoever waits accepted.
    fn accept(&self);
    /// Closes it.
    fn close(&self);
    /// Waits until neither the listener nor a connection is left.
    fn wait_until_gone(&self);
    fn end(&self);
}

fn closed_against_accept<D: Door>() {
    let door = Arc::new(D::default());
    let accepts = thread::spawn({
        let door = door.clone();
        move || door.accept()
    });
    door.close();
    accepts.join().unwrap();
    // A connection that is left is waited for for ever, which shuttle reports as a deadlock.
    door.wait_until_gone();
    door.end();
}

#[test]
fn no_connection_outlives_its_closed_listener() {
    passes("accept against close", closed_against_accept::<Real>);
    let what = "a connection that is noted after the end, and left";
    fails(what, &["deadlock"], closed_against_accept::<KeepsWhatComesLate>);
}

#[test]
fn no_connection_outlives_the_listener_it_was_handed_over_to() {
    passes("handing over against close", closed_against_accept::<HandedOver>);
    let what = "a connection that is put where nobody looks any more";
    fails(what, &["deadlock"], closed_against_accept::<KeepsWhatWaits>);
}

/// Something that goes.
#[derive(Default)]
struct Gone(Mutex<bool>, Condvar);

impl Gone {
    fn wait(&self) {
        let mut gone = self.0.lock().unwrap();
        while !*gone {
            gone = self.1.wait(gone).unwrap();
        }
    }
}

struct Real {
    world: World,
    listener: RawFd,
    handle: ListenerHandle,
    counted: Arc<Counted>,
    gone: Arc<Gone>,
    _client: TcpStream,
}

impl Default for Real {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // It is connected as soon as it waits in the kernel.
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fd = listener.as_raw_fd();
        let (counted, gone) = (Arc::new(Counted::default()), Arc::new(Gone::default()));
        let service = Arc::new(Nothing(Programs::default(), gone.clone()));
        let limits = ServerLimits::default();
        let handle =
            in_pool(&ns, |pool| listen(pool, listener, service, limits, counted.clone()).unwrap());
        Self { world, listener: fd, handle, counted, gone, _client }
    }
}

impl Door for Real {
    fn accept(&self) {
        self.world.stand.ready(&[self.listener]);
    }

    fn close(&self) {
        self.handle.close();
    }

    fn wait_until_gone(&self) {
        self.gone.wait();
    }

    fn end(&self) {
        // Who has let go of the service is still about to give back its place.
        self.world.end();
        assert_eq!(self.handle.connections(), 0);
        assert_eq!(self.counted.read().connections, 0);
    }
}

/// Connections that somebody else accepts.
struct HandedOver {
    world: World,
    arrivals: Arrivals<Silent, Nothing>,
    handle: ListenerHandle,
    /// Until it is handed over.
    connection: Mutex<Option<Silent>>,
    counted: Arc<Counted>,
    gone: Arc<Gone>,
}

impl Default for HandedOver {
    fn default() -> Self {
        let world = World::new(2);
        let ns = world.registry.create("blue").unwrap();
        let (counted, gone) = (Arc::new(Counted::default()), Arc::new(Gone::default()));
        let service = Arc::new(Nothing(Programs::default(), gone.clone()));
        let connection = Mutex::new(Some(Silent { _of: service.clone() }));
        let limits = ServerLimits::default();
        let (handle, arrivals) =
            in_pool(&ns, |pool| receive_arrivals(pool, service, limits, counted.clone()).unwrap());
        Self { world, arrivals, handle, connection, counted, gone }
    }
}

impl Door for HandedOver {
    fn accept(&self) {
        let connection = self.connection.lock().unwrap().take();
        self.arrivals.arrive(connection.unwrap());
    }

    fn close(&self) {
        self.handle.close();
    }

    fn wait_until_gone(&self) {
        self.gone.wait();
    }

    fn end(&self) {
        // Who has let go of the service is still about to give back its place.
        self.world.end();
        assert_eq!(self.handle.connections(), 0);
        assert_eq!(self.counted.read().connections, 0);
    }
}

/// A connection on which nothing comes.
struct Silent {
    _of: Arc<Nothing>,
}

impl Transport for Silent {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn wake_by(&self, wake: Wake) {
        wake();
    }

    fn peer(&self) -> SocketAddr {
        ([10, 0, 0, 2], 700).into()
    }

    fn local(&self) -> SocketAddr {
        ([10, 0, 0, 1], 2049).into()
    }

    fn receive(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn end(&self) {}

    fn abort(&self) {}
}

/// What the real code does, in a few lines: what waits is emptied when it is closed, but whoever comes
/// then waits all the same.
#[derive(Default)]
struct KeepsWhatWaits {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Door for KeepsWhatWaits {
    fn accept(&self) {
        *self.waiting.lock().unwrap() += 1;
    }

    fn close(&self) {
        *self.waiting.lock().unwrap() = 0;
        self.changed.notify_all();
    }

    fn wait_until_gone(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        while *waiting > 0 {
            waiting = self.changed.wait(waiting).unwrap();
        }
    }

    fn end(&self) {}
}

/// Serves nothing. Listener and connections keep it, so it goes with the last of them.
struct Nothing(Programs<()>, Arc<Gone>);

impl Drop for Nothing {
    fn drop(&mut self) {
        *self.1.0.lock().unwrap() = true;
        self.1.1.notify_all();
    }
}

impl Service for Nothing {
    type Context = ();

    fn programs(&self) -> &Programs<()> {
        &self.0
    }

    fn with_context<R>(
        &self,
        _: &Turn<'_>,
        _: Peer,
        serve: impl FnOnce(&mut ()) -> R,
    ) -> Option<R> {
        Some(serve(&mut ()))
    }
}

/// What the real code does, in a few lines: a connection is noted even if the listener was closed since
/// it had got its place.
#[derive(Default)]
struct KeepsWhatComesLate {
    members: Mutex<Members>,
    changed: Condvar,
}

#[derive(Default)]
struct Members {
    over: bool,
    /// Connections that can be reached.
    kept: usize,
    /// Connections there are.
    alive: usize,
}

impl Door for KeepsWhatComesLate {
    fn accept(&self) {
        let mut members = self.members.lock().unwrap();
        if members.over {
            return;
        }
        members.alive += 1;
        drop(members);
        // The pool is being given it.
        self.members.lock().unwrap().kept += 1;
    }

    fn close(&self) {
        let mut members = self.members.lock().unwrap();
        members.over = true;
        members.alive -= std::mem::take(&mut members.kept);
        self.changed.notify_all();
    }

    fn wait_until_gone(&self) {
        let mut members = self.members.lock().unwrap();
        while members.alive > 0 {
            members = self.changed.wait(members).unwrap();
        }
    }

    fn end(&self) {}
}
