//! What happens in a server, as it happens.

use crate::model::{Event, Happened};
use holm_netns::{self as netns, NsId};
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
pub struct Events(broadcast::Receiver<Event>);

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

    /// Passes on what only the registry knows: when a namespace is gone, and which callback failed.
    /// All goes by one channel, so that nothing is heard before what it follows from.
    pub(crate) fn pass_on(&self, event: &netns::Event) {
        match event {
            netns::Event::Gone(ns) => self.say(Some(ns), Happened::Gone),
            netns::Event::Failed(failed) => {
                let why = format!("{} of {}: {}", failed.callback, failed.subsystem, failed.why);
                self.say(Some(&failed.ns), Happened::Failed { why });
            }
            // The server says these itself, when it is done with them.
            netns::Event::Created(_) | netns::Event::Draining(_) => {}
        }
    }

    pub(crate) fn listen(&self) -> Events {
        Events(self.0.get_or_init(|| broadcast::Sender::new(CAPACITY)).subscribe())
    }
}

impl Events {
    /// The next event; `None` when the server is gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(event(None, Happened::Missed { count })),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one by now.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(count)) => Some(event(None, Happened::Missed { count })),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
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
