//! The reader of a client, on its way from the turns of the pool to the thread that takes files back when
//! the namespace goes.

use crate::harness::{fails, passes};
use crate::lending::Inbox;
use crate::readers_sketch::{self as sketch, Flaw};
use crate::real::{self, handle, key, opened};
use crate::world::{Ledger, Open};
use holm_netns::{Held, InitError, Subsystem, View};
use holm_nfs_proto::localio::Uuid;
use holm_nfs_proto::localio::door::{self, Message, Opened, Request};
use holm_nfsd::localio::{
    Ending, Lender, Lent, Line, Loan, Opener, PeerCredentials, Rules, Session, Turns, Wake, Wanted,
};
use holm_nfsd::service::{Peer, Transport};
use holm_nfsd::volume::Access;
use holm_nfsd::{Result, Status};
use holm_xdr::{Encoder, Opaque};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex, Weak};
use shuttle::thread::{self, JoinHandle};
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The way of a reader: the real one, or a sketch of it.
pub trait Way: Send + Sync + 'static {
    /// A way for the reader of each client.
    fn of(readers: Vec<Reader>) -> Self;
    /// As [`Turns`] and [`Ending`].
    fn take(&self, client: usize) -> Option<Reader>;
    fn put_back(&self, client: usize, reader: Reader) -> std::result::Result<(), Reader>;
    fn keep(&self, client: usize);
    fn close(&self, client: usize) -> Option<Reader>;
    fn hand_over(&self, reader: Reader, start: &mut dyn FnMut() -> Thread);
    fn receive(&self, readers: &mut Vec<Reader>) -> bool;
    fn end(&self) -> Option<Thread>;
}

/// The real one.
struct Real {
    turns: Vec<Turns<Reader>>,
    ending: Ending<Reader, Thread>,
}

impl Way for Real {
    fn of(readers: Vec<Reader>) -> Self {
        let turns = readers.into_iter().map(Turns::new).collect();
        Self { turns, ending: Ending::default() }
    }

    fn take(&self, client: usize) -> Option<Reader> {
        self.turns[client].take()
    }

    fn put_back(&self, client: usize, reader: Reader) -> std::result::Result<(), Reader> {
        self.turns[client].put_back(reader)
    }

    fn keep(&self, client: usize) {
        self.turns[client].keep();
    }

    fn close(&self, client: usize) -> Option<Reader> {
        self.turns[client].close()
    }

    fn hand_over(&self, reader: Reader, start: &mut dyn FnMut() -> Thread) {
        let handed = self.ending.hand_over(reader, || Ok::<_, Infallible>(start()));
        assert!(handed.is_ok());
    }

    fn receive(&self, readers: &mut Vec<Reader>) -> bool {
        self.ending.receive(readers)
    }

    fn end(&self) -> Option<Thread> {
        self.ending.end()
    }
}

/// What reads from a client. Dropped, it lets go of all that the client has.
pub struct Reader {
    wire: Arc<Wire>,
    session: Arc<Session<Open>>,
}

/// How reading one message went.
enum Read {
    One,
    Nothing,
    End,
}

impl Reader {
    /// One more of the same client, which there must not be.
    pub fn another(&self) -> Self {
        Self { wire: self.wire.clone(), session: self.session.clone() }
    }

    fn read(&self, opener: Option<&mut dyn Opener<Open>>) -> Read {
        let mut state = self.wire.state.lock().unwrap();
        let Some(message) = state.sent.pop_front() else {
            return if state.hung_up { Read::End } else { Read::Nothing };
        };
        let others = std::mem::replace(&mut state.reading, true);
        drop(state);
        assert!(!others, "{TWO_READ}");
        thread::yield_now();
        let goes_on = self.session.serve(&message, opener);
        self.wire.state.lock().unwrap().reading = false;
        if goes_on { Read::One } else { Read::End }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.session.ended();
        }
    }
}

/// The connection of a client.
pub struct Wire {
    state: Mutex<WireState>,
    bell: Arc<Bell>,
    inbox: Inbox,
}

