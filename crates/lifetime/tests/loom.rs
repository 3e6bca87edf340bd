//! Every interleaving, and every memory ordering that the language allows, of the protocols
//! between threads. Run with `cargo xtask test loom`.
//!
//! Each protocol is run twice: as this crate has it, which must pass; and as [`Sketch`] has it, a
//! few lines that do the same with one deliberate mistake, which the same test must find. The
//! sketch without a mistake must pass as well, so that it is the mistake that is found.
#![cfg(loom)]

use holm_lifetime::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering, fence};
use holm_lifetime::sync::{Condvar, Mutex};
use holm_lifetime::{Deadline, Gate, Owner, Published, Reach, WeakRef, grace};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::io::Write;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed as R};

/// Something that threads use until it ends.
trait Protocol: Send + Sync + 'static {
    /// How often a thread may lose its CPU where it need not.
    const PREEMPTIONS: Option<usize> = None;

    /// What a thread holds while it uses the value.
    type Use: Send + 'static;

    /// Begins to use the value, unless it has ended.
    fn begin(&self) -> Option<Self::Use>;
    /// Looks at the value and ends the use.
    fn finish(&self, using: Self::Use);
    /// Lets nobody begin any more, waits for the last use, and destroys the value.
    fn end(&self);
}

/// `begin` against `end`: whoever begins sees a live value.
fn begin_against_end<P: Protocol>(make: impl Fn() -> P + Send + Sync + 'static) -> usize {
    explore(P::PREEMPTIONS, move || {
        let protocol = Arc::new(make());
        let user = thread::spawn({
            let protocol = protocol.clone();
            move || protocol.begin().map(|using| protocol.finish(using)).is_some()
        });
        protocol.end();
        user.join().unwrap();
        assert!(protocol.begin().is_none(), "ended, and yet somebody may begin");
    })
}

/// The last `finish` against the wait in `end`: the value is not destroyed too soon, and the wait
/// is over in the end.
fn finish_against_end<P: Protocol>(make: impl Fn() -> P + Send + Sync + 'static) -> usize {
    explore(P::PREEMPTIONS, move || {
        let protocol = Arc::new(make());
        let using = protocol.begin().expect("nobody has ended it");
        let user = thread::spawn({
            let protocol = protocol.clone();
            move || protocol.finish(using)
        });
        protocol.end();
        user.join().unwrap();
    })
}

/// Two last users: exactly one of them is the last.
fn two_finish_against_end<P: Protocol>(make: impl Fn() -> P + Send + Sync + 'static) -> usize {
    explore(Some(3), move || {
        let protocol = Arc::new(make());
        let users: Vec<_> = (0..2)
            .map(|_| {
                let protocol = protocol.clone();
                let using = protocol.begin().expect("nobody has ended it");
                thread::spawn(move || protocol.finish(using))
            })
            .collect();
        protocol.end();
        for user in users {
            user.join().unwrap();
        }
    })
}

#[test]
fn ref_upgrade_against_retire() {
    passes("upgrade against retire", || begin_against_end(OwnerProtocol::new));
    passes("upgrade against retire, sketch", || begin_against_end(|| Sketch::new(Mistake::None)));
    found("ref_upgrade_against_retire", "upgrade: check, then increment", || {
        begin_against_end(|| Sketch::new(Mistake::CheckThenIncrement))
    });
    found("ref_upgrade_against_retire", "upgrade: no fence between count and check", || {
        begin_against_end(|| Sketch::new(Mistake::NoFence))
    });
}

#[test]
fn last_ref_against_wait() {
    passes("last Ref against wait", || finish_against_end(OwnerProtocol::new));
    passes("two last Refs against wait", || two_finish_against_end(OwnerProtocol::new));
    passes("last Ref against wait, sketch", || finish_against_end(|| Sketch::new(Mistake::None)));
    found("last_ref_against_wait", "last Ref: count given up without release", || {
        finish_against_end(|| Sketch::new(Mistake::RelaxedLeave))
    });
    found("last_ref_against_wait", "last Ref: signal before the decrement", || {
        finish_against_end(|| Sketch::new(Mistake::SignalBeforeLeave))
    });
    found("last_ref_against_wait", "last Ref: signal without the lock", || {
        finish_against_end(|| Sketch::new(Mistake::SignalWithoutLock))
    });
}

