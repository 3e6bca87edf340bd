//! What happens in a registry, as it happens.

use crate::name::NsId;
use holm_lifetime::sync::OnceLock;
use std::fmt;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A namespace can be entered.
    Created(NsId),
    /// It can't be entered any more and its name is free.
    Draining(NsId),
    /// Nothing is left of it.
    Gone(NsId),
    /// A callback failed.
    Failed(Failed),
}

/// A callback that failed: it refused, or it panicked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In which namespace.
    pub ns: NsId,
    /// Whose callback.
    pub subsystem: String,
    /// Which one.
    pub callback: Callback,
    /// What it said.
    pub why: String,
}

/// The callbacks that others give to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// A subsystem's `init`.
    Init,
    /// A subsystem's `pre_exit`.
    PreExit,
    /// A subsystem's `exit`.
    Exit,
    /// A notifier's `notify`.
    Notify,
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Callback::Init => "init",
            Callback::PreExit => "pre_exit",
            Callback::Exit => "exit",
            Callback::Notify => "notify",
        })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}: {}", self.ns, self.callback, self.subsystem, self.why)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Created(ns) => write!(f, "{ns}: created"),
            Event::Draining(ns) => write!(f, "{ns}: draining"),
            Event::Gone(ns) => write!(f, "{ns}: gone"),
            Event::Failed(failed) => failed.fmt(f),
        }
    }
}

/// A listener's end. One that is slow holds nobody up: it loses the oldest, and hears how many.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An event.
    Event(Event),
    /// This many events, lost because the listener was slow.
    Missed(u64),
}

impl Events {
    /// The next event, if there is one by now; `None` also when the registry is gone,
    /// and every handle to a namespace of it.
    pub fn try_next(&mut self) -> Option<Heard> {
        match self.0.try_recv() {
            Ok(event) => Some(Heard::Event(event)),
            Err(TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// The next event; `None` when the registry is gone, and every handle to a namespace of it.
    pub async fn next(&mut self) -> Option<Heard> {
        heard(self.0.recv().await)
    }

    /// Waits on this thread, which must not be one of an async runtime, for the next event; `None`
    /// when the registry is gone, and every handle to a namespace of it.
    pub fn wait(&mut self) -> Option<Heard> {
        heard(self.0.blocking_recv())
    }
}

fn heard(received: Result<Event, RecvError>) -> Option<Heard> {
    match received {
        Ok(event) => Some(Heard::Event(event)),
        Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
        Err(RecvError::Closed) => None,
    }
}

/// The registry's end. The channel is made for the first who listens: a registry without one is small.
pub(crate) struct Speaker {
    listeners: OnceLock<broadcast::Sender<Event>>,
    witness: OnceLock<Witness>,
}

type Witness = Box<dyn Fn(&Event) + Send + Sync>;

impl Speaker {
    /// Remembers this many events for a slow listener.
    pub(crate) const CAPACITY: usize = 256;

    pub(crate) fn new() -> Self {
        Self { listeners: OnceLock::new(), witness: OnceLock::new() }
    }

    pub(crate) fn say(&self, event: Event) {
        if let Some(witness) = self.witness.get() {
            witness(&event);
        }
        if let Some(channel) = self.listeners.get() {
            // An error says that nobody listens any more.
            let _ = channel.send(event);
        }
    }

    /// Whether it is the first.
    pub(crate) fn set_witness(&self, witness: Witness) -> bool {
        self.witness.set(witness).is_ok()
    }

    pub(crate) fn listen(&self) -> Events {
        Events(self.listeners.get_or_init(|| broadcast::Sender::new(Self::CAPACITY)).subscribe())
    }
}
