//! What the real code does, in a few lines each and with one mistake.

use crate::capture::Films;
use crate::inbox::Mail;
use crate::pair::{Cable, Moving};
use crate::request::{Ask, Asked, NoInterface};
use crate::world::State;
use holm_lifetime::sync::{Condvar, Mutex};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

/// The mistakes of who destroys an interface.
#[derive(Clone, Copy, PartialEq)]
enum Flaw {
    FreedWhenDying,
    LockInsideTheState,
    WaitsThenWakes,
    WaitsWithTheLock,
    LooksThenUnlinks,
}

/// An interface with a count of those who refer to it.
struct Counted {
    flaw: Flaw,
    configuration: Mutex<()>,
    dying: AtomicBool,
    count: Mutex<usize>,
    nobody: Condvar,
    state: State,
}

impl Counted {
    fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            configuration: Mutex::new(()),
            dying: AtomicBool::new(false),
            count: Mutex::new(0),
            nobody: Condvar::new(),
            state: State::default(),
        }
    }

    fn request(&self, ask: Ask) -> Result<(), NoInterface> {
        {
            let mut count = self.count.lock();
            if self.dying.load(Ordering::SeqCst) {
                return Err(NoInterface);
            }
            *count += 1;
        }
        match ask {
            Ask::Question => self.state.work(),
            Ask::Sleep => self.state.sleep(),
            Ask::Change => {
                let _configuration = self.configuration.lock();
                self.state.work();
            }
        }
        *self.count.lock() -= 1;
        self.nobody.notify_all();
        Ok(())
    }

    fn destroy(&self) -> bool {
        let configuration = self.configuration.lock();
        if self.flaw == Flaw::LooksThenUnlinks {
            if self.dying.load(Ordering::SeqCst) {
                return false;
            }
            drop(configuration);
            thread::yield_now();
            self.mark();
        } else if self.mark() {
            return false;
        } else if self.flaw == Flaw::WaitsWithTheLock {
            self.wait();
            self.state.hand_back();
            return true;
        } else {
            drop(configuration);
        }
        match self.flaw {
            Flaw::FreedWhenDying => {}
            // Whoever has the lock is done with the state; but who waits for it is not.
            Flaw::LockInsideTheState => self.state.work(),
            Flaw::WaitsThenWakes => {
                self.wait();
                self.state.wake();
            }
            Flaw::WaitsWithTheLock | Flaw::LooksThenUnlinks => {
                self.state.wake();
                self.wait();
            }
        }
        self.state.hand_back();
        true
    }

    /// Whether it was marked before.
    fn mark(&self) -> bool {
        let _count = self.count.lock();
        self.dying.swap(true, Ordering::SeqCst)
    }

    fn wait(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            count = self.nobody.wait(count);
        }
    }
}

macro_rules! flawed {
    ($($name:ident),*) => {$(
        pub struct $name(Counted);

        impl Default for $name {
            fn default() -> Self {
                Self(Counted::new(Flaw::$name))
            }
        }

        impl Asked for $name {
            fn request(&self, ask: Ask) -> Result<(), NoInterface> {
                self.0.request(ask)
            }

            fn destroy(&self) -> bool {
                self.0.destroy()
            }

            fn state(&self) -> &State {
                &self.0.state
            }
        }
    )*};
}
flawed!(FreedWhenDying, LockInsideTheState, WaitsThenWakes, WaitsWithTheLock, LooksThenUnlinks);

/// A cable, each end of which locks its own namespace and then the other's.
pub struct OwnNamespaceFirst {
    ends: [Mutex<bool>; 2],
    gone: AtomicUsize,
}

impl Default for OwnNamespaceFirst {
    fn default() -> Self {
        Self { ends: [(); 2].map(|()| Mutex::new(true)), gone: AtomicUsize::new(0) }
    }
}

impl Cable for OwnNamespaceFirst {
    fn destroy(&self, side: usize) -> bool {
        let mut own = self.ends[side].lock();
        let mut other = self.ends[1 - side].lock();
        *other = false;
        std::mem::replace(&mut *own, false) && self.gone.fetch_add(1, Ordering::SeqCst) == 0
    }

    fn set_up(&self, _: usize, _: bool) {}

    fn links(&self) -> [bool; 2] {
        [false; 2]
    }

    fn wait_told(&self, _: [bool; 2]) {}

    fn ends(&self) -> [bool; 2] {
        [0, 1].map(|side: usize| *self.ends[side].lock())
    }
}

/// A cable of which one end moves; who destroys the other looks where that is, and then locks both places.
pub struct LooksWhereItIsThenLocks {
    near: Mutex<bool>,
    far: [Mutex<bool>; 2],
    at: AtomicUsize,
}

impl Default for LooksWhereItIsThenLocks {
    fn default() -> Self {
        let far = [true, false].map(Mutex::new);
        Self { near: Mutex::new(true), far, at: AtomicUsize::new(0) }
    }
}

impl Moving for LooksWhereItIsThenLocks {
    fn go(&self) -> bool {
        let [mut from, mut to] = [self.far[0].lock(), self.far[1].lock()];
        *to = std::mem::replace(&mut *from, false);
        self.at.store(1, Ordering::SeqCst);
        *to
    }

