//! One connection as a source of the pool.

use super::accepted::Member;
use super::laden::Load;
use super::limits::Place;
use super::replies::{Replies, Sent};
use super::{Peer, ServerLimits, Service, Transport};
use crate::{Broken, Buffers, Connection, Step};
use holm_lifetime::sync::atomic::Ordering;
use holm_lifetime::sync::{Arc, Mutex};
use holm_pool::{Handle, Interest, Next, Source, Turn};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// A stream, what has come and not gone of it, and the service that it belongs to.
pub(crate) struct Served<T: Transport, S> {
    transport: T,
    service: Arc<S>,
    limits: ServerLimits,
    place: Place,
    member: Member,
    state: Mutex<State>,
}

struct State {
    connection: Connection,
    replies: Replies,
    /// What it keeps from one turn to the next is much.
    load: Option<Load>,
    /// For how many bytes the transport was told that it waits, if not for any.
    wanted: usize,
    /// When the last call had arrived whole, or the first turn was; none before that.
    served: Option<Instant>,
    /// When it is run next in any case.
    wakes: Option<Instant>,
}

impl<T: Transport, S: Service> Served<T, S> {
    pub(crate) fn new(
        transport: T,
        service: Arc<S>,
        limits: ServerLimits,
        place: Place,
        member: Member,
    ) -> Self {
        let connection = Connection::new(limits.connection);
        let state = Mutex::new(State {
            connection,
            replies: Replies::default(),
            load: None,
            wanted: 0,
            served: None,
            wakes: None,
        });
        Self { transport, service, limits, place, member, state }
    }

    /// Has its transport wake it, if nothing else does.
    pub(super) fn be_woken(&self, handle: &Handle) {
        if self.transport.fd().is_none() {
            let handle = handle.clone();
            self.transport.wake_by(std::sync::Arc::new(move || handle.wake()));
        }
    }

    /// Serves and receives by turns, until nothing is ready or the budget is used up.
    fn serve(&self, turn: &Turn<'_>, state: &mut State, done: &mut Done) -> Next {
        let State { connection, replies, load, wanted, .. } = state;
        // Replies that the peer had no room for.
        match replies.send(&self.transport, connection, &mut done.sent) {
            Sent::All => {}
            Sent::Full => return Next::Idle,
            Sent::Ended => return Next::Done,
        }
        let mut buffers = turn.scratch::<Buffers>();
        // Who keeps much goes on, to come to an end of it; then it is one of those who wait.
        done.short = self.memory_is_used_up();
        let next = if done.short && connection.incoming().buffered() <= LITTLE {
            done.waits = true;
            Next::Idle
        } else {
            buffers.lend(connection);
            let next = if connection.is_waiting() {
                self.serve_waiting(turn, connection, replies, done)
            } else {
                None
            };
            next.unwrap_or_else(|| self.serve_and_receive(turn, connection, replies, done))
        };
        if matches!(next, Next::Idle) {
            self.wait(connection, wanted);
        }
        buffers.take_back(connection);
        let address = self.transport.peer().ip();
        *load = match load.take() {
            _ if connection.memory() + replies.memory() <= LITTLE => None,
            None => Some(Load::take(self.place.counted(), address)),
            load => load,
        };
        next
    }

    /// Has the transport wait until a long call has arrived whole, or as much of it as it can hold: its
    /// parts would be taken by as many turns.
    fn wait(&self, connection: &mut Connection, wanted: &mut usize) {
        let missing = Some(connection.incoming().missing()).filter(|missing| *missing >= LONG);
        let missing = missing.unwrap_or(0);
        if missing != *wanted {
            self.transport.want(missing);
            *wanted = missing;
        }
    }

    fn memory_is_used_up(&self) -> bool {
        let laden = &self.place.counted().laden;
        laden.is_full(self.transport.peer().ip(), self.limits.laden())
    }

    /// Serves the calls that wait, and says how to go on if not as usual.
    fn serve_waiting(
        &self,
        turn: &Turn<'_>,
        connection: &mut Connection,
        replies: &mut Replies,
        done: &mut Done,
    ) -> Option<Next> {
        let step = self.service.with_context(turn, self.peer(), |context| {
            connection.serve_waiting(self.service.programs(), context)
        });
        turn.charge(1);
        let Some(Ok(step)) = step else { return Some(Next::Done) };
        match (replies.send(&self.transport, connection, &mut done.sent), step) {
            (Sent::Ended, _) => Some(Next::Done),
            (Sent::Full, _) => Some(Next::Idle),
            (Sent::All, Step::Receive | Step::Again | Step::Send) => None,
        }
    }

    fn peer(&self) -> Peer {
        let (address, local) = (self.transport.peer(), self.transport.local());
        Peer { address, local, datagram: false }
    }

