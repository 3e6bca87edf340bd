//! The real lender, with files that are not there.

use crate::lending::{Door, Inbox};
use crate::real::{self, handle, key, opened};
use crate::world::{Ledger, Open};
use holm_netns::{Held, InitError, Subsystem, View};
use holm_nfs_proto::localio::door::{self, Message, Request};
use holm_nfsd::localio::{
    Lender, Lent, Line, Loan, Opener, PeerCredentials, Rules, Session, Wanted,
};
use holm_nfsd::service::{Peer, Transport};
use holm_nfsd::volume::Access;
use holm_nfsd::{Result, Status};
use holm_xdr::{Encoder, Opaque};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// A client at the door of the first namespace. There is another one, with files in its cache.
pub struct Real {
    real: real::Real<Open>,
    ledger: Arc<Ledger>,
    lender: Arc<Lender<Open>>,
    session: Arc<Session<Open>>,
    inbox: Arc<Inbox>,
    export: AtomicUsize,
}

impl Real {
    pub fn new() -> Self {
        // One more than the shrinker leaves, with those of the other namespace.
        let real = real::Real::new(3);
        let lender = Arc::new(Lender::new());
        real.registry.register(Recalls(lender.clone())).unwrap();
        lender.set_rules(Rules { users: [WHO].into(), sessions: 4, files: 4 });
        let inbox = Arc::new(Inbox::default());
        let who = PeerCredentials { pid: None, uid: WHO, gid: WHO, groups: Vec::new() };
        let session = lender.arrive(who, Told(inbox.clone())).unwrap();
        let ledger = Arc::default();
        let this = Self { real, ledger, lender, session, inbox, export: AtomicUsize::new(0) };
        assert!(this.say(&Request::Register(UUID)));
        this
    }

    fn say(&self, request: &Request<'_>) -> bool {
        let mut message = Encoder::new();
        message.put(request);
        let mut opener = self;
        self.session.serve(&message, Some(&mut opener))
    }

    fn open_within(&self) -> Result<Loan<Open>> {
        let within = self.real.within(0).ok_or(Status::Jukebox)?;
        let export = self.export.load(Ordering::SeqCst);
        let open = || opened(Open::new(&self.ledger, export));
        let file = within.open_stateful(&key(1, export as u32), open)?;
        let file = file.keeping(Open::new(&self.ledger, export));
        let lent = Lent::new(file, export as u32, Access::ReadWrite);
        Ok(Loan { descriptor: File::open("/dev/null").unwrap().into(), lent })
    }
}

impl Opener<Open> for &Real {
    fn open(&mut self, wanted: &Wanted<'_>) -> Result<Loan<Open>> {
        assert_eq!(wanted.handle, handle(1).as_bytes());
        self.open_within()
    }

    fn close(&mut self, lent: Lent<Open>, flushed: bool) {
        lent.give_back(flushed);
    }
}

impl Door for Real {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn open(&self) {
        if self.session.peer().is_none() {
            self.prove();
        }
        let handle = handle(1);
        let handle = Opaque::new(handle.as_bytes()).unwrap();
        // Refused, or cut off: then that is so.
        self.say(&Request::Open(door::Open { serial: 1, handle, access: door::Access::Read }));
    }

    fn close(&self, file: u64) -> bool {
        self.say(&Request::Close(door::Close { file, flushed: false }))
    }

    fn ended(&self) {
        self.session.ended();
    }

    fn replace_export(&self) {
        self.export.store(1, Ordering::SeqCst);
        self.lender.recall_export(0);
    }

    fn remove(&self) {
        self.real.remove(0);
    }

    fn isolate(&self) {
        for ns in [0, 1] {
            if let Some(within) = self.real.within(ns) {
                // Cached beside those that are lent, of the same file.
                drop(within.open(&key(1, 0), || opened(Open::new(&self.ledger, ns))));
            }
        }
        self.real.caches.collect();
        self.real.caches.shrink();
        self.real.caches.forget_everything();
    }

    fn end_overdue(&self) {
        self.lender.end_overdue(Instant::now());
    }

    fn prove(&self) -> bool {
        let here = "127.0.0.1:700".parse().unwrap();
        self.lender.prove(&UUID, Peer::new(Transport::Tcp, here, here))
    }
}

/// The way to the client.
struct Told(Arc<Inbox>);

impl Line for Told {
    fn send(&self, message: &[u8], _: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.0.put(Message::from_packet(message).unwrap());
        Ok(())
    }

    fn end(&self) {
        self.0.end();
    }
}

/// Recalls everything when the first namespace goes.
struct Recalls(Arc<Lender<Open>>);

impl Subsystem for Recalls {
    type State = ();

    fn name(&self) -> &str {
        "door"
    }

    fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> std::result::Result<(), InitError> {
        Ok(())
    }

    fn pre_exit(&self, ns: &View<'_>, (): &()) {
        if ns.namespace().id().name.as_str() == "blue" {
            self.0.recall_all();
        }
    }

    fn exit(&self, _: &View<'_>, (): ()) {}
}

const WHO: u32 = 1000;
const UUID: [u8; 16] = [7; 16];