    fn destroy(&self) -> bool {
        let at = self.at.load(Ordering::SeqCst);
        let (mut near, mut far) = (self.near.lock(), self.far[at].lock());
        *far = false;
        std::mem::replace(&mut *near, false)
    }

    fn count(&self) -> usize {
        let ends = [*self.near.lock(), *self.far[0].lock(), *self.far[1].lock()];
        ends.into_iter().filter(|there| *there).count()
    }
}

/// A cable, each end of which looks whether the other is up, and then notes that it is.
#[derive(Default)]
pub struct LooksBeforeItNotes {
    up: [AtomicBool; 2],
    links: [AtomicBool; 2],
}

impl Cable for LooksBeforeItNotes {
    fn destroy(&self, _: usize) -> bool {
        true
    }

    fn set_up(&self, side: usize, up: bool) {
        let both = up && self.up[1 - side].load(Ordering::SeqCst);
        self.up[side].store(up, Ordering::SeqCst);
        for link in &self.links {
            link.store(both, Ordering::SeqCst);
        }
    }

    fn links(&self) -> [bool; 2] {
        [0, 1].map(|side: usize| self.links[side].load(Ordering::SeqCst))
    }

    fn wait_told(&self, _: [bool; 2]) {}

    fn ends(&self) -> [bool; 2] {
        [false; 2]
    }
}

/// Room for one frame, and an outlet that is woken.
#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    changed: Condvar,
}

#[derive(Default)]
struct InboxState {
    frames: Vec<u32>,
    woken: bool,
    sender_waits: bool,
    told_of_room: bool,
    came: Vec<u32>,
}

impl Inbox {
    fn wake(&self) {
        self.state.lock().woken = true;
        self.changed.notify_all();
    }

    fn push(&self, number: u32) {
        self.state.lock().frames.push(number);
    }

    fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while !std::mem::take(&mut state.told_of_room) {
            state = self.changed.wait(state);
        }
    }

    /// What a worker does, until so many have come.
    fn hand_over(&self, count: usize) -> Vec<u32> {
        let mut state = self.state.lock();
        while state.came.len() < count {
            while !std::mem::take(&mut state.woken) {
                state = self.changed.wait(state);
            }
            let mut frames = std::mem::take(&mut state.frames);
            state.came.append(&mut frames);
            state.told_of_room |= std::mem::take(&mut state.sender_waits);
            self.changed.notify_all();
        }
        state.came.clone()
    }
}

/// The outlet is woken, and then the frame is put in.
#[derive(Default)]
pub struct WakesThenPuts(Inbox);

impl Mail for WakesThenPuts {
    fn send(&self, number: u32) {
        self.0.wake();
        self.0.push(number);
    }

    fn receive(&self, count: usize) -> Vec<u32> {
        self.0.hand_over(count)
    }
}

/// Who sends looks whether there is room, and then says that it waits.
#[derive(Default)]
pub struct LooksThenSaysItWaits(Inbox);

impl Mail for LooksThenSaysItWaits {
    fn send(&self, number: u32) {
        let full = !self.0.state.lock().frames.is_empty();
        if full {
            self.0.state.lock().sender_waits = true;
            self.0.wait_for_room();
        }
        self.0.push(number);
        self.0.wake();
    }

    fn receive(&self, count: usize) -> Vec<u32> {
        self.0.hand_over(count)
    }
}

/// A capture in a few lines.
#[derive(Default)]
struct Reel {
    state: Mutex<ReelState>,
    changed: Condvar,
}

#[derive(Default)]
struct ReelState {
    frames: u64,
    ended: bool,
    reader_waits: bool,
    woken: bool,
}

impl Reel {
    fn wake(&self, state: &mut ReelState) {
        if std::mem::take(&mut state.reader_waits) {
            state.woken = true;
            self.changed.notify_all();
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.frames += 1;
        self.wake(&mut state);
    }

    fn sleep(&self) {
        let mut state = self.state.lock();
        state.reader_waits = true;
        while !std::mem::take(&mut state.woken) {
            state = self.changed.wait(state);
        }
    }
}

/// The reader sees that there is nothing, and then says that it waits.
#[derive(Default)]
pub struct LooksThenWaits(Reel);

impl Films for LooksThenWaits {
    fn pass(&self) {
        self.0.pass();
    }

    fn gone(&self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        self.0.wake(&mut state);
    }

    fn read(&self) -> (u64, u64) {
        let mut kept = 0;
        loop {
            let (frames, ended) = {
                let mut state = self.0.state.lock();
                (std::mem::take(&mut state.frames), state.ended)
            };
            kept += frames;
            match (frames, ended) {
                (0, true) => return (kept, 0),
                (0, false) => self.0.sleep(),
                _ => {}
            }
        }
    }
}

/// At the end what was not read is thrown away.
#[derive(Default)]
pub struct EndsEmpty(Reel);

impl Films for EndsEmpty {
    fn pass(&self) {
        self.0.pass();
    }

    fn gone(&self) {
        let mut state = self.0.state.lock();
        state.ended = true;
        state.frames = 0;
        self.0.changed.notify_all();
    }

    fn read(&self) -> (u64, u64) {
        let mut kept = 0;
        let mut state = self.0.state.lock();
        loop {
            kept += std::mem::take(&mut state.frames);
            if state.ended {
                return (kept, 0);
            }
            state = self.0.changed.wait(state);
        }
    }
}