#[test]
fn gate_enter_against_close() {
    passes("enter against close", || begin_against_end(GateProtocol::new));
    found("gate_enter_against_close", "enter: check, then increment", || {
        begin_against_end(|| Sketch::new(Mistake::CheckThenIncrement))
    });
    found("gate_enter_against_close", "enter: sections without a grace period", || {
        begin_against_end(|| Sectioned::new(Mistake::NoGrace))
    });
    passes("enter against close, sketch", || begin_against_end(|| Sectioned::new(Mistake::None)));
}

#[test]
fn last_pass_against_drained() {
    passes("last Pass against drained", || finish_against_end(GateProtocol::new));
    passes("last Pass against drained, sketch", || {
        finish_against_end(|| Sectioned::new(Mistake::None))
    });
    found("last_pass_against_drained", "last Pass: left without release", || {
        finish_against_end(|| Sectioned::new(Mistake::RelaxedLeave))
    });
    found("last_pass_against_drained", "last Pass: looked whether closed, then left", || {
        finish_against_end(|| Sectioned::new(Mistake::NoGrace))
    });
}

#[test]
fn two_last_passes() {
    passes("two last Passes against drained", || two_finish_against_end(GateProtocol::new));
}

/// A pass that is taken on one thread and dropped on another while a third closes.
#[test]
fn pass_moves_between_threads() {
    passes("Pass dropped elsewhere", || {
        explore(None, || {
            let gate = Arc::new(Gate::new(Value::new()));
            let entered = thread::spawn({
                let gate = gate.clone();
                move || gate.enter()
            });
            gate.close();
            let pass = entered.join().unwrap();
            if let Some(pass) = &pass {
                pass.look();
                assert!(gate.take().is_none(), "taken while somebody is inside");
            }
            drop(pass);
            gate.take().expect("nobody is inside").destroy();
        })
    });
}

/// A reader of a published value against its replacement. The mistake: to look after the section.
/// A thread's note of what it has taken is read while another takes its place: no place in the code is
/// said of an object that was not taken there.
#[test]
fn note_against_look() {
    passes("note against look", || explore(Some(3), note_is_written_anew));
    passes("note against look, sketch", || explore(None, || note_of_sketch(Note::new(true, true))));
    found("note_against_look", "note: no version", || {
        explore(None, || note_of_sketch(Note::new(false, true)))
    });
    found("note_against_look", "note: written before the version", || {
        explore(None, || note_of_sketch(Note::new(true, false)))
    });
}

fn note_is_written_anew() {
    let [first, second] = [(); 2].map(|()| {
        let owner = Owner::new(());
        owner.track(true);
        Arc::new(owner)
    });
    let user = thread::spawn({
        let (first, second) = (first.clone(), second.clone());
        move || {
            let taken = first.get();
            let line = line!() - 1;
            drop(taken);
            // Another place.
            drop(second.get());
            line
        }
    });
    let seen = first.held();
    let line = user.join().unwrap();
    assert!(seen.holders.iter().all(|holder| holder.location.line() == line), "of the other");
    for owner in [first, second] {
        assert!(owner.held().holders.is_empty());
    }
}

/// One note: what was taken, and where.
struct Note {
    what: AtomicUsize,
    place: AtomicUsize,
    version: AtomicUsize,
    has_version: bool,
    has_fence: bool,
}

impl Note {
    fn new(has_version: bool, has_fence: bool) -> Self {
        let [what, place, version] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { what, place, version, has_version, has_fence }
    }

