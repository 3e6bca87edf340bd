//! What the lender does, in a few lines and with one mistake.

use crate::lending::{self, Inbox};
use crate::world::{Ledger, Open};
use holm_nfs_proto::localio::door::{Message, Opened};
use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq)]
pub enum Flaw {
    ShutOutsideLock,
    NamespaceFirst,
    ExportLast,
    RecallsOnlyLent,
    ForgetsRecalled,
    ProvesEnded,
    LooksThenTakes,
    EndsOpen,
    LooksThenCuts,
}

pub struct Door {
    flaw: Flaw,
    ledger: Arc<Ledger>,
    inbox: Inbox,
    gate: Mutex<Gate>,
    left: Condvar,
    shut: AtomicBool,
    export: AtomicUsize,
    recalls: AtomicU64,
    session: Mutex<Session>,
    pending: Mutex<bool>,
}

#[derive(Default)]
struct Gate {
    closed: bool,
    inside: usize,
}

#[derive(Default)]
struct Session {
    last: u64,
    over: bool,
    files: BTreeMap<u64, Lent>,
}

/// Inside, as long as it is there.
struct Lent {
    file: Open,
    keeps: Open,
    export: usize,
}

impl Door {
    pub fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            ledger: Arc::default(),
            inbox: Inbox::default(),
            gate: Mutex::default(),
            left: Condvar::new(),
            shut: AtomicBool::new(false),
            export: AtomicUsize::new(0),
            recalls: AtomicU64::new(0),
            session: Mutex::default(),
            pending: Mutex::new(true),
        }
    }

    fn leave(&self) {
        self.gate.lock().unwrap().inside -= 1;
        self.left.notify_all();
    }

    fn cut(&self, session: &mut Session) {
        if !std::mem::replace(&mut session.over, true) {
            self.inbox.end();
        }
    }

    fn let_go(&self, lent: Lent) {
        let Lent { file, keeps, .. } = lent;
        match self.flaw {
            Flaw::NamespaceFirst => {
                self.leave();
                drop((file, keeps));
            }
            Flaw::ExportLast => {
                drop(file);
                self.leave();
                drop(keeps);
            }
            _ => {
                drop((file, keeps));
                self.leave();
            }
        }
    }
}

impl lending::Door for Door {
    fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    fn open(&self) {
        let mut gate = self.gate.lock().unwrap();
        if gate.closed {
            return;
        }
        gate.inside += 1;
        drop(gate);
        let recalls = self.recalls.load(Ordering::SeqCst);
        let export = self.export.load(Ordering::SeqCst);
        let (file, keeps) = (Open::new(&self.ledger, export), Open::new(&self.ledger, export));
        let lent = Lent { file, keeps, export };
        let looked = self.shut.load(Ordering::SeqCst);
        if matches!(self.flaw, Flaw::ShutOutsideLock | Flaw::EndsOpen) {
            [(); 4].into_iter().for_each(|()| thread::yield_now());
        }
        let mut session = self.session.lock().unwrap();
        let shut = match self.flaw {
            Flaw::ShutOutsideLock => looked,
            _ => self.shut.load(Ordering::SeqCst),
        };
        let recalled =
            self.flaw != Flaw::RecallsOnlyLent && self.recalls.load(Ordering::SeqCst) != recalls;
        if shut || recalled || session.over {
            drop(session);
            return self.let_go(lent);
        }
        session.last += 1;
        let file = session.last;
        session.files.insert(file, lent);
        self.inbox.put(Message::Opened(Opened { serial: 1, file }));
    }

    fn close(&self, file: u64) -> bool {
        let lent = self.session.lock().unwrap().files.remove(&file);
        let known = lent.is_some();
        if let Some(lent) = lent {
            self.let_go(lent);
        }
        known
    }

    fn ended(&self) {
        let mut session = self.session.lock().unwrap();
        if self.flaw != Flaw::EndsOpen {
            self.cut(&mut session);
        }
        let files = std::mem::take(&mut session.files);
        drop(session);
        *self.pending.lock().unwrap() = false;
        files.into_values().for_each(|lent| self.let_go(lent));
    }

    fn replace_export(&self) {
        self.export.store(1, Ordering::SeqCst);
        self.recalls.fetch_add(1, Ordering::SeqCst);
        let mut session = self.session.lock().unwrap();
        let mut forgotten = Vec::new();
        let of_old = session.files.iter().filter(|(_, lent)| lent.export == 0);
        for file in of_old.map(|(file, _)| *file).collect::<Vec<_>>() {
            if !session.over {
                self.inbox.put(Message::Recall(file));
            }
            if self.flaw == Flaw::ForgetsRecalled {
                forgotten.extend(session.files.remove(&file));
            }
        }
        drop(session);
        forgotten.into_iter().for_each(|lent| self.let_go(lent));
    }

    fn remove(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.closed = true;
        drop(gate);
        self.shut.store(true, Ordering::SeqCst);
        let session = self.session.lock().unwrap();
        if !session.over {
            self.inbox.put(Message::RecallAll);
        }
        drop(session);
        gate = self.gate.lock().unwrap();
        while gate.inside > 0 {
            gate = self.left.wait(gate).unwrap();
        }
    }

    fn end_overdue(&self) {
        let mut session = self.session.lock().unwrap();
        let is_recalled = |lent: &Lent| lent.export == 0 && self.recalls.load(Ordering::SeqCst) > 0;
        let is_overdue =
            self.shut.load(Ordering::SeqCst) || session.files.values().any(is_recalled);
        if !is_overdue {
            return;
        }
        if self.flaw == Flaw::LooksThenCuts {
            drop(session);
            [(); 4].into_iter().for_each(|()| thread::yield_now());
            session = self.session.lock().unwrap();
        }
        self.cut(&mut session);
        drop(session);
        lending::Door::ended(self);
    }

    fn prove(&self) -> bool {
        let known = match self.flaw {
            Flaw::LooksThenTakes => {
                let known = *self.pending.lock().unwrap();
                [(); 4].into_iter().for_each(|()| thread::yield_now());
                *self.pending.lock().unwrap() = false;
                known
            }
            _ => std::mem::replace(&mut *self.pending.lock().unwrap(), false),
        };
        if !known {
            return false;
        }
        let session = self.session.lock().unwrap();
        if session.over {
            return false;
        }
        if self.flaw == Flaw::ProvesEnded {
            drop(session);
            [(); 4].into_iter().for_each(|()| thread::yield_now());
        }
        self.inbox.put(Message::Proven);
        true
    }
}
