//! A lagg and its ports in a few lines, each time with one mistake.

use super::{Aggregate, Ask, Incoming};
use crate::request::NoInterface;
use crate::world::State;
use holm_lifetime::sync::{Condvar, Mutex};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    None,
    FreedWhenDying,
    LockInsideTheState,
    PortStaysInTheList,
    JoinsWhoGoes,
}

/// An interface with a count of those who refer to it.
#[derive(Default)]
struct Counted {
    dying: AtomicBool,
    count: Mutex<usize>,
    nobody: Condvar,
    state: State,
}

impl Counted {
    fn with<R>(&self, use_it: impl FnOnce(&State) -> R) -> Result<R, NoInterface> {
        {
            let mut count = self.count.lock();
            if self.dying.load(Ordering::SeqCst) {
                return Err(NoInterface);
            }
            *count += 1;
        }
        let result = use_it(&self.state);
        *self.count.lock() -= 1;
        self.nobody.notify_all();
        Ok(result)
    }

    fn mark(&self) {
        let _count = self.count.lock();
        self.dying.store(true, Ordering::SeqCst);
    }

    fn wait(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            count = self.nobody.wait(count);
        }
    }
}

struct Lagg {
    flaw: Flaw,
    configuration: Mutex<()>,
    lagg: Counted,
    ports: [Arc<Counted>; 2],
    /// The ports of the lagg, by number.
    list: Mutex<Vec<usize>>,
}

impl Lagg {
    fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            configuration: Mutex::new(()),
            lagg: Counted::default(),
            ports: Default::default(),
            list: Mutex::new(vec![0, 1]),
        }
    }

    fn send(&self) -> Result<(), NoInterface> {
        self.lagg.with(|state| {
            state.work();
            let list = self.list.lock().clone();
            for port in list {
                if self.flaw == Flaw::PortStaysInTheList {
                    self.ports[port].state.work();
                } else {
                    // One that goes is not used.
                    let _ = self.ports[port].with(State::work);
                }
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<usize>)) -> Result<(), NoInterface> {
        let looked_early = self.flaw == Flaw::JoinsWhoGoes;
        if looked_early && self.lagg.dying.load(Ordering::SeqCst) {
            return Err(NoInterface);
        }
        let _configuration = self.configuration.lock();
        if !looked_early && self.lagg.dying.load(Ordering::SeqCst) {
            return Err(NoInterface);
        }
        change(&mut self.list.lock());
        Ok(())
    }

    fn request(&self, ask: Ask) -> Result<(), NoInterface> {
        match ask {
            Ask::Media => self.lagg.with(State::work),
            Ask::Send => self.send(),
            Ask::RemovePort => self.change(|list| list.retain(|port| *port != 1)),
            Ask::AddPort => self.change(|list| list.push(1)),
            Ask::Protocol | Ask::Mtu => {
                let _configuration = self.configuration.lock();
                self.lagg.with(State::work)
            }
        }
    }

    fn destroy(&self) {
        {
            let _configuration = self.configuration.lock();
            self.list.lock().clear();
            self.lagg.mark();
        }
        match self.flaw {
            Flaw::FreedWhenDying => {}
            // Whoever has the lock is done with the state; but who waits for it is not.
            Flaw::LockInsideTheState => self.lagg.state.work(),
            _ => self.lagg.wait(),
        }
        self.lagg.state.hand_back();
    }

    fn destroy_port(&self) {
        let [port, _] = &self.ports;
        {
            let _configuration = self.configuration.lock();
            if self.flaw != Flaw::PortStaysInTheList {
                self.list.lock().retain(|port| *port != 0);
            }
            port.mark();
        }
        port.wait();
        port.state.hand_back();
    }
}

macro_rules! sketches {
    ($($name:ident $flaw:ident),*) => {$(
        pub struct $name(Lagg);

        impl Default for $name {
            fn default() -> Self {
                Self(Lagg::new(Flaw::$flaw))
            }
        }

        impl Aggregate for $name {
            fn request(&self, ask: Ask) -> Result<(), NoInterface> {
                self.0.request(ask)
            }

            fn destroy(&self) {
                self.0.destroy();
            }

            fn destroy_port(&self) {
                self.0.destroy_port();
            }

            fn lagg(&self) -> &State {
                &self.0.lagg.state
            }

            fn ports(&self) -> [&State; 2] {
                let [first, second] = &self.0.ports;
                [&first.state, &second.state]
            }

            fn has_released(&self) -> bool {
                self.0.list.lock().is_empty()
            }
        }
    )*};
}
sketches!(
    Sound None,
    FreedWhenDying FreedWhenDying,
    LockInsideTheState LockInsideTheState,
    PortStaysInTheList PortStaysInTheList,
    JoinsWhoGoes JoinsWhoGoes
);

/// A lagg whose port knows it, but does not say when it is on its way to it.
#[derive(Default)]
pub struct UncountedReceiver {
    lagg: Counted,
    left: AtomicBool,
}

impl Incoming for UncountedReceiver {
    fn frame_comes(&self) {
        if !self.left.load(Ordering::SeqCst) {
            self.lagg.state.work();
        }
    }

    fn remove_port(&self) {
        self.left.store(true, Ordering::SeqCst);
    }

    fn destroy(&self) {
        self.remove_port();
        self.lagg.mark();
        self.lagg.wait();
        self.lagg.state.hand_back();
    }

    fn lagg(&self) -> &State {
        &self.lagg.state
    }
}
