//! One interface.

use crate::attic::Old;
use crate::cidr::Cidr;
use crate::counters::{Counters, Direction, DropReason};
use crate::driver::Driver;
use crate::ether::{self, HEADER, MacAddress};
use crate::event::{LinkChange, LinkEvent};
use crate::flags::{Flags, LinkState, Media};
use crate::frame::{Frame, Frames, finish_all};
use crate::name::IfName;
use crate::receiver::{Receiver, Tap, Way};
use crate::request::{Reply, Request, RequestError};
use crate::subsystem::IfnetSubsystem;
use crate::tenant::{NsInterfaces, Tenant};
use holm_lifetime::levels::{HeldLevels, Holding, Locked, NsRtnl};
use holm_lifetime::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use holm_lifetime::sync::{Arc, Mutex, OnceLock};
use holm_lifetime::{Published, Ref, WeakRef, grace};
use holm_netns::Namespace;
use holm_netns::notifier::NsHeld;
use holm_pool::{AddError, Handle, PoolSubsystem, Source, Turn};
use std::fmt;

/// An interface: what frames go in and out by. It is used by reference
/// ([`NsInterfaces::find`]), and destroyed when the last is gone.
pub struct Interface {
    index: u64,
    kind: &'static str,
    unit: AtomicU32,
    flags: AtomicU32,
    mtu: AtomicUsize,
    mac: AtomicU64,
    counters: Counters,
    /// What is done with frames, for those who have no lock.
    hooks: Published<Arc<Hooks>>,
    settings: Mutex<Settings>,
    /// In which namespace a request waits to tell of the link, by number; 0 in none.
    link_waits: AtomicU64,
    own: OnceLock<WeakRef<Interface>>,
    driver: Box<dyn Driver>,
}

/// What changes seldom: under the configuration lock of the namespace, and of both when it moves.
struct Settings {
    name: IfName,
    home: Arc<Tenant>,
    media: Media,
    addresses: Vec<Cidr>,
    hooks: Arc<Hooks>,
    /// What the listeners know of the link.
    link_told: LinkState,
}

/// What is done with frames.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    /// In which namespace the interface is, by number.
    ns: u64,
    receiver: Option<Arc<dyn Receiver>>,
    taps: Vec<Arc<dyn Tap>>,
}

/// What an interface begins as.
pub(crate) struct Traits {
    pub(crate) index: u64,
    pub(crate) kind: &'static str,
    pub(crate) unit: u32,
    pub(crate) name: IfName,
    pub(crate) mtu: usize,
    pub(crate) mac: MacAddress,
}

/// What it is.
impl Interface {
    /// Its number. No other interface of the registry ever has the same.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Its kind, as `lagg`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its number among those of its kind in the namespace.
    pub fn unit(&self) -> u32 {
        self.unit.load(Ordering::Relaxed)
    }

    /// Its name.
    pub fn name(&self) -> IfName {
        self.settings.lock().name
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> Namespace {
        self.settings.lock().home.ns.clone()
    }

    /// The other end, if it is one of a pair: it goes when this one goes.
    pub fn partner(&self) -> Option<Ref<Interface>> {
        self.dyn_driver().partner()?.upgrade()
    }

    /// The interfaces of the namespace it is in.
    pub fn siblings(&self) -> NsInterfaces {
        NsInterfaces(self.settings.lock().home.clone())
    }

    /// What state it is in.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Acquire))
    }

    /// How much one frame may carry, in bytes without the header.
    #[inline]
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Its MAC address.
    pub fn mac(&self) -> MacAddress {
        mac_from(self.mac.load(Ordering::Relaxed))
    }

    /// What its link is like.
    pub fn media(&self) -> Media {
        self.settings.lock().media
    }

    /// Whether frames can go by its link.
    pub fn link(&self) -> LinkState {
        if self.flags().has(Flags::RUNNING) { LinkState::Up } else { LinkState::Down }
    }

    /// Its addresses, in the order in which they came.
    pub fn addresses(&self) -> Vec<Cidr> {
        self.settings.lock().addresses.clone()
    }

