//! A virtual cable: what is sent at one end comes in at the other.

use crate::counters::DropReason;
use crate::driver::{Driver, DriverError};
use crate::flags::LinkState;
use crate::frame::Frames;
use crate::inbox::Inbox;
use crate::interface::Interface;
use crate::life::{CreateError, NewInterface};
use crate::request::{Request, RequestError};
use crate::tenant::NsInterfaces;
use holm_lifetime::levels::Locked;
use holm_lifetime::sync::{Arc, Deadline, Mutex};
use holm_lifetime::{Ref, WeakRef};
use holm_netns::notifier::NsHeld;

/// The kind of both ends.
pub const KIND: &str = "pair";

impl NsInterfaces {
    /// Creates a cable, with one end here and the other in `other`, which may be the same namespace. The
    /// caller is inside both. Who destroys one end destroys the other.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; then there is neither end.
    ///
    /// # Panics
    ///
    /// In a debug build, if the thread holds a lock level.
    pub fn create_pair(
        &self,
        new: NewInterface,
        other: &NsInterfaces,
        new_other: NewInterface,
    ) -> Result<(Ref<Interface>, Ref<Interface>), CreateError> {
        new.check(KIND)?;
        new_other.check(KIND)?;
        let [near, far] = PairEnd::cable();
        let mut held = Locked::nothing();
        let mut rtnl = self.0.ns.rtnl(&mut held);
        let mut both = self.0.ns.lock_two(&other.0.ns, rtnl.token());
        let first = self.0.bear(KIND, new, Box::new(near), both.token());
        let second = match &first {
            Ok(_) => Some(other.0.bear(KIND, new_other, Box::new(far), both.token())),
            Err(_) => None,
        };
        let undone = match (&first, &second) {
            (Ok(first), Some(Err(_))) => self.0.unlink_one(first.index(), both.token()),
            _ => None,
        };
        drop(both);
        drop(rtnl);
        self.0.shared.attic.tidy();
        match (first, second) {
            (Ok(first), Some(Ok(second))) => Ok((first, second)),
            (Ok(first), Some(Err(stillborn))) => {
                drop(first);
                // Without a deadline it always ends.
                let _ = undone.map(|end| end.wait(Deadline::Never));
                Err(stillborn.bury())
            }
            (Ok(_), None) => unreachable!("the second is made when the first is there"),
            (Err(stillborn), _) => Err(stillborn.bury()),
        }
    }
}

/// One end of a cable.
struct PairEnd {
    side: usize,
    /// What the other end has sent.
    near: Arc<Inbox>,
    /// What this end has sent.
    far: Arc<Inbox>,
    /// Which ends are up. Both must be for frames to go by.
    up: Arc<Mutex<[bool; 2]>>,
}

impl PairEnd {
    /// Both ends.
    fn cable() -> [Self; 2] {
        let (one, two) = (Arc::<Inbox>::default(), Arc::<Inbox>::default());
        let up = Arc::new(Mutex::new([false; 2]));
        let first = Self { side: 0, near: one.clone(), far: two.clone(), up: up.clone() };
        [first, Self { side: 1, near: two, far: one, up }]
    }

    /// Notes that this end goes up or down, which is the link of both.
    fn set_up(&self, interface: &Interface, is_up: bool, held: &mut NsHeld<'_>) {
        let other = self.partner().and_then(|other| other.upgrade());
        {
            let mut up = self.up.lock();
            up.iter_mut().skip(self.side).take(1).for_each(|up| *up = is_up);
            let link = if *up == [true; 2] { LinkState::Up } else { LinkState::Down };
            interface.note_link(link);
            if let Some(other) = &other {
                other.note_link(link);
            }
        }
        interface.tell_of_link(held);
        if let Some(other) = &other {
            other.tell_of_link(held);
        }
    }
}

impl Driver for PairEnd {
    fn attach(&self, interface: &WeakRef<Interface>) -> Result<(), DriverError> {
        self.near.set_receiver(interface);
        self.far.set_sender(interface);
        Ok(())
    }

    fn transmit(&self, _: &Interface, frames: &mut Frames) -> Result<(), DropReason> {
        self.far.push(frames)
    }

    fn room(&self, _: &Interface) -> usize {
        self.far.room()
    }

    fn change(
        &self,
        interface: &Interface,
        request: &Request,
        held: &mut NsHeld<'_>,
    ) -> Result<(), RequestError> {
        match request {
            Request::SetUp(up) => self.set_up(interface, *up, held),
            Request::Lagg(_) => return Err(interface.does_not_support()),
            _ => {}
        }
        Ok(())
    }

    fn partner(&self) -> Option<WeakRef<Interface>> {
        self.far.receiver().cloned()
    }

    fn is_movable(&self) -> bool {
        true
    }

    fn moved(&self, _: &Interface) {
        self.near.moved();
    }

    fn destroy(self: Box<Self>) {
        self.near.close();
    }
}