#[derive(Default)]
struct WireState {
    sent: VecDeque<Vec<u8>>,
    hung_up: bool,
    /// A message is being served.
    reading: bool,
}

impl Wire {
    fn say(&self, request: &Request<'_>) {
        let mut message = Encoder::new();
        message.put(request);
        self.state.lock().unwrap().sent.push_back(message.to_vec());
        self.bell.ring();
    }

    fn open(&self, serial: u32) {
        let handle = handle(1);
        let handle = Opaque::new(handle.as_bytes()).unwrap();
        self.say(&Request::Open(door::Open { serial, handle, access: door::Access::Write }));
    }

    fn has_something(&self) -> bool {
        let state = self.state.lock().unwrap();
        !state.sent.is_empty() || state.hung_up
    }

    fn hang_up(&self) {
        self.state.lock().unwrap().hung_up = true;
        self.bell.ring();
    }
}

/// The server's end of it.
struct Told(Arc<Wire>);

impl Line for Told {
    fn send(&self, message: &[u8], _: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.0.inbox.put(Message::from_packet(message).unwrap());
        Ok(())
    }

    fn end(&self) {
        self.0.inbox.end();
        self.0.hang_up();
    }
}

/// Is rung whenever something has come that somebody may wait for.
#[derive(Default)]
pub struct Bell {
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self) {
        drop(self.lock.lock().unwrap());
        self.rung.notify_all();
    }

    fn wait_until(&self, come: impl Fn() -> bool) {
        let mut lock = self.lock.lock().unwrap();
        while !come() {
            lock = self.rung.wait(lock).unwrap();
        }
    }
}

/// The thread that reads when the namespace goes.
pub struct Thread {
    woken: Arc<AtomicBool>,
    bell: Arc<Bell>,
    handle: JoinHandle<()>,
}

impl Wake for Thread {
    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.bell.ring();
    }
}

/// A namespace whose files are lent to clients.
struct Tenant<W> {
    real: real::Real<Open>,
    lender: Lender<Open>,
    ledger: Arc<Ledger>,
    wires: Vec<Arc<Wire>>,
    bell: Arc<Bell>,
    way: W,
    state: Mutex<TenantState>,
}

#[derive(Default)]
struct TenantState {
    /// The pool has no source of it any more.
    removed: bool,
    /// Whoever has not given back what is wanted is to be cut off.
    due: bool,
    /// Nobody is inside.
    empty: bool,
}

impl<W: Way> Tenant<W> {
    fn new(clients: usize) -> Arc<Self> {
        let real = real::Real::new(8);
        let lender = Lender::new();
        lender.set_rules(Rules { users: [WHO].into(), sessions: 8, files: 8 });
        let bell: Arc<Bell> = Arc::default();
        let mut wires = Vec::new();
        let mut readers = Vec::new();
        for client in 0..clients {
            let (state, inbox) = (Mutex::default(), Inbox::default());
            let wire = Arc::new(Wire { state, bell: bell.clone(), inbox });
            let who = PeerCredentials { pid: None, uid: WHO, gid: WHO, groups: Vec::new() };
            let session = lender.arrive(who, Told(wire.clone())).unwrap();
            let uuid: Uuid = [client as u8; 16];
            let mut message = Encoder::new();
            message.put(&Request::Register(uuid));
            assert!(session.serve(&message, None));
            let here = "127.0.0.1:700".parse().unwrap();
            assert!(lender.prove(&uuid, Peer::new(Transport::Tcp, here, here)));
            readers.push(Reader { wire: wire.clone(), session });
            wires.push(wire);
        }
        let (way, state) = (W::of(readers), Mutex::default());
        let ledger = Arc::default();
        let tenant = Arc::new(Self { real, lender, ledger, wires, bell, way, state });
        tenant.real.registry.register(Host(Arc::downgrade(&tenant))).unwrap();
        tenant
    }

    fn is(&self, what: impl Fn(&TenantState) -> bool) -> bool {
        what(&self.state.lock().unwrap())
    }

