//! A stack that several threads use.

use super::connection::{Connection, ConnectionId};
use super::machine::{Machine, News};
use super::sockets::{Datagrams, Listener, Stream};
use super::{Acceptor, AddressError, Config, Limits, Network, Reason, Route, Usage};
use crate::MacAddress;
use crate::frame::{Frame, Frames};
use holm_lifetime::sync::Mutex;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The world outside of a stack.
pub trait Outside: Send + Sync + 'static {
    /// How many frames [`transmit`](Self::transmit) would take. Who was told 0 calls
    /// [`Stack::tick`] when there is room.
    fn room(&self) -> usize;

    /// Whether [`transmit`](Self::transmit) takes [unfinished](crate::Frame::rest) frames as they are.
    /// Otherwise few reach it.
    fn offloads(&self) -> bool {
        false
    }

    /// Sends frames by the link, in this order; no more than there is room for. Unfinished ones may be in
    /// [several parts](crate::Frame::parts). It is called by one thread at a time, which holds no lock of the
    /// stack's.
    fn transmit(&self, frames: Frames);

    /// Has [`Stack::tick`] called then, rather than when was said before. Called as `transmit` is.
    fn wake_at(&self, at: Instant);

    /// Has [`Stack::tick`] called soon, but not from within this call: there is more to send than one
    /// thread should without doing anything else. It is called while no lock is held.
    fn go_on(&self);

    /// What time it is. It is asked with the lock of the stack held.
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// The TCP/IP stack of a link. See the [module](super).
///
/// Its methods may be called by any thread, also from within [`Outside::transmit`] and a
/// [`Wake`](super::Wake).
pub struct Stack {
    shared: Mutex<Shared>,
    outside: Box<dyn Outside>,
    began: Instant,
}

struct Shared {
    machine: Machine,
    outbox: Outbox,
}

/// What is to go outside. Whoever has put something there when nobody is sending sends, until nothing
/// is left or there is no room; whoever comes meanwhile leaves what he has. So frames keep their order,
/// as do alarms, and nobody waits for another's sending. As others may always have more, he leaves after
/// a while what there is, for a thread that has its turn.
#[derive(Default)]
struct Outbox {
    frames: Frames,
    /// The alarm that is set, and whether it is still to be told.
    alarm: Option<Duration>,
    news: bool,
    sending: bool,
    /// Somebody has come since the one who sends last looked. Perhaps because there is room again.
    came: bool,
}

impl Stack {
    /// One without addresses, but for a link-local one (RFC 4291).
    pub fn new(config: Config, outside: impl Outside) -> Arc<Self> {
        let shared = Shared { machine: Machine::new(&config), outbox: Outbox::default() };
        let shared = Mutex::new(shared);
        let began = outside.now();
        Arc::new(Self { shared, outside: Box::new(outside), began })
    }

    /// Frames have come by the link.
    pub fn input(&self, frames: &Frames) {
        self.run(|machine, now| frames.iter().for_each(|frame| machine.input_frame(now, frame)));
    }

    /// The time has come that [`Outside::wake_at`] was told, or there is room again.
    pub fn tick(&self) {
        // However early it is: what is due is told anew.
        self.shared.lock().outbox.alarm = None;
        self.run_for(SHARE_OF_A_TICK, |_, _| ());
    }

    /// All addresses.
    pub fn addresses(&self) -> Vec<Network> {
        self.shared.lock().machine.addresses().to_vec()
    }

    /// The address that it made itself, of IPv6 (RFC 4291).
    pub fn link_local(&self) -> Option<Network> {
        self.shared.lock().machine.link_local()
    }

    /// Whether that is the address that it made itself.
    pub(super) fn is_own_link_local(&self, network: Network) -> bool {
        self.shared.lock().machine.link_local() == Some(network)
    }

    /// Whether it can have that address, too.
    pub(super) fn check_address(&self, network: Network) -> Result<(), AddressError> {
        self.shared.lock().machine.check_address(network)
    }

    /// Adds an address, and tells all stations of the link.
    ///
    /// # Errors
    ///
    /// The link can't have it.
    pub fn add_address(&self, network: Network) -> Result<(), AddressError> {
        self.run(|machine, now| machine.add_address(now, network))
    }

    /// Removes an address, and resets the connections that end there. `false`: it was not there.
    pub fn remove_address(&self, address: IpAddr) -> bool {
        self.run(|machine, now| machine.remove_address(now, address))
    }