    /// What it has counted. Drivers and receivers count here what only they see.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Who receives its frames.
    pub fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.settings.lock().hooks.receiver.clone()
    }

    /// The lagg that it is a port of.
    pub fn master(&self) -> Option<WeakRef<Interface>> {
        self.receiver()?.master()
    }

    /// A way to it that does not keep it.
    pub fn downgrade(&self) -> WeakRef<Interface> {
        match self.own.get() {
            Some(own) => own.clone(),
            None => unreachable!("set before anybody can refer to it"),
        }
    }

    /// Its driver, if that is a `D`.
    pub fn driver<D: Driver>(&self) -> Option<&D> {
        let driver: &dyn std::any::Any = &*self.driver;
        driver.downcast_ref()
    }
}

/// Frames.
impl Interface {
    /// Frames that came, [unfinished](crate::Frame::rest) ones among them: counts them, and gives them to who
    /// receives. `frames` is empty afterwards. Who looks at what passes sees it as it is on a wire. No lock
    /// is held, and the turn is of a source that was [added](Self::add_source) here.
    pub fn receive(&self, turn: &Turn<'_>, frames: &mut Frames) {
        let bytes = self.admit(&self.counters.received, frames);
        if frames.is_empty() {
            return;
        }
        let count = frames.len() as u64;
        match self.hooks().filter(|hooks| hooks.is_in(turn)) {
            Some(hooks) => {
                if !hooks.taps.is_empty() {
                    let lost = finish_all(frames);
                    self.counters.received.dropped(DropReason::Malformed, lost);
                }
                for tap in &hooks.taps {
                    tap.saw(self, Way::In, frames);
                }
                if let Some(receiver) = &hooks.receiver {
                    self.counters.received.passed(count, bytes);
                    receiver.receive(turn, self, frames);
                } else {
                    self.counters.received.dropped(DropReason::NoReceiver, count);
                }
            }
            None => self.counters.received.dropped(DropReason::NoReceiver, count),
        }
        frames.clear();
    }

    /// Sends frames: `frames` is empty afterwards. What there is no room for is lost; who can wait asks
    /// for [`room`](Self::room) first. [Unfinished](crate::Frame::rest) frames are finished where the
    /// interface does not [take them](Self::offloads); there is only room for so many before they are cut.
    /// Neither blocks nor calls back who receives, and may be called with a lock held.
    pub fn transmit(&self, frames: &mut Frames) {
        let sent = &self.counters.sent;
        if frames.iter().any(|frame| frame.rest().is_some()) && !self.offloads() {
            sent.dropped(DropReason::Malformed, finish_all(frames));
        }
        let bytes = self.admit(sent, frames);
        if frames.is_empty() {
            return;
        }
        let tapped = self.flags().has(Flags::TAPPED);
        if tapped || !self.driver.gathers() {
            frames.iter_mut().for_each(Frame::gather);
        }
        if tapped && let Some(hooks) = self.hooks() {
            for tap in &hooks.taps {
                tap.saw(self, Way::Out, frames);
            }
        }
        let count = frames.len() as u64;
        let outcome = self.driver.transmit(self, frames);
        let (left, left_bytes) = (frames.len() as u64, bytes_of(frames));
        sent.passed(count - left, bytes - left_bytes);
        sent.dropped(outcome.err().unwrap_or(DropReason::QueueFull), left);
        frames.clear();
    }

    /// How many frames it would take now. Who is told 0 and receives from it
    /// [is told](Receiver::has_room) when there is room.
    pub fn room(&self) -> usize {
        self.driver.room(self)
    }

    /// Whether it takes [unfinished](crate::Frame::rest) frames as they are: its driver does, and nobody looks
    /// at what passes. It may be otherwise a moment later, and then it finishes them.
    pub fn offloads(&self) -> bool {
        !self.flags().has(Flags::TAPPED) && self.driver.offloads(self)
    }

    /// For the driver: there is room again. No lock is held.
    pub fn has_room(&self) {
        if let Some(hooks) = self.hooks()
            && let Some(receiver) = &hooks.receiver
        {
            receiver.has_room(self);
        }
    }

