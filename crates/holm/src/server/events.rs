//! What happens in a server, as it happens.

use crate::model::{Event, Happened};
use holm_netns::{self as netns, NsId, Registry};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

/// The server's end. The channel is made for the first who listens: it is larger than all else that
/// an idle server has.
#[derive(Debug)]
pub(crate) struct Speaker(OnceLock<broadcast::Sender<Event>>);

/// A listener's end. One that is slow holds nobody up: it loses the oldest, and is told how many by
/// [`Happened::Missed`].
#[derive(Debug)]
pub struct Events {
    server: broadcast::Receiver<Event>,
    /// What only the registry knows: when a namespace is gone, and which callback failed.
    registry: netns::Events,
    over: bool,
}

impl Speaker {
    pub(crate) fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn say(&self, ns: Option<&NsId>, what: Happened) {
        if let Some(channel) = self.0.get() {
            // An error says that nobody listens any more.
            let _ = channel.send(event(ns.map(ToString::to_string), what));
        }
    }

    pub(crate) fn listen(&self, registry: &Registry) -> Events {
        let channel = self.0.get_or_init(|| broadcast::Sender::new(CAPACITY));
        Events { server: channel.subscribe(), registry: registry.events(), over: false }
    }
}

impl Events {
    /// The next event; `None` when the server is gone.
    pub async fn next(&mut self) -> Option<Event> {
        while !self.over {
            // The server's own first: it says that a namespace drains before that is gone.
            let event = tokio::select! {
                biased;
                heard = self.server.recv() => match heard {
                    Ok(event) => Some(event),
                    Err(RecvError::Lagged(count)) => Some(event(None, Happened::Missed { count })),
                    Err(RecvError::Closed) => {
                        self.over = true;
                        None
                    }
                },
                heard = self.registry.next() => match heard {
                    Some(heard) => translate(heard),
                    None => {
                        self.over = true;
                        None
                    }
                },
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// The next event, if there is one by now.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.server.try_recv() {
            Ok(event) => return Some(event),
            Err(TryRecvError::Lagged(count)) => {
                return Some(event(None, Happened::Missed { count }));
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => {}
        }
        while let Some(heard) = self.registry.try_next() {
            if let Some(event) = translate(heard) {
                return Some(event);
            }
        }
        None
    }
}

/// What the registry says; nothing of what the server says itself.
fn translate(heard: netns::Heard) -> Option<Event> {
    let (ns, what) = match heard {
        netns::Heard::Event(netns::Event::Gone(ns)) => (Some(ns), Happened::Gone),
        netns::Heard::Event(netns::Event::Failed(failed)) => {
            let why = format!("{} of {}: {}", failed.callback, failed.subsystem, failed.why);
            (Some(failed.ns), Happened::Failed { why })
        }
        netns::Heard::Event(netns::Event::Created(_) | netns::Event::Draining(_)) => return None,
        netns::Heard::Missed(count) => (None, Happened::Missed { count }),
    };
    Some(event(ns.map(|ns| ns.to_string()), what))
}

fn event(ns: Option<String>, what: Happened) -> Event {
    Event { time: milliseconds(SystemTime::now()), ns, what }
}

/// Since 1970.
pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// So many events are remembered for a slow listener.
const CAPACITY: usize = 1024;