    fn write(&self, what: usize, place: usize) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        if self.has_fence {
            fence(Ordering::Release);
        }
        self.place.store(place, Ordering::Relaxed);
        self.what.store(what, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    fn place_of(&self, what: usize) -> Option<usize> {
        let version = self.version.load(Ordering::Acquire);
        let is_of = self.what.load(Ordering::Relaxed) == what;
        let place = self.place.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_same = self.version.load(Ordering::Relaxed) == version && version % 2 == 0;
        (is_of && (is_same || !self.has_version)).then_some(place)
    }
}

fn note_of_sketch(note: Note) {
    let note = Arc::new(note);
    let user = thread::spawn({
        let note = note.clone();
        move || {
            note.write(1, 10);
            note.what.store(0, Ordering::Relaxed);
            note.write(2, 20);
        }
    });
    assert!([None, Some(10)].contains(&note.place_of(1)), "of the other");
    user.join().unwrap();
}

#[test]
fn read_against_replace() {
    fn replace_while_read(look_in_section: bool) -> usize {
        explore(None, move || {
            let published = Arc::new(Published::new(Some(Box::new(Value::new()))));
            let reader = thread::spawn({
                let published = published.clone();
                move || {
                    let section = grace::section();
                    let value = published.get(&section).map(|value| value as *const Value);
                    if !look_in_section {
                        drop(section);
                    }
                    if let Some(value) = value {
                        // SAFETY: none without the section, which is the point; the memory itself
                        // is leaked by `destroy`, so that only the model's race is left.
                        unsafe { &*value }.look();
                    }
                }
            });
            let outgoing = published.replace(None).expect("there was a value");
            let elapsed = grace::synchronize();
            Box::leak(outgoing.reclaim(&elapsed)).destroy();
            reader.join().unwrap();
        })
    }
    passes("read against replace", || replace_while_read(true));
    found("read_against_replace", "read: looked after the section", || replace_while_read(false));
}

/// The holders that wait for a section to end are woken by its end.
#[test]
fn two_grace_periods() {
    passes("two grace periods and a section", || {
        explore(Some(3), || {
            let reader = thread::spawn(|| drop(grace::section()));
            let other = thread::spawn(|| {
                grace::synchronize();
            });
            grace::synchronize();
            reader.join().unwrap();
            other.join().unwrap();
        })
    });
}

/// Grace periods, as this crate has them or as a sketch does.
trait Grace: Send + Sync + 'static {
    /// Calls `look` in a section. No two threads at once do that with the same lane.
    fn read(&self, lane: usize, look: impl FnOnce());
    fn synchronize(&self);
}

/// Values that replace each other, the last of which stays.
struct Replaced<G, const N: usize> {
    grace: G,
    values: [Value; N],
    current: AtomicUsize,
}

impl<G: Grace, const N: usize> Replaced<G, N> {
    fn new(grace: G) -> Arc<Self> {
        let values = std::array::from_fn(|_| Value::new());
        Arc::new(Self { grace, values, current: AtomicUsize::new(0) })
    }

    fn look(&self) {
        self.grace.read(0, || self.values[self.current.load(Ordering::Acquire)].look());
    }

    /// The next one in place of this one.
    fn replace(&self, old: usize) {
        self.current.store(old + 1, Ordering::Release);
        self.grace.synchronize();
        self.values[old].destroy();
    }
}

/// A reader and a writer, and somebody else. Before they begin there were so many sections: none, and
/// sections pay for fences; `UNTIL_LIGHT`, and they don't.
fn looks_against_replacements<G: Grace>(
    preemptions: usize,
    before: usize,
    looks: usize,
    replacements: usize,
    make: fn() -> G,
    other: impl Fn(&G) + Copy + Send + Sync + 'static,
) -> usize {
    explore(Some(preemptions), move || {
        let replaced = Replaced::<G, 3>::new(make());
        (0..before).for_each(|_| replaced.look());
        let reader = thread::spawn({
            let replaced = replaced.clone();
            move || (0..looks).for_each(|_| replaced.look())
        });
        let another = thread::spawn({
            let replaced = replaced.clone();
            move || other(&replaced.grace)
        });
        (0..replacements).for_each(|old| replaced.replace(old));
        reader.join().unwrap();
        another.join().unwrap();
    })
}

/// As many sections of one thread as make it light.
const UNTIL_LIGHT: usize = 2;

/// Grace periods make sections pay for fences.
#[test]
fn from_light_to_fenced() {
    fn explored<G: Grace>(make: fn() -> G) -> usize {
        looks_against_replacements(3, UNTIL_LIGHT, 1, 2, make, |_| ())
    }
    passes("from light to fenced", || explored(|| Real));
    passes("from light to fenced, sketch", || explored(|| Phases::new(Mistake::None)));
    found("from_light_to_fenced", "section: looked who pays before it was visible", || {
        explored(|| Phases::new(Mistake::LooksTooSoon))
    });
    found("from_light_to_fenced", "grace period: asked and did not interrupt", || {
        explored(|| Phases::new(Mistake::NoInterruption))
    });
}

/// The same while another thread has a grace period: what one asks for, the other may rely on, and not
/// before it is so.
#[test]
fn two_writers_from_light_to_fenced() {
    fn explored<G: Grace>(make: fn() -> G) -> usize {
        looks_against_replacements(2, UNTIL_LIGHT, 1, 1, make, G::synchronize)
    }
    passes("from light to fenced, two writers", || explored(|| Real));
    passes("from light to fenced, two writers, sketch", || explored(|| Phases::new(Mistake::None)));
    found(
        "two_writers_from_light_to_fenced",
        "grace period: fenced as soon as it was asked",
        || explored(|| Phases::new(Mistake::FencedTooSoon)),
    );
}