    /// Takes out what may not pass, counts that, and returns the bytes of the rest. A VLAN tag makes a frame
    /// longer than the MTU says.
    #[inline]
    fn admit(&self, direction: &Direction, frames: &mut Frames) -> u64 {
        if !self.flags().has(Flags::UP) {
            direction.dropped(DropReason::NotUp, frames.len() as u64);
            frames.clear();
            return 0;
        }
        let longest = HEADER + self.mtu();
        let fits =
            |bytes: Option<usize>| bytes.is_some_and(|bytes| (HEADER..=longest).contains(&bytes));
        if !frames.iter().all(|frame| fits(frame.longest())) {
            frames.retain(|frame| {
                let reason = match frame.longest() {
                    None => DropReason::Malformed,
                    Some(short) if short < HEADER => DropReason::TooShort,
                    Some(long) if long > ether::longest_like(frame, self.mtu()) => {
                        DropReason::TooLong
                    }
                    Some(_) => return true,
                };
                direction.dropped(reason, 1);
                false
            });
        }
        bytes_of(frames)
    }

    fn hooks(&self) -> Option<Arc<Hooks>> {
        let section = grace::section();
        self.hooks.get(&section).cloned()
    }
}

/// For those who receive and look.
impl Interface {
    /// From now on `receiver` gets the frames that come, or nobody. Returns who did before: see there
    /// [how long](Receiver#how-long) it is called. The listeners hear of it.
    pub fn set_receiver<H: HeldLevels>(
        &self,
        receiver: Option<Arc<dyn Receiver>>,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) -> Option<Arc<dyn Receiver>> {
        let before = self.set_hooks(|hooks| std::mem::replace(&mut hooks.receiver, receiver));
        self.tell(LinkChange::ReceiverChanged, held);
        before
    }

    /// From now on `tap` sees all frames that pass.
    pub fn add_tap(&self, tap: Arc<dyn Tap>) {
        self.set_hooks(|hooks| hooks.taps.push(tap));
    }

    /// From now on `tap` sees no more; but see [`Tap`].
    pub fn remove_tap(&self, tap: &Arc<dyn Tap>) {
        self.set_hooks(|hooks| hooks.taps.retain(|other| !Arc::ptr_eq(other, tap)));
    }

    /// Frees what was replaced. Nothing is held.
    pub(crate) fn tidy(&self) {
        self.home().shared.attic.tidy();
    }

    fn set_hooks<R>(&self, change: impl FnOnce(&mut Hooks) -> R) -> R {
        let mut settings = self.settings.lock();
        let mut hooks = Hooks::clone(&settings.hooks);
        let result = change(&mut hooks);
        let used = hooks.receiver.is_some() || !hooks.taps.is_empty();
        // Under the lock: of two who add and take off, the flag follows the last.
        self.set_flags(Flags::TAPPED, !hooks.taps.is_empty());
        settings.hooks = Arc::new(hooks);
        let old = self.hooks.replace(used.then(|| Box::new(settings.hooks.clone())));
        settings.home.shared.attic.keep(old.map(Old::Hooks));
        result
    }
}

/// For drivers.
impl Interface {
    /// Gives a source to the pool, in the namespace that the interface is in.
    ///
    /// # Errors
    ///
    /// The pool does not take it: the namespace goes, or is just being made.
    pub fn add_source(&self, source: Arc<dyn Source>) -> Result<Handle, AddError> {
        let ns = self.namespace();
        let not_live = || AddError::NotLive(ns.id().clone());
        let inside = ns.enter().ok_or_else(not_live)?;
        inside.get::<PoolSubsystem>().ok_or_else(not_live)?.add(source)
    }

    /// Notes whether frames can go by the link. The listeners hear of it as soon as somebody can have
    /// the configuration lock, which may be this thread, here and now: hold no lock of the driver's.
    pub fn set_link<H: HeldLevels>(&self, link: LinkState, held: &mut Locked<'_, H>) {
        if self.note_link(link) {
            self.tell_of_link(held);
        }
    }

    /// The first half of [`set_link`](Self::set_link). Whether it was otherwise before.
    pub(crate) fn note_link(&self, link: LinkState) -> bool {
        self.set_flags(Flags::RUNNING, link == LinkState::Up)
    }