    fn become_so(&self, change: impl FnOnce(&mut TenantState)) {
        change(&mut self.state.lock().unwrap());
        self.bell.ring();
    }

    /// What the pool does for one client, until it has no source of it.
    fn pool(self: &Arc<Self>, client: usize) {
        loop {
            let Some(inside) = self.real.namespaces[0].enter() else { return };
            let read = self.turn(client);
            drop(inside);
            match read {
                Read::One => {}
                Read::Nothing => self.bell.wait_until(|| {
                    self.wires[client].has_something() || self.is(|state| state.removed)
                }),
                Read::End => return,
            }
        }
    }

    /// A turn, of one message.
    fn turn(self: &Arc<Self>, client: usize) -> Read {
        let Some(reader) = self.way.take(client) else { return Read::End };
        let read = reader.read(Some(&mut &**self));
        if let Read::End = read {
            self.way.keep(client);
            drop(reader);
        } else if let Err(reader) = self.way.put_back(client, reader) {
            self.hand_over(reader);
            return Read::End;
        }
        read
    }

    fn hand_over(self: &Arc<Self>, reader: Reader) {
        self.way.hand_over(reader, &mut || {
            let (this, woken) = (self.clone(), Arc::<AtomicBool>::default());
            let (bell, wake) = (self.bell.clone(), woken.clone());
            Thread { woken, bell, handle: thread::spawn(move || this.read_until_the_end(&wake)) }
        });
    }

    fn read_until_the_end(&self, woken: &AtomicBool) {
        let (mut readers, mut cut_off) = (Vec::new(), false);
        while self.way.receive(&mut readers) {
            readers.retain(|reader| !matches!(reader.read(None), Read::End));
            if !cut_off && self.is(|state| state.due) {
                cut_off = true;
                self.lender.end_overdue(Instant::now());
            }
            self.bell.wait_until(|| {
                woken.load(Ordering::SeqCst)
                    || readers.iter().any(|reader| reader.wire.has_something())
                    || !cut_off && self.is(|state| state.due)
            });
            woken.store(false, Ordering::SeqCst);
        }
    }

    fn open(&self) -> Result<Loan<Open>> {
        let within = self.real.within(0).ok_or(Status::Jukebox)?;
        let file = within.open_stateful(&key(1, 0), || opened(Open::new(&self.ledger, 0)))?;
        let file = file.keeping(Open::new(&self.ledger, 0));
        let lent = Lent::new(file, 0, Access::ReadWrite);
        Ok(Loan { descriptor: File::open("/dev/null").unwrap().into(), lent })
    }
}

impl<W: Way> Opener<Open> for &Tenant<W> {
    fn open(&mut self, _: &Wanted<'_>) -> Result<Loan<Open>> {
        Tenant::open(self)
    }

    fn close(&mut self, lent: Lent<Open>, flushed: bool) {
        lent.give_back(flushed);
    }
}

/// What the host does when the first namespace goes, and then the pool.
struct Host<W>(Weak<Tenant<W>>);

impl<W: Way> Subsystem for Host<W> {
    type State = ();