    /// Replaces all routes. Of several that lead to an address by a router on the link, the one to the
    /// smallest network is taken.
    pub fn set_routes(&self, routes: Vec<Route>) {
        self.run(|machine, _| machine.set_routes(routes));
    }

    /// What it may use from now on. The connections that there are stay, and keep their buffers and times.
    pub fn set_limits(&self, limits: Limits) {
        self.run(|machine, _| machine.set_limits(limits));
    }

    /// Our address on the link is another one.
    pub fn set_mac(&self, mac: MacAddress) {
        self.run(|machine, now| machine.set_mac(now, mac));
    }

    /// The longest packet has another length. With less than 1280 bytes, addresses of IPv6 are removed.
    pub fn set_mtu(&self, mtu: usize) {
        self.run(|machine, now| machine.set_mtu(now, mtu));
    }

    /// Tells all stations of the link where our addresses are, as when they are reached another way.
    pub fn announce(&self) {
        self.run(|machine, now| machine.announce(now));
    }

    /// Takes connections to that port, at one address or, without one, at all that the link has at any
    /// time. `accept` is called with each by whoever has brought it about, while no lock is held; also
    /// once more just after the listener was dropped.
    ///
    /// # Errors
    ///
    /// Somebody else listens there.
    pub fn listen(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        port: u16,
        accept: impl Fn(Stream) + Send + Sync + 'static,
    ) -> io::Result<Listener> {
        let stack = Arc::downgrade(self);
        // Its last owner, if it is refused, is here and not where the stack is locked.
        let acceptor: Acceptor = Arc::new(move |id, ends| {
            if let Some(stack) = stack.upgrade() {
                accept(Stream::new(stack, id, ends));
            }
        });
        self.run(|machine, _| machine.listen((address, port), acceptor.clone()))?;
        Ok(Listener::new(self.clone(), (address, port)))
    }

    /// Makes a connection. Until it is there, nothing can be received and there is no room to send.
    ///
    /// # Errors
    ///
    /// There is no way there, or there are too many connections.
    pub fn connect(self: &Arc<Self>, peer: SocketAddr) -> io::Result<Stream> {
        let (id, ends) = self.run(|machine, now| machine.connect(now, peer))?;
        Ok(Stream::new(self.clone(), id, ends))
    }

    /// Receives datagrams at that port, at one address or all.
    ///
    /// # Errors
    ///
    /// Somebody else does.
    pub fn bind(self: &Arc<Self>, address: Option<IpAddr>, port: u16) -> io::Result<Datagrams> {
        self.run(|machine, _| machine.bind((address, port)))?;
        Ok(Datagrams::new(self.clone(), (address, port)))
    }

    /// Resets all connections and forgets addresses and listeners: their owners are told. When this returns
    /// the resets are with the link, which may go then.
    pub fn close(&self) {
        let (last, news) = {
            let mut shared = self.shared.lock();
            let Shared { machine, outbox } = &mut *shared;
            let now = self.now();
            machine.close(now);
            let (frames, news) = machine.settle(now, 0);
            let mut last = std::mem::take(&mut outbox.frames);
            last.extend(frames);
            (last, news)
        };
        // Not left to whoever sends just now: to him the link may be gone when he comes to it. What he has is
        // overtaken, which a reset may do.
        if !last.is_empty() {
            self.outside.transmit(last);
        }
        news.tell();
    }

    /// What it has, and what it has refused.
    pub fn usage(&self) -> Usage {
        self.shared.lock().machine.usage()
    }

    /// Has something done with a connection, unless it is no more.
    pub(super) fn with<R>(
        &self,
        id: ConnectionId,
        f: impl FnOnce(&mut Connection) -> R,
    ) -> Option<R> {
        self.run(|machine, now| machine.with(now, id, f))
    }

    /// Has something done, and then everything that follows from it.
    pub(super) fn run<R>(&self, f: impl FnOnce(&mut Machine, Duration) -> R) -> R {
        self.run_for(SHARE, f)
    }

    /// If it is the one who sends, it sends so many bytes, or little more.
    fn run_for<R>(&self, share: usize, f: impl FnOnce(&mut Machine, Duration) -> R) -> R {
        let offloads = self.outside.offloads();
        let mut shared = self.shared.lock();
        let Shared { machine, outbox } = &mut *shared;
        machine.set_offloads(offloads);
        let now = self.now();
        let outcome = f(machine, now);
        let news = outbox.settle(machine, now);
        let mine = outbox.claim();
        drop(shared);
        // First: sending may take as long as others have more to send.
        news.tell();
        if mine {
            self.send(share);
        }
        outcome
    }