/// Sections cease to pay for fences while there is a grace period.
#[test]
fn from_fenced_to_light() {
    fn explored<G: Grace>(make: fn() -> G) -> usize {
        let sections = |grace: &G| (0..UNTIL_LIGHT).for_each(|_| grace.read(1, || ()));
        looks_against_replacements(3, 0, 1, 1, make, sections)
    }
    passes("from fenced to light", || explored(|| Real));
    passes("from fenced to light, sketch", || explored(|| Phases::new(Mistake::None)));
    found("from_fenced_to_light", "section: looked who pays without acquire", || {
        explored(|| Phases::new(Mistake::NoAcquire))
    });
}

/// [`grace`].
struct Real;

impl Grace for Real {
    fn read(&self, _: usize, look: impl FnOnce()) {
        let _section = grace::section();
        look();
    }

    fn synchronize(&self) {
        grace::synchronize();
    }
}

/// A phase with the mode in its lowest bits, and two lanes: what `grace` does, in a few lines.
struct Phases {
    mistake: Mistake,
    phase: AtomicUsize,
    asking: Mutex<()>,
    lanes: [Phased; 2],
}

struct Phased {
    reach: Reach,
    active: AtomicUsize,
    /// How many sections paid, and in which phase.
    paid: Mutex<(usize, usize)>,
}

const PHASE: usize = 4;
const MODE: usize = PHASE - 1;
const LIGHT: usize = 0;
const ASKED: usize = 1;
const FENCED: usize = 2;

impl Phases {
    fn new(mistake: Mistake) -> Self {
        let lane = || Phased {
            reach: Reach::new(),
            active: AtomicUsize::new(0),
            paid: Mutex::new((0, 0)),
        };
        Self {
            mistake,
            phase: AtomicUsize::new(PHASE | FENCED),
            asking: Mutex::new(()),
            lanes: [lane(), lane()],
        }
    }

    fn count_fence(&self, lane: &Phased, phase: usize) {
        let mut paid = lane.paid.lock();
        *paid = if paid.1 == phase { (paid.0 + 1, phase) } else { (1, phase) };
        if paid.0 >= UNTIL_LIGHT && phase & MODE == FENCED {
            let light = phase & !MODE | LIGHT;
            let _ = self.phase.compare_exchange(phase, light, Ordering::Release, Ordering::Relaxed);
        }
    }

    fn interrupt(&self) {
        if self.mistake != Mistake::NoInterruption {
            self.lanes.iter().for_each(|lane| lane.reach.interrupt());
        }
    }
}

impl Grace for Phases {
    fn read(&self, lane: usize, look: impl FnOnce()) {
        let lane = &self.lanes[lane];
        lane.reach.enter();
        let first = self.phase.load(Ordering::Relaxed);
        lane.reach.may_strike();
        lane.active.store(first, Ordering::Release);
        lane.reach.may_strike();
        let phase = match self.mistake {
            Mistake::LooksTooSoon => first,
            Mistake::NoAcquire => self.phase.load(Ordering::Relaxed),
            _ => self.phase.load(Ordering::Acquire),
        };
        if phase & MODE != LIGHT {
            fence(Ordering::SeqCst);
            self.count_fence(lane, phase);
        }
        lane.reach.may_strike();
        look();
        lane.active.store(0, Ordering::Release);
        lane.reach.may_strike();
        lane.reach.leave();
    }

    fn synchronize(&self) {
        let before = self.phase.fetch_add(PHASE, Ordering::AcqRel);
        if before & MODE == FENCED {
            fence(Ordering::SeqCst);
        } else if let Some(_asking) = self.asking.try_lock() {
            let too_soon = self.mistake == Mistake::FencedTooSoon;
            let asked = if too_soon { FENCED } else { ASKED };
            let light = |phase| (phase & MODE == LIGHT).then_some(phase & !MODE | asked);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let asks = self.phase.fetch_update(order.0, order.1, light).is_ok();
            self.interrupt();
            if asks && !too_soon {
                self.phase.fetch_xor(ASKED ^ FENCED, Ordering::AcqRel);
            }
        } else {
            self.interrupt();
        }
        for lane in &self.lanes {
            loop {
                let active = lane.active.load(Ordering::Acquire);
                if active == 0 || active / PHASE > before / PHASE {
                    break;
                }
                thread::yield_now();
            }
        }
    }
}

