//! What carrying frames takes: made anew with each change, and then only read.

use super::distribution::{Choice, Distribution, MOST_PORTS};
use crate::counters::DropReason;
use crate::frame::Frames;
use crate::interface::Interface;
use holm_lifetime::sync::atomic::{AtomicUsize, Ordering};
use holm_lifetime::{Ref, WeakRef};

/// Where frames go and from where they are taken.
pub(super) struct Plan {
    pub(super) distribution: Distribution,
    /// In the order of the distribution.
    pub(super) ports: Box<[PlannedPort]>,
    pub(super) speaks_lacp: bool,
}

pub(super) struct PlannedPort {
    pub(super) number: u16,
    pub(super) interface: WeakRef<Interface>,
}

impl Plan {
    /// Sends frames; those that are left there is no port for. `turns` counts turns.
    pub(super) fn send(&self, frames: &mut Frames, turns: &AtomicUsize) -> Result<(), DropReason> {
        match self.distribution.same_for_all() {
            Some(Choice::Nowhere) => Err(DropReason::NoPort),
            Some(Choice::One(place)) => self.send_on(place, frames),
            Some(Choice::All) => self.send_on_all(frames),
            None => self.send_each(frames, turns),
        }
    }

    /// How many frames there is room for, wherever they go.
    pub(super) fn room(&self) -> usize {
        let ports = self.distribution.senders().filter_map(|place| self.port(place));
        // What there is no port for is taken and dropped.
        ports.map(|port| port.room()).min().unwrap_or(usize::MAX)
    }

    /// Whether all ports that frames may go by take unfinished ones. One that does not, and is used a moment
    /// later, finishes what reaches it.
    pub(super) fn offloads(&self) -> bool {
        let mut ports = self.distribution.senders().filter_map(|place| self.port(place));
        ports.all(|port| port.offloads())
    }

    /// Whether frames are taken from the port of that number.
    pub(super) fn takes_from(&self, number: u16) -> bool {
        let place = self.ports.iter().position(|port| port.number == number);
        place.is_some_and(|place| self.distribution.takes_from(place))
    }

    fn send_on(&self, place: usize, frames: &mut Frames) -> Result<(), DropReason> {
        let port = self.port(place).ok_or(DropReason::NoPort)?;
        port.transmit(frames);
        Ok(())
    }

    fn send_on_all(&self, frames: &mut Frames) -> Result<(), DropReason> {
        let mut ports: Vec<_> =
            self.distribution.senders().filter_map(|place| self.port(place)).collect();
        let last = ports.pop().ok_or(DropReason::NoPort)?;
        for port in ports {
            port.transmit(&mut frames.clone());
        }
        last.transmit(frames);
        Ok(())
    }

    fn send_each(&self, frames: &mut Frames, turns: &AtomicUsize) -> Result<(), DropReason> {
        let choose = |frame: &[u8]| {
            self.distribution.choose(frame, || turns.fetch_add(1, Ordering::Relaxed))
        };
        if let [frame] = &frames[..] {
            let Choice::One(place) = choose(frame) else { return Err(DropReason::NoPort) };
            return self.send_on(place, frames);
        }
        let mut batches = [const { Frames::new() }; MOST_PORTS];
        let mut lost = Frames::new();
        for frame in frames.drain(..) {
            let batch = match choose(&frame) {
                Choice::One(place) => batches.get_mut(place),
                Choice::Nowhere | Choice::All => None,
            };
            batch.unwrap_or(&mut lost).push(frame);
        }
        for (place, batch) in batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty())
        {
            if self.send_on(place, batch).is_err() {
                lost.append(batch);
            }
        }
        frames.append(&mut lost);
        if frames.is_empty() { Ok(()) } else { Err(DropReason::NoPort) }
    }

    /// The port at that place, unless it is being destroyed.
    fn port(&self, place: usize) -> Option<Ref<Interface>> {
        self.ports.get(place)?.interface.upgrade()
    }
}