    /// The second half. However often the link changes, one request waits for the lock. Who moves the
    /// interface tells of what has changed before.
    pub(crate) fn tell_of_link<H: HeldLevels>(&self, held: &mut Locked<'_, H>) {
        let ns = self.namespace();
        let number = ns.id().id;
        if self.link_waits.swap(number, Ordering::AcqRel) == number {
            // Whoever tells looks at the link after it has taken this back.
            return;
        }
        let (own, refused) = (self.downgrade(), self.downgrade());
        let tell = move |in_ns: &mut holm_netns::InNs<'_>| {
            let Some(interface) = own.upgrade() else { return };
            interface.link_waits_no_more(number);
            if interface.namespace() == *in_ns.ns {
                interface.tell_link(&mut in_ns.held);
            }
        };
        ns.request_then(held, tell, move |told| {
            if told.is_err()
                && let Some(interface) = refused.upgrade()
            {
                interface.link_waits_no_more(number);
            }
        });
    }

    fn link_waits_no_more(&self, ns: u64) {
        // If it is another by now, that is another request's.
        let _ = self.link_waits.compare_exchange(ns, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Tells of the link as it is now, unless that is what was told last.
    pub(crate) fn tell_link<H: HeldLevels>(&self, held: &mut Locked<'_, Holding<NsRtnl, H>>) {
        let link = self.link();
        let before = std::mem::replace(&mut self.settings.lock().link_told, link);
        if before != link && !self.flags().has(Flags::DYING) {
            self.tell(LinkChange::Link(link), held);
        }
    }

    /// Tells the listeners that something happened to it.
    pub fn tell<H: HeldLevels>(
        &self,
        change: LinkChange,
        held: &mut Locked<'_, Holding<NsRtnl, H>>,
    ) {
        let home = self.settings.lock().home.clone();
        home.member.notify(&self.event(change), held);
    }

    pub(crate) fn event(&self, change: LinkChange) -> LinkEvent {
        LinkEvent { interface: self.downgrade(), index: self.index, name: self.name(), change }
    }

    /// Whether it was not so before.
    fn set_flags(&self, flags: Flags, on: bool) -> bool {
        if self.flags().has(flags) == on {
            // Nothing is written that others read all the time.
            return false;
        }
        let before = if on {
            self.flags.fetch_or(flags.0, Ordering::AcqRel)
        } else {
            self.flags.fetch_and(!flags.0, Ordering::AcqRel)
        };
        Flags(before).has(flags) != on
    }
}

/// Requests.
impl Interface {
    /// Answers a question. Takes no lock level.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply, RequestError> {
        if let Some(answer) = self.driver.ask(self, request) {
            return answer;
        }
        Ok(match request {
            Request::Flags => Reply::Flags(self.flags()),
            Request::Mtu => Reply::Mtu(self.mtu()),
            Request::Mac => Reply::Mac(self.mac()),
            Request::Media => Reply::Media(self.media()),
            Request::Counters => Reply::Counters(Box::new(self.counters.values())),
            Request::Addresses => Reply::Addresses(self.addresses()),
            _ => return Err(self.does_not_support()),
        })
    }

    /// Makes a change, as [`NsInterfaces::request`] does, by somebody who has the configuration lock of
    /// the namespace that the interface is in: a lagg changes its ports so.
    ///
    /// # Errors
    ///
    /// [`RequestError`], and nothing has changed.
    pub fn change(&self, request: &Request, held: &mut NsHeld<'_>) -> Result<Reply, RequestError> {
        let name = self.name();
        request.check(name)?;
        let home = self.settings.lock().home.clone();
        match request {
            Request::AddAddress(cidr) => {
                let same = |other: &Cidr| other.address() == cidr.address();
                if let Some(other) = self.addresses().into_iter().find(same) {
                    return Err(RequestError::Exists { name, what: format!("address {other}") });
                }
            }
            Request::RemoveAddress(cidr) if !self.addresses().contains(cidr) => {
                return Err(RequestError::NotFound { name, what: format!("address {cidr}") });
            }
            Request::Rename(to) => home.check_free(*to, held)?,
            _ => {}
        }
        self.driver.change(self, request, held)?;
        let change = match request {
            Request::SetUp(up) => {
                let changed = self.set_flags(Flags::UP, *up);
                changed.then_some(if *up { LinkChange::Up } else { LinkChange::Down })
            }
            Request::SetMtu(mtu) => {
                let before = self.mtu.swap(*mtu, Ordering::Relaxed);
                (before != *mtu).then_some(LinkChange::Mtu(*mtu))
            }
            Request::SetMac(mac) => {
                let before = self.mac.swap(mac_to(*mac), Ordering::Relaxed);
                (before != mac_to(*mac)).then_some(LinkChange::Mac(*mac))
            }
            Request::SetMedia(media) => {
                let before = std::mem::replace(&mut self.settings.lock().media, *media);
                (before != *media).then_some(LinkChange::Media(*media))
            }
            Request::AddAddress(cidr) => {
                self.settings.lock().addresses.push(*cidr);
                Some(LinkChange::AddressAdded(*cidr))
            }
            Request::RemoveAddress(cidr) => {
                let mut settings = self.settings.lock();
                settings.addresses.retain(|other| other != cidr);
                settings.addresses.shrink_to_fit();
                Some(LinkChange::AddressRemoved(*cidr))
            }
            Request::Rename(to) => {
                let from = std::mem::replace(&mut self.settings.lock().name, *to);
                if from != *to {
                    home.renamed(self, from, held);
                }
                (from != *to).then_some(LinkChange::Renamed { from })
            }
            _ => None,
        };
        if let Some(change) = change {
            self.tell(change, held);
        }
        Ok(Reply::Done)
    }

    /// The answer to a request that its kind does not know.
    pub fn does_not_support(&self) -> RequestError {
        RequestError::NotSupported { name: self.name(), kind: self.kind }
    }
}

