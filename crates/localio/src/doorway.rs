//! Finds the server's door, if we are on its machine, and looks for it again when it has closed.

use crate::connection::random;
use crate::door::{Door, Line, NotLocal, Wire};
use crate::local::{Doors, LocalDoor};
use crate::nfs3::Nfs3;
use crate::options::{Local, User};
use holm_lifetime::sync::Mutex;
use holm_nfs_proto::localio::{self, door};
use holm_nfs_proto::rpcbind;
use holm_sunrpc::client::Procedure;
use holm_xdr::Encode;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The way to a door.
pub struct Doorway {
    local: Local,
    /// As whom RPC is done: the door knows us as whom we are.
    user: User,
    state: Mutex<State>,
}

struct State {
    door: Option<Arc<Door>>,
    /// Somebody looks for it.
    looking: bool,
    next_try: Instant,
    pause: Duration,
}

impl Doorway {
    pub fn new(local: Local, user: User) -> Self {
        let (next_try, pause) = (Instant::now(), FIRST_PAUSE);
        let state = State { door: None, looking: false, next_try, pause };
        Self { local, user, state: Mutex::new(state) }
    }

    /// The door, if it is open. Looks for it, if it may be time for that and nobody does.
    pub fn door(&self, nfs: &Nfs3) -> Option<Arc<dyn LocalDoor>> {
        match &self.local {
            Local::Never => return None,
            Local::Given(door) => return Some(door.clone()),
            Local::Automatic => {}
        }
        let mut state = self.state.lock();
        if let Some(door) = &state.door {
            if door.is_open() {
                return Some(door.clone());
            }
            state.door = None;
            state.next_try = Instant::now() + FIRST_PAUSE;
        }
        if state.looking || state.next_try > Instant::now() {
            return None;
        }
        state.looking = true;
        drop(state);
        let found = self.look(nfs);
        let mut state = self.state.lock();
        state.looking = false;
        match found {
            Ok(door) => {
                state.pause = FIRST_PAUSE;
                state.door = Some(door.clone());
                Some(door)
            }
            Err(_) => {
                state.next_try = Instant::now() + state.pause;
                state.pause = (state.pause * 2).min(LAST_PAUSE);
                None
            }
        }
    }

    fn look(&self, nfs: &Nfs3) -> Result<Arc<Door>, NotLocal> {
        if !self.user.is(&User::of_process()) {
            return Err(NotLocal("we are not as whom we ask the server"));
        }
        let path = address(nfs)?;
        let line = Line::connect(&path)?;
        line.expect(&door::Message::Welcome(door::Welcome::THIS))?;
        let uuid: localio::Uuid = random();
        line.send(&door::Request::Register(uuid))?;
        line.expect(&door::Message::Registered)?;
        let number = localio::Procedure::UuidIsLocal.number();
        let (program, version) = (localio::PROGRAM, localio::VERSION);
        call(nfs, Procedure { program, version, number }, &uuid, |_| Ok(()))?;
        // It was said before the answer, or will never be.
        line.expect_now(&door::Message::Proven)?;
        line.wait_for_ever()?;
        Door::open(line)
    }
}

impl Drop for Doorway {
    fn drop(&mut self) {
        if let Some(door) = self.state.get_mut().door.take() {
            door.leave();
        }
    }
}

impl fmt::Debug for Doorway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorway").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Where the server's own port mapper says that the door is.
fn address(nfs: &Nfs3) -> Result<Vec<u8>, NotLocal> {
    let number = rpcbind::Procedure::GetAddr.number();
    let get_address = Procedure { program: rpcbind::PROGRAM, version: rpcbind::VERSION_4, number };
    let asked = rpcbind::Binding {
        program: localio::PROGRAM,
        version: localio::VERSION,
        netid: rpcbind::Text::new(door::NETID).unwrap_or_default(),
        address: rpcbind::Text::EMPTY,
        owner: rpcbind::Text::EMPTY,
    };
    let path =
        call(nfs, get_address, &asked, |input| Ok(input.get::<rpcbind::Text<'_>>()?.to_vec()))?;
    if path.first() == Some(&b'/') && !path.contains(&0) {
        Ok(path)
    } else {
        Err(NotLocal("the server has no door for us"))
    }
}

/// On the connection for NFS.
fn call<T>(
    nfs: &Nfs3,
    procedure: Procedure,
    args: &impl Encode,
    take: impl Fn(&mut holm_xdr::Decoder<'_>) -> Result<T, holm_xdr::Error>,
) -> Result<T, NotLocal> {
    let answer = nfs.connections().lend().call(procedure, args, &take);
    answer.map_err(|_| NotLocal("the server does not speak of it"))
}

/// With the way to it.
pub struct Through<'m> {
    pub doorway: &'m Doorway,
    pub nfs: &'m Nfs3,
}

impl Doors for Through<'_> {
    fn door(&self) -> Option<Arc<dyn LocalDoor>> {
        self.doorway.door(self.nfs)
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);