    fn serve_and_receive(
        &self,
        turn: &Turn<'_>,
        connection: &mut Connection,
        replies: &mut Replies,
        done: &mut Done,
    ) -> Next {
        let mut all_received = false;
        loop {
            if connection.is_ready() {
                if turn.left() == 0 {
                    return Next::More;
                }
                let Some(step) = self.serve_received(turn, connection, done) else {
                    // What was answered may not be sent.
                    return Next::Done;
                };
                match (replies.send(&self.transport, connection, &mut done.sent), step) {
                    (Sent::Ended, _) | (_, Err(Broken::Unanswered)) => return Next::Done,
                    (_, Err(_)) => {
                        self.place.counted().broken.fetch_add(1, Ordering::Relaxed);
                        return Next::Done;
                    }
                    // Nothing more is served or received until the peer has taken this.
                    (Sent::Full, Ok(_)) => return Next::Idle,
                    (Sent::All, Ok(Step::Receive)) => {}
                    (Sent::All, Ok(Step::Again | Step::Send)) => continue,
                }
            }
            if all_received {
                return Next::Idle;
            }
            // Of what makes a call whole.
            let missing = if done.short { connection.incoming().missing() } else { usize::MAX };
            if done.short && connection.incoming().is_idle() {
                done.waits = true;
                return Next::Idle;
            }
            let space = connection.space();
            let room = space.len().min(missing);
            let space = space.get_mut(..room).unwrap_or_default();
            match self.transport.receive(space) {
                Ok(0) => return Next::Done,
                Ok(count) => {
                    connection.received(count);
                    done.received += count;
                    // What comes short is all there is, and what comes after it is an event; but for an end
                    // that came with it, of which only the events of a descriptor tell.
                    let tells_of_end = self.transport.fd().is_some() && !turn.hung_up();
                    all_received = count < room && tells_of_end;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Idle,
                Err(_) => return Next::Done,
            }
        }
    }

    fn serve_received(
        &self,
        turn: &Turn<'_>,
        connection: &mut Connection,
        done: &mut Done,
    ) -> Option<Result<Step, Broken>> {
        let before = connection.served();
        let step = self.service.with_context(turn, self.peer(), |context| {
            connection.serve(self.service.programs(), context, turn.left() as usize)
        });
        let calls = connection.served() - before;
        done.calls += calls;
        // What came with them is charged as well, and what is about to be sent: data takes longer than
        // calls do.
        let bytes = done.received - done.charged + connection.unsent().len();
        done.charged = done.received;
        let requests = calls.saturating_add((bytes / BYTES_PER_REQUEST) as u64);
        turn.charge(u32::try_from(requests).unwrap_or(u32::MAX));
        step
    }

    /// Whether it goes on, and has it run again when that is to be asked.
    fn go_on(&self, turn: &Turn<'_>, state: &mut State, done: &Done) -> Next {
        let now = Instant::now();
        let served = match state.served {
            Some(when) if done.calls == 0 => when,
            _ => *state.served.insert(now),
        };
        let without = now.saturating_duration_since(served);
        let (laden, waiting) = (state.load.is_some(), state.connection.is_waiting());
        let stalled = laden && without >= self.limits.stalled && self.memory_is_used_up();
        if stalled || without >= self.limits.idle {
            self.place.counted().idle.fetch_add(1, Ordering::Relaxed);
            return Next::Done;
        }
        let wakes = [
            served.checked_add(self.limits.idle),
            laden.then(|| now.checked_add(self.limits.stalled)).flatten(),
            done.waits.then(|| now.checked_add(SHORTAGE)).flatten(),
            waiting.then(|| now.checked_add(ELSEWHERE)).flatten(),
        ];
        let wakes = wakes.into_iter().flatten().min();
        // One that is due before is not put off: it is asked then.
        if state.wakes.is_none_or(|before| before <= now || wakes.is_some_and(|at| at < before)) {
            state.wakes = wakes;
            turn.wake_at(wakes);
        }
        Next::Idle
    }
}

impl<T: Transport, S: Service> Source for Served<T, S> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.transport.fd()
    }

    fn interest(&self) -> Interest {
        Interest::ReadWrite
    }

    fn run(&self, turn: &Turn<'_>) -> Next {
        let mut state = self.state.lock();
        let mut done = Done::default();
        let next = self.serve(turn, &mut state, &mut done);
        self.place.counted().turn(done.calls, done.received, done.sent);
        match next {
            Next::Idle => self.go_on(turn, &mut state, &done),
            Next::More => {
                if done.calls > 0 {
                    // It is asked when there is nothing more.
                    state.served = None;
                }
                next
            }
            Next::Done => next,
        }
    }

    fn closing(&self) {
        self.transport.end();
    }
}

impl<T: Transport, S> Drop for Served<T, S> {
    fn drop(&mut self) {
        if self.member.is_over() {
            self.transport.abort();
        }
    }
}

/// What a turn has done.
#[derive(Default)]
struct Done {
    calls: u64,
    received: usize,
    /// Of which this much was charged.
    charged: usize,
    sent: usize,
    /// Memory is used up: no more is received than makes a call whole.
    short: bool,
    /// It waits for memory.
    waits: bool,
}

/// So many bytes are little enough to be kept by every connection.
const LITTLE: usize = 16 << 10;
/// So many bytes are worth being waited for.
const LONG: usize = 64 << 10;
/// After this long it is tried again where memory was used up.
const SHORTAGE: Duration = Duration::from_millis(10);
/// After this long it is tried again where a call is being served elsewhere.
const ELSEWHERE: Duration = Duration::from_millis(50);
/// So many bytes count as another request.
const BYTES_PER_REQUEST: usize = 32 << 10;
