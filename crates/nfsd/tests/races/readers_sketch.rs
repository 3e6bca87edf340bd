//! The way of a reader in a few lines, with one mistake.

use crate::readers::{self, Reader, Thread};
use holm_nfsd::localio::Wake;
use shuttle::sync::Mutex;
use shuttle::thread;

/// The mistake, as a number.
pub struct Flaw;

impl Flaw {
    pub const PUTS_BACK: u8 = 0;
    pub const FORGETS_TAKEN: u8 = 1;
    pub const READS_TWICE: u8 = 2;
    pub const WAKES_FIRST: u8 = 3;
}

pub struct Way<const FLAW: u8> {
    clients: Vec<Mutex<Client>>,
    handed: Mutex<Vec<Reader>>,
    ending: Mutex<Ending>,
}

struct Client {
    here: Option<Reader>,
    /// To make another of.
    like: Option<Reader>,
    wanted: bool,
}

#[derive(Default)]
struct Ending {
    thread: Option<Thread>,
    over: bool,
}

impl<const FLAW: u8> readers::Way for Way<FLAW> {
    fn of(readers: Vec<Reader>) -> Self {
        let client = |reader: Reader| {
            let like = (FLAW == Flaw::READS_TWICE).then(|| reader.another());
            Mutex::new(Client { here: Some(reader), like, wanted: false })
        };
        let clients = readers.into_iter().map(client).collect();
        Self { clients, handed: Mutex::default(), ending: Mutex::default() }
    }

    fn take(&self, client: usize) -> Option<Reader> {
        self.clients[client].lock().unwrap().here.take()
    }

    fn put_back(&self, client: usize, reader: Reader) -> Result<(), Reader> {
        let mut client = self.clients[client].lock().unwrap();
        match FLAW {
            Flaw::FORGETS_TAKEN if client.wanted => drop(client),
            Flaw::WAKES_FIRST if client.wanted => return Err(reader),
            _ => client.here = Some(reader),
        }
        Ok(())
    }

    fn keep(&self, _: usize) {}

    fn close(&self, client: usize) -> Option<Reader> {
        let mut client = self.clients[client].lock().unwrap();
        client.wanted = true;
        client.here.take().or_else(|| client.like.take())
    }

    fn hand_over(&self, reader: Reader, start: &mut dyn FnMut() -> Thread) {
        let mut ending = self.ending.lock().unwrap();
        let thread = ending.thread.get_or_insert_with(start);
        if FLAW == Flaw::WAKES_FIRST {
            thread.wake();
            [(); 12].into_iter().for_each(|()| thread::yield_now());
        }
        self.handed.lock().unwrap().push(reader);
        if FLAW != Flaw::WAKES_FIRST {
            thread.wake();
        }
    }

    fn receive(&self, readers: &mut Vec<Reader>) -> bool {
        readers.append(&mut self.handed.lock().unwrap());
        !self.ending.lock().unwrap().over
    }

    fn end(&self) -> Option<Thread> {
        let mut ending = self.ending.lock().unwrap();
        ending.over = true;
        let thread = ending.thread.take();
        thread.inspect(Wake::wake)
    }
}