/// What is used and destroyed. Loom sees a look that does not happen before the end.
struct Value(UnsafeCell<bool>);

// SAFETY: loom checks every access for races.
unsafe impl Sync for Value {}

impl Value {
    fn new() -> Self {
        Self(UnsafeCell::new(true))
    }

    fn look(&self) {
        // SAFETY: loom checks the access.
        let alive = self.0.with(|alive| unsafe { *alive });
        assert!(alive, "used after it was destroyed");
    }

    fn destroy(&self) {
        // SAFETY: loom checks the access.
        self.0.with_mut(|alive| unsafe { *alive = false });
    }
}

/// [`Owner`] and what belongs to it.
struct OwnerProtocol {
    owner: Mutex<Option<Owner<Value>>>,
    weak: WeakRef<Value>,
}

impl OwnerProtocol {
    fn new() -> Self {
        let owner = Owner::new(Value::new());
        Self { weak: owner.downgrade(), owner: Mutex::new(Some(owner)) }
    }
}

impl Protocol for OwnerProtocol {
    type Use = holm_lifetime::Ref<Value>;

    fn begin(&self) -> Option<Self::Use> {
        self.weak.upgrade()
    }

    fn finish(&self, using: Self::Use) {
        using.look();
    }

    fn end(&self) {
        let owner = self.owner.lock().take().expect("ended once");
        owner.retire().wait(Deadline::Never).expect("no deadline").destroy();
    }
}

/// [`Gate`] and what belongs to it.
struct GateProtocol(Gate<Value>);

impl GateProtocol {
    fn new() -> Self {
        Self(Gate::new(Value::new()))
    }
}

impl Protocol for GateProtocol {
    // Every section has a dozen places for that.
    const PREEMPTIONS: Option<usize> = Some(6);

    type Use = holm_lifetime::Pass<Value>;

    fn begin(&self) -> Option<Self::Use> {
        self.0.enter()
    }

    fn finish(&self, using: Self::Use) {
        using.look();
    }

    fn end(&self) {
        self.0.close();
        self.0.drained(Deadline::Never).expect("no deadline");
        self.0.take().expect("drained").destroy();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    None,
    CheckThenIncrement,
    NoFence,
    RelaxedLeave,
    SignalBeforeLeave,
    SignalWithoutLock,
    NoGrace,
    LooksTooSoon,
    NoAcquire,
    NoInterruption,
    FencedTooSoon,
}

/// One counter and a flag: what `Owner` does, in a few lines.
struct Sketch {
    mistake: Mistake,
    ended: AtomicBool,
    count: AtomicIsize,
    value: Value,
    last_left: Mutex<bool>,
    wake: Condvar,
}

impl Sketch {
    fn new(mistake: Mistake) -> Self {
        Self {
            mistake,
            ended: AtomicBool::new(false),
            count: AtomicIsize::new(1),
            value: Value::new(),
            last_left: Mutex::new(false),
            wake: Condvar::new(),
        }
    }

    fn leave(&self) {
        if self.mistake == Mistake::SignalBeforeLeave {
            self.signal();
        }
        let relaxed = self.mistake == Mistake::RelaxedLeave;
        let order = if relaxed { Ordering::Relaxed } else { Ordering::Release };
        if self.count.fetch_sub(1, order) == 1 {
            fence(Ordering::Acquire);
            self.signal();
        }
    }

    fn signal(&self) {
        if self.mistake == Mistake::SignalWithoutLock {
            self.wake.notify_all();
        }
        *self.last_left.lock() = true;
        if self.mistake != Mistake::SignalWithoutLock {
            self.wake.notify_all();
        }
    }
}

impl Protocol for Sketch {
    type Use = ();

