//! Clients with one mistake each.

use crate::world::{Client, Descriptor, Machine};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use std::sync::{Arc, PoisonError};

/// A client in a few lines.
struct Sketch {
    machine: Arc<Machine>,
    state: Mutex<State>,
    changed: Condvar,
    /// Held by who commits.
    turn: Mutex<()>,
}

#[derive(Default)]
struct State {
    here: Option<Arc<Descriptor>>,
    inside: usize,
    returning: bool,
    /// Written by RPC and not committed: block, value, verifier.
    kept: Vec<(usize, u64, u64)>,
}

impl Sketch {
    fn new(machine: &Arc<Machine>) -> Self {
        let here = Some(Arc::new(Descriptor::open(machine)));
        let state = Mutex::new(State { here, ..State::default() });
        Self { machine: machine.clone(), state, changed: Condvar::new(), turn: Mutex::default() }
    }

    fn enter(&self) -> Option<Arc<Descriptor>> {
        let mut state = self.state.lock().unwrap();
        let here = state.here.clone()?;
        state.inside += 1;
        Some(here)
    }

    fn leave(&self) {
        self.state.lock().unwrap().inside -= 1;
        self.changed.notify_all();
    }

    fn write(&self, block: usize, value: u64) {
        if let Some(here) = self.enter() {
            here.write(block, value);
            return self.leave();
        }
        let verifier = self.machine.verifier();
        self.machine.write(block, value);
        self.state.lock().unwrap().kept.push((block, value, verifier));
    }

    fn read(&self, block: usize) -> u64 {
        let Some(here) = self.enter() else { return self.machine.read(block) };
        let value = here.read(block);
        self.leave();
        value
    }

    fn commit(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = self.enter() {
            here.flush();
            self.leave();
        }
        let mut state = self.state.lock().unwrap();
        while state.returning {
            state = self.changed.wait(state).unwrap();
        }
        let kept = std::mem::take(&mut state.kept);
        drop(state);
        if kept.is_empty() {
            return;
        }
        let verifier = self.machine.verifier();
        for (block, value, _) in kept.iter().filter(|kept| kept.2 != verifier) {
            self.machine.write(*block, *value);
        }
        self.machine.flush();
    }

    /// Nobody gets in any more.
    fn take(&self) -> Option<Arc<Descriptor>> {
        let mut state = self.state.lock().unwrap();
        let here = state.here.take()?;
        state.returning = true;
        Some(here)
    }

    fn drain(&self) {
        let mut state = self.state.lock().unwrap();
        while state.inside > 0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn returned(&self) {
        self.state.lock().unwrap().returning = false;
        self.changed.notify_all();
    }
}

macro_rules! client {
    ($(#[$about:meta])* $name:ident, |$sketch:ident, $restart:ident| $recall:block) => {
        $(#[$about])*
        pub struct $name(Sketch);

        impl Client for $name {
            fn new(machine: &Arc<Machine>) -> Self {
                Self(Sketch::new(machine))
            }

            fn write(&self, block: usize, value: u64) {
                self.0.write(block, value);
            }

            fn read(&self, block: usize) -> u64 {
                self.0.read(block)
            }

            fn commit(&self) {
                self.0.commit();
            }

            fn recall(&self, $restart: bool) {
                let $sketch = &self.0;
                $recall
            }
        }
    };
}

client!(
    /// Closes while somebody is inside.
    CloseBeforeDrained,
    |sketch, _restart| {
        if let Some(here) = sketch.take() {
            here.flush();
            here.close();
            sketch.drain();
            sketch.machine.flush();
            sketch.returned();
        }
    }
);

client!(
    /// Flushes while somebody writes still.
    FlushBeforeDrained,
    |sketch, _restart| {
        if let Some(here) = sketch.take() {
            here.flush();
            sketch.drain();
            here.close();
            sketch.returned();
        }
    }
);

client!(
    /// Leaves flushing to whoever comes later.
    NoFlush,
    |sketch, _restart| {
        if let Some(here) = sketch.take() {
            sketch.drain();
            here.close();
            sketch.returned();
        }
    }
);

/// Gives everything back as it should.
fn give_back(sketch: &Sketch) {
    if let Some(here) = sketch.take() {
        sketch.drain();
        here.flush();
        here.close();
        sketch.returned();
    }
}

/// Opens, and then has it. A recall in between finds nothing.
fn borrow(sketch: &Sketch) {
    let descriptor = Arc::new(Descriptor::open(&sketch.machine));
    thread::yield_now();
    sketch.state.lock().unwrap().here = Some(descriptor);
}

/// As the server starts again it opens in a thread of its own, at the door of the old one.
pub struct ForgottenOpening(Arc<Sketch>);

impl Client for ForgottenOpening {
    fn new(machine: &Arc<Machine>) -> Self {
        let sketch = Arc::new(Sketch::new(machine));
        give_back(&sketch);
        let opening = sketch.clone();
        thread::spawn(move || borrow(&opening));
        Self(sketch)
    }

    fn write(&self, block: usize, value: u64) {
        self.0.write(block, value);
    }

    fn read(&self, block: usize) -> u64 {
        self.0.read(block)
    }

    fn commit(&self) {
        self.0.commit();
    }

    fn recall(&self, _: bool) {
        give_back(&self.0);
    }
}

/// Borrows without having committed what it keeps.
pub struct KeptWhileLocal(Sketch);

impl Client for KeptWhileLocal {
    fn new(machine: &Arc<Machine>) -> Self {
        Self(Sketch::new(machine))
    }

    fn write(&self, block: usize, value: u64) {
        self.0.write(block, value);
    }

    fn read(&self, block: usize) -> u64 {
        self.0.read(block)
    }

    fn commit(&self) {
        self.0.commit();
    }

    fn recall(&self, _: bool) {
        give_back(&self.0);
        self.0.machine.start_again();
        if self.0.machine.last() == 1 {
            thread::yield_now();
            borrow(&self.0);
        }
    }
}

/// Never borrows, and writes again just what may be lost.
pub struct OlderOverNewer(Sketch);

impl Client for OlderOverNewer {
    fn new(machine: &Arc<Machine>) -> Self {
        let sketch = Sketch::new(machine);
        give_back(&sketch);
        Self(sketch)
    }

    fn write(&self, block: usize, value: u64) {
        self.0.write(block, value);
    }

    fn read(&self, block: usize) -> u64 {
        self.0.read(block)
    }

    fn commit(&self) {
        self.0.commit();
    }

    fn recall(&self, _: bool) {
        self.0.machine.start_again();
    }
}