/// Birth and death.
impl Interface {
    pub(crate) fn new(traits: Traits, home: Arc<Tenant>, driver: Box<dyn Driver>) -> Self {
        let hooks = Arc::new(Hooks { ns: home.ns.id().id, ..Hooks::default() });
        let link = driver.link();
        let flags = if link == LinkState::Up { Flags::RUNNING } else { Flags::default() };
        Self {
            index: traits.index,
            kind: traits.kind,
            unit: AtomicU32::new(traits.unit),
            flags: AtomicU32::new(flags.0),
            mtu: AtomicUsize::new(traits.mtu),
            mac: AtomicU64::new(mac_to(traits.mac)),
            counters: Counters::default(),
            hooks: Published::new(None),
            settings: Mutex::new(Settings {
                name: traits.name,
                home,
                media: Media::default(),
                addresses: Vec::new(),
                hooks,
                link_told: link,
            }),
            link_waits: AtomicU64::new(0),
            own: OnceLock::new(),
            driver,
        }
    }

    /// Before anybody can refer to it.
    pub(crate) fn set_own(&self, own: WeakRef<Interface>) {
        // It is set once.
        let _ = self.own.set(own);
    }

    pub(crate) fn dyn_driver(&self) -> &dyn Driver {
        &*self.driver
    }

    pub(crate) fn home(&self) -> Arc<Tenant> {
        self.settings.lock().home.clone()
    }

    /// It is in another namespace; nobody receives from it or looks at it there, and it has no addresses.
    pub(crate) fn set_home(&self, home: Arc<Tenant>, name: IfName, unit: u32) {
        self.unit.store(unit, Ordering::Relaxed);
        let number = home.ns.id().id;
        self.set_hooks(|hooks| *hooks = Hooks { ns: number, ..Hooks::default() });
        let mut settings = self.settings.lock();
        settings.addresses = Vec::new();
        settings.name = name;
        let left = std::mem::replace(&mut settings.home, home);
        drop(settings);
        drop(left);
    }

    pub(crate) fn set_dying(&self) {
        self.set_flags(Flags::DYING, true);
    }

    /// The end of it, and of its driver.
    pub(crate) fn destroy(self) {
        let Self { driver, .. } = self;
        driver.destroy();
    }
}

impl Hooks {
    /// Whether the turn is in the namespace that these were set in. It is not if the interface was moved
    /// while a source of where it was still runs.
    fn is_in(&self, turn: &Turn<'_>) -> bool {
        let here = turn.contents().get::<IfnetSubsystem>();
        here.is_some_and(|here| here.0.ns.id().id == self.ns)
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({} {}, {:?})", self.index, self.name(), self.flags())
    }
}

fn bytes_of(frames: &Frames) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

fn mac_to(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn mac_from(word: u64) -> MacAddress {
    let [_, _, a, b, c, d, e, f] = word.to_be_bytes();
    MacAddress([a, b, c, d, e, f])
}