    fn begin(&self) -> Option<()> {
        if self.mistake == Mistake::CheckThenIncrement {
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            self.count.fetch_add(1, Ordering::Relaxed);
            return Some(());
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.mistake != Mistake::NoFence {
            fence(Ordering::SeqCst);
        }
        if self.ended.load(Ordering::Relaxed) {
            self.leave();
            return None;
        }
        Some(())
    }

    fn finish(&self, _using: ()) {
        // The one that signals too soon still uses the value afterwards.
        if self.mistake == Mistake::SignalBeforeLeave {
            self.signal();
        }
        self.value.look();
        self.leave();
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        if self.mistake != Mistake::NoFence {
            fence(Ordering::SeqCst);
        }
        self.leave();
        let mut last_left = self.last_left.lock();
        while !*last_left {
            last_left = self.wake.wait(last_left);
        }
        drop(last_left);
        self.value.destroy();
    }
}

/// A cell for one thread, a flag, and a number once it is closed: what `Gate` does, in a few lines.
struct Sectioned {
    mistake: Mistake,
    in_section: AtomicUsize,
    closed: AtomicBool,
    cell: AtomicIsize,
    value: Value,
    remaining: Mutex<isize>,
    wake: Condvar,
}

impl Sectioned {
    fn new(mistake: Mistake) -> Self {
        Self {
            mistake,
            in_section: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            cell: AtomicIsize::new(0),
            value: Value::new(),
            remaining: Mutex::new(0),
            wake: Condvar::new(),
        }
    }

    /// Adds to the cell unless the gate is closed.
    fn add_if_open(&self, amount: isize) -> bool {
        self.in_section.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let open = !self.closed.load(Ordering::Relaxed);
        if open {
            self.cell.store(self.cell.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        }
        let relaxed = self.mistake == Mistake::RelaxedLeave;
        self.in_section.store(0, if relaxed { Ordering::Relaxed } else { Ordering::Release });
        open
    }
}

impl Protocol for Sectioned {
    type Use = ();

    fn begin(&self) -> Option<()> {
        self.add_if_open(1).then_some(())
    }

    fn finish(&self, _using: ()) {
        self.value.look();
        if !self.add_if_open(-1) {
            *self.remaining.lock() -= 1;
            self.wake.notify_all();
        }
    }

    fn end(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while self.mistake != Mistake::NoGrace && self.in_section.load(Ordering::Acquire) != 0 {
            thread::yield_now();
        }
        let mut remaining = self.remaining.lock();
        *remaining += self.cell.load(Ordering::Relaxed);
        while *remaining != 0 {
            remaining = self.wake.wait(remaining);
        }
        drop(remaining);
        self.value.destroy();
    }
}

/// Runs `execution` in every way there is, and returns how many there are. With three threads, or
/// many steps, that is too many: then `preemptions` bounds how often a thread may lose its CPU where it need not.
/// One test runs at a time.
fn explore(preemptions: Option<usize>, execution: impl Fn() + Send + Sync + 'static) -> usize {
    EXECUTIONS.store(0, R);
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        EXECUTIONS.fetch_add(1, R);
        execution();
    });
    EXECUTIONS.load(R)
}

/// How far the exploration came.
static EXECUTIONS: Plain = Plain::new(0);

/// In the environment of a process that looks for one mistake: which.
const MISTAKE: &str = "HOLM_LOOM_MISTAKE";

fn passes(what: &str, run: impl FnOnce() -> usize) {
    if std::env::var_os(MISTAKE).is_none() {
        report(&format!("{what}: {} executions, all passed", run()));
    }
}

/// Asserts that loom finds a mistake, in a process of its own: loom can't always unwind from one.
fn found(test: &str, what: &str, run: impl FnOnce() -> usize) {
    const FOUND: i32 = 42;
    match std::env::var(MISTAKE) {
        Ok(wanted) if wanted == what => {
            std::panic::set_hook(Box::new(|panic| {
                let why = panic.payload_as_str().unwrap_or("?").lines().next().unwrap_or("?");
                println!("mistake found in execution {}: {why}", EXECUTIONS.load(R));
                std::process::exit(FOUND);
            }));
            run();
            std::process::exit(0);
        }
        Ok(_) => {}
        Err(_) => {
            let child = std::process::Command::new(std::env::current_exe().unwrap())
                .args([test, "--exact", "--nocapture", "--test-threads=1"])
                .env(MISTAKE, what)
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout);
            assert_eq!(child.status.code(), Some(FOUND), "{what}: not found by loom:\n{output}");
            let finding = output.lines().find(|line| line.contains("mistake found")).unwrap();
            // What the test runner prints comes before it on the same line.
            let finding = finding.split_once("mistake found").map_or(finding, |(_, rest)| rest);
            report(&format!("{what}: mistake found{finding}"));
        }
    }
}

/// Says what was explored, also to the file that the environment names.
fn report(line: &str) {
    println!("loom: {line}");
    if let Some(path) = std::env::var_os("HOLM_REPORT") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "loom: {line}").unwrap();
    }
}
