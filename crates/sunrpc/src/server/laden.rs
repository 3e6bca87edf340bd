//! Memory that connections keep from one turn to the next.
//!
//! In its turn a connection uses buffers of the worker. It keeps what is left in them: of a call that
//! has not arrived whole, and of replies that the peer has not taken. One that keeps more than a
//! little is *laden*. There are only so many of them at a time, and half as many of one address. Until
//! one of them has got rid of its load, nothing is received from those that are not laden: their calls
//! wait in the kernel and at the client. From a laden one no more is received meanwhile than makes its
//! call whole, so that all have their turn; and if it does not get on it is closed.

use super::Counted;
use holm_lifetime::sync::atomic::{AtomicUsize, Ordering};
use holm_lifetime::sync::{Arc, Mutex};
use std::collections::HashMap;
use std::net::IpAddr;

/// The laden connections of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Laden {
    /// How many; changed with `of` locked.
    all: AtomicUsize,
    /// How many of each address, where there are any.
    of: Mutex<HashMap<IpAddr, usize>>,
}

impl Laden {
    /// Whether a connection of that address has to wait, where there may be `most`.
    pub(crate) fn is_full(&self, address: IpAddr, most: usize) -> bool {
        let (all, of_one) = (self.all.load(Ordering::Relaxed), most / 2);
        // Without the lock nearly always.
        all >= of_one && (all >= most || self.of(address) >= of_one)
    }

    fn of(&self, address: IpAddr) -> usize {
        self.of.lock().get(&address).copied().unwrap_or(0)
    }
}

/// What a laden connection counts as, until it is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    counted: Arc<Counted>,
    address: IpAddr,
}

impl Load {
    /// One more. That is never refused: whoever finds out has received already. So there may be one
    /// too many for each worker.
    pub(crate) fn take(counted: &Arc<Counted>, address: IpAddr) -> Self {
        let mut of = counted.laden.of.lock();
        *of.entry(address).or_insert(0) += 1;
        counted.laden.all.fetch_add(1, Ordering::Relaxed);
        drop(of);
        Self { counted: counted.clone(), address }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut of = self.counted.laden.of.lock();
        self.counted.laden.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = of.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                of.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_half_to_the_others() {
        let counted = Arc::new(Counted::default());
        let [one, other] = [1, 2].map(|last| IpAddr::from([10, 0, 0, last]));
        let full = |address| counted.laden.is_full(address, 4);
        let first = [Load::take(&counted, one), Load::take(&counted, one)];
        assert!(full(one) && !full(other));
        let third = Load::take(&counted, other);
        assert!(full(one) && !full(other));
        let fourth = Load::take(&counted, other);
        assert!(full(IpAddr::from([10, 0, 0, 3])));
        drop((first, fourth));
        assert!(!full(one) && !full(other));
        drop(third);
        assert!(counted.laden.of.lock().is_empty());
    }
}