    fn name(&self) -> &str {
        "door"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> std::result::Result<(), InitError> {
        Ok(())
    }

    fn pre_exit(&self, ns: &View<'_>, (): &()) {
        let Some(tenant) = self.0.upgrade() else { return };
        if ns.namespace().id().name.as_str() != "blue" {
            return;
        }
        tenant.lender.recall_all();
        for client in 0..tenant.wires.len() {
            if let Some(reader) = tenant.way.close(client) {
                tenant.hand_over(reader);
            }
        }
        tenant.become_so(|state| state.removed = true);
    }

    fn exit(&self, ns: &View<'_>, (): ()) {
        let Some(tenant) = self.0.upgrade() else { return };
        if ns.namespace().id().name.as_str() != "blue" {
            return;
        }
        tenant.become_so(|state| state.empty = true);
        if let Some(thread) = tenant.way.end() {
            thread.handle.join().unwrap();
        }
    }
}

/// A client, with its number.
type Client<W> = fn(&Tenant<W>, usize);

/// Opens two files, gives back what it has when it is asked to, and waits for the end.
fn obeys<W: Way>(tenant: &Tenant<W>, client: usize) {
    let wire = &tenant.wires[client];
    let mut files = BTreeSet::new();
    for serial in [1, 2] {
        wire.open(serial);
    }
    while let Some(message) = wire.inbox.next() {
        match message {
            Message::Opened(Opened { file, .. }) => {
                files.insert(file);
            }
            Message::RecallAll => {
                for file in std::mem::take(&mut files) {
                    // What is in flight is finished.
                    thread::yield_now();
                    wire.say(&Request::Close(door::Close { file, flushed: false }));
                }
            }
            _ => {}
        }
    }
    assert!(tenant.is(|state| state.empty || state.due), "{CUT_OFF}");
}

/// Closes its connection when it has a file, or should not have one.
fn leaves<W: Way>(tenant: &Tenant<W>, client: usize) {
    let wire = &tenant.wires[client];
    wire.open(1);
    let is_enough = |message| matches!(message, Message::Opened(_) | Message::RecallAll);
    while !wire.inbox.next().is_none_or(is_enough) {}
    wire.hang_up();
}

/// Opens a file and hears nothing.
fn is_deaf<W: Way>(tenant: &Tenant<W>, client: usize) {
    tenant.wires[client].open(1);
}

/// The namespace of some clients goes.
fn remove<W: Way>(clients: &[Client<W>], deadline: bool) {
    let tenant = Tenant::<W>::new(clients.len());
    let mut threads = Vec::new();
    for (client, is) in clients.iter().copied().enumerate() {
        let this = tenant.clone();
        threads.push(thread::spawn(move || this.pool(client)));
        let this = tenant.clone();
        threads.push(thread::spawn(move || is(&this, client)));
    }
    if deadline {
        let this = tenant.clone();
        threads.push(thread::spawn(move || this.become_so(|state| state.due = true)));
    }
    tenant.real.remove(0);
    tenant.ledger.is_gone(0);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn two_obey<W: Way>() {
    remove::<W>(&[obeys, obeys], false);
}

fn one_leaves<W: Way>() {
    remove::<W>(&[obeys, leaves], false);
}

fn one_is_deaf<W: Way>() {
    remove::<W>(&[obeys, is_deaf], true);
}

#[test]
fn whoever_reads_hears_of_each_file_that_comes_back() {
    passes("two clients that give back their files, when the namespace goes", two_obey::<Real>);
    fails("a turn that puts the reader back when it is wanted", &["deadlock"], || {
        two_obey::<sketch::Way<{ Flaw::PUTS_BACK }>>();
    });
    fails("a reader that goes with the turn that has it", &[CUT_OFF], || {
        two_obey::<sketch::Way<{ Flaw::FORGETS_TAKEN }>>();
    });
    fails("one more reader for the thread when a turn has one", &[TWO_READ, CUT_OFF], || {
        two_obey::<sketch::Way<{ Flaw::READS_TWICE }>>();
    });
    fails("a thread that is woken before it is given a reader", &["deadlock"], || {
        two_obey::<sketch::Way<{ Flaw::WAKES_FIRST }>>();
    });
}

#[test]
fn a_client_that_leaves_is_let_go_of_by_one() {
    passes("a client that leaves, when the namespace goes", one_leaves::<Real>);
    fails("a reader that is put back, and one client leaves", &["deadlock"], || {
        one_leaves::<sketch::Way<{ Flaw::PUTS_BACK }>>();
    });
}

#[test]
fn a_client_that_is_deaf_holds_nothing_up_after_the_deadline() {
    passes("a client that is deaf, when the namespace goes", one_is_deaf::<Real>);
    fails("a reader that is put back, and one client is deaf", &["deadlock"], || {
        one_is_deaf::<sketch::Way<{ Flaw::PUTS_BACK }>>();
    });
}

const WHO: u32 = 1000;
const CUT_OFF: &str = "a client was cut off that has done nothing wrong";
const TWO_READ: &str = "two read from one client";
