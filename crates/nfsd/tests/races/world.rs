//! Files that are not there, and the book that is kept of them.

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// Which files are open, by namespace, and which namespaces are gone.
#[derive(Default)]
pub struct Ledger(Mutex<[Tenant; 2]>);

#[derive(Default, Clone, Copy)]
struct Tenant {
    open: usize,
    most: usize,
    gone: bool,
}

pub const LATE: &str = "file closed after its cache was gone";
pub const LEFT: &str = "a file is open and its namespace is gone";

impl Ledger {
    pub fn open(&self, ns: usize) -> usize {
        self.0.lock().unwrap()[ns].open
    }

    /// The namespace is said to be gone: nothing of it is open, nor will anything be closed.
    pub fn is_gone(&self, ns: usize) {
        self.0.lock().unwrap()[ns].gone = true;
        // Whoever has a file still may close it now, too late.
        thread::yield_now();
        assert_eq!(self.open(ns), 0, "{LEFT}");
    }
}

/// An open file. Dropping it closes it.
pub struct Open {
    ledger: Arc<Ledger>,
    ns: usize,
}

impl Open {
    pub fn new(ledger: &Arc<Ledger>, ns: usize) -> Self {
        thread::yield_now();
        let mut tenants = ledger.0.lock().unwrap();
        tenants[ns].open += 1;
        tenants[ns].most = tenants[ns].most.max(tenants[ns].open);
        drop(tenants);
        Self { ledger: ledger.clone(), ns }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        thread::yield_now();
        let mut tenants = self.ledger.0.lock().unwrap();
        let gone = tenants[self.ns].gone;
        tenants[self.ns].open -= 1;
        drop(tenants);
        assert!(!gone || std::thread::panicking(), "{LATE}");
    }
}
