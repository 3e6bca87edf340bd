//! Who reads from clients: turn by turn, and when the namespace goes, one for all.

use holm_lifetime::sync::Mutex;
use std::fmt;

/// Where the reader of one client is, of which there is one: whoever has it reads from the client, and
/// nobody else. So no message is served twice, or out of turn.
pub struct Turns<R>(Mutex<Held<R>>);

enum Held<R> {
    /// Here: nobody reads.
    Here(R),
    /// With whose turn it is.
    Taken,
    /// The same, and then it goes to who ends the namespace.
    Wanted,
    /// Gone for good.
    Gone,
}

impl<R> Turns<R> {
    /// Of a reader that nobody has yet.
    pub fn new(reader: R) -> Self {
        Self(Mutex::new(Held::Here(reader)))
    }

    /// Takes the reader for a turn; none, if there are no more turns.
    pub fn take(&self) -> Option<R> {
        let mut held = self.0.lock();
        match std::mem::replace(&mut *held, Held::Taken) {
            Held::Here(reader) => Some(reader),
            other => {
                *held = other;
                None
            }
        }
    }

    /// Puts it back after its turn.
    ///
    /// # Errors
    ///
    /// The reader, if that was the last turn: it is to be [handed over](Ending::hand_over).
    pub fn put_back(&self, reader: R) -> Result<(), R> {
        let mut held = self.0.lock();
        if matches!(*held, Held::Taken) {
            *held = Held::Here(reader);
            return Ok(());
        }
        *held = Held::Gone;
        Err(reader)
    }

    /// Who has taken it keeps it: there is no turn any more.
    pub fn keep(&self) {
        *self.0.lock() = Held::Gone;
    }

    /// There are no more turns. Gives the reader, which is to be [handed over](Ending::hand_over), if
    /// it is here; if not, whose turn it is does so.
    #[must_use]
    pub fn close(&self) -> Option<R> {
        let mut held = self.0.lock();
        match std::mem::replace(&mut *held, Held::Gone) {
            Held::Here(reader) => return Some(reader),
            Held::Taken | Held::Wanted => *held = Held::Wanted,
            Held::Gone => {}
        }
        None
    }
}

/// The readers of a namespace that goes, on their way to a thread that reads for all from then on.
pub struct Ending<R, T>(Mutex<State<R, T>>);

struct State<R, T> {
    /// That the thread has not received yet.
    handed: Vec<R>,
    thread: Option<T>,
    over: bool,
}

/// A thread that waits until it is woken.
pub trait Wake {
    /// Has it not wait, now or next.
    fn wake(&self);
}

impl<R, T: Wake> Ending<R, T> {
    /// Gives a reader to the thread, which `start` starts for the first. If it is over already, the reader
    /// is dropped.
    ///
    /// # Errors
    ///
    /// That of `start`, and the reader.
    pub fn hand_over<E>(
        &self,
        reader: R,
        start: impl FnOnce() -> Result<T, E>,
    ) -> Result<(), (R, E)> {
        let mut state = self.0.lock();
        if state.over {
            drop(state);
            drop(reader);
            return Ok(());
        }
        if state.thread.is_none() {
            match start() {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => return Err((reader, error)),
            }
        }
        state.handed.push(reader);
        if let Some(thread) = &state.thread {
            thread.wake();
        }
        Ok(())
    }

    /// For the thread, whenever it was woken: adds the readers that came since. Whether it goes on.
    pub fn receive(&self, readers: &mut Vec<R>) -> bool {
        let mut state = self.0.lock();
        readers.append(&mut state.handed);
        !state.over
    }

    /// It is over. Gives the thread, if there is one, to be waited for.
    #[must_use]
    pub fn end(&self) -> Option<T> {
        let mut state = self.0.lock();
        state.over = true;
        let thread = state.thread.take();
        if let Some(thread) = &thread {
            thread.wake();
        }
        thread
    }
}

impl<R, T> Default for Ending<R, T> {
    fn default() -> Self {
        Self(Mutex::new(State { handed: Vec::new(), thread: None, over: false }))
    }
}

impl<R> fmt::Debug for Turns<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl<R, T> fmt::Debug for Ending<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}