    fn now(&self) -> Duration {
        self.outside.now().saturating_duration_since(self.began)
    }

    /// Sends what is in the outbox, which is claimed.
    fn send(&self, share: usize) {
        let mut room = self.outside.room();
        let mut sent = 0;
        while sent < share {
            let (load, others) = {
                let mut shared = self.shared.lock();
                let Shared { machine, outbox } = &mut *shared;
                let Some(load) = outbox.next(room) else { return };
                // There is room for more of what did not fit before.
                let more = machine.is_unsettled();
                (load, more.then(|| outbox.settle(machine, self.now())))
            };
            if let Some(alarm) = load.alarm {
                self.outside.wake_at(self.began + alarm);
            }
            if !load.frames.is_empty() {
                sent += load.frames.iter().map(|frame| frame.len().max(COST)).sum::<usize>();
                self.outside.transmit(load.frames);
            }
            if let Some(news) = others {
                news.tell();
            }
            room = self.outside.room();
        }
        // In this order: whoever goes on finds that nobody is sending.
        self.shared.lock().outbox.sending = false;
        self.outside.go_on();
    }
}

/// What is taken out to be sent.
#[derive(Debug, PartialEq, Eq)]
struct Load {
    frames: Frames,
    alarm: Option<Duration>,
}

impl Outbox {
    /// Has the machine do what is due, for as long as what it makes is not too much.
    fn settle(&mut self, machine: &mut Machine, now: Duration) -> News {
        let room = FRAMES_MAX.saturating_sub(self.frames.len());
        let (mut frames, news) = machine.settle(now, room);
        if self.frames.is_empty() {
            self.frames = frames;
        } else {
            self.frames.append(&mut frames);
        }
        // Answers that there is no room for, as to a flood of pings while nothing can be sent.
        let lost = self.frames.len().saturating_sub(2 * FRAMES_MAX);
        self.frames.truncate(2 * FRAMES_MAX);
        machine.count(Reason::NoRoom, lost);
        // An alarm that is set goes off in any case, so only one that is earlier has to be told.
        let set = self.alarm.filter(|&alarm| alarm > now);
        let earlier = machine.due_at().filter(|&due| set.is_none_or(|set| due < set));
        self.news |= earlier.is_some();
        self.alarm = earlier.or(set);
        news
    }

    /// Whether whoever asks is the one who sends from now on.
    fn claim(&mut self) -> bool {
        self.came = true;
        let idle = self.frames.is_empty() && !self.news;
        !idle && !std::mem::replace(&mut self.sending, true)
    }

    /// What is to be sent next, if there is room for so many frames. If there is nothing, or no room and
    /// nobody has come since that was asked for the last time, the sending ends.
    fn next(&mut self, room: usize) -> Option<Load> {
        let alarm = self.alarm.filter(|_| std::mem::take(&mut self.news));
        let came = std::mem::take(&mut self.came);
        let stuck = self.frames.is_empty() || (room == 0 && !came);
        if stuck && alarm.is_none() {
            self.sending = false;
            // They may wait for longer than their connections live, and hold nothing else meanwhile.
            self.frames.iter_mut().for_each(Frame::gather);
            return None;
        }
        let rest = self.frames.split_off(room.min(self.frames.len()));
        Some(Load { frames: std::mem::replace(&mut self.frames, rest), alarm })
    }
}

/// How many bytes one thread sends before it leaves the rest: one that has work of its own, which waits meanwhile,
/// and one that does nothing else. A short frame takes as long as so many bytes.
const SHARE: usize = if cfg!(shuttle) { 1 } else { 1 << 20 };
const SHARE_OF_A_TICK: usize = if cfg!(shuttle) { 1 } else { 8 << 20 };
const COST: usize = 1 << 10;
/// Frames that wait until there is room. Connections that have more to send wait, too.
const FRAMES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn what_waits_for_room_is_in_one_part() {
        let frame = || {
            let parts = vec![Bytes::from_static(&[2; 9]), Bytes::from_static(&[3; 9])];
            Frame::of_parts(vec![1; 60], parts, None)
        };
        let mut outbox = Outbox { frames: vec![frame(), frame()], ..Outbox::default() };
        assert!(outbox.claim());
        let load = outbox.next(1).unwrap();
        assert_eq!(load.frames[0].parts().count(), 3, "it is sent as it is");
        assert_eq!(outbox.next(0), None);
        assert_eq!((outbox.frames[0].parts().count(), &outbox.frames), (1, &vec![frame()]));
    }
}
