//! What the real code does, in a few lines each and with one mistake.

use crate::end;
use crate::limit;
use crate::run::{self, Taken};
use crate::slot;
use crate::stuck::{self, Call};
use crate::wake::{self, Meeting};
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};
use std::collections::VecDeque;

/// Workers with one list of numbers.
struct Workers {
    list: Arc<List>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct List {
    /// Numbers of what shall be run; `None` is the end.
    items: Mutex<VecDeque<Option<usize>>>,
    changed: Condvar,
}

impl List {
    fn push(&self, item: Option<usize>) {
        self.items.lock().unwrap().push_back(item);
        self.changed.notify_all();
    }

    fn pop(&self) -> Option<usize> {
        let mut items = self.items.lock().unwrap();
        loop {
            match items.pop_front() {
                Some(item) => return item,
                None => items = self.changed.wait(items).unwrap(),
            }
        }
    }
}

impl Workers {
    fn start<T: Send + Sync + 'static>(
        count: usize,
        what: &Arc<T>,
        run: fn(&T, usize, &List),
    ) -> Self {
        let list = Arc::new(List::default());
        let threads = (0..count).map(|_| {
            let (list, what) = (list.clone(), what.clone());
            thread::spawn(move || {
                while let Some(item) = list.pop() {
                    run(&what, item, &list);
                }
            })
        });
        let threads = Mutex::new(threads.collect());
        Self { list, threads }
    }

    fn end(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        threads.iter().for_each(|_| self.list.push(None));
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

/// The end of a run looks whether there is more, and then says that the source is idle.
pub struct LooksThenIdles {
    inner: Arc<(Taken, AtomicBool)>,
    workers: Workers,
}

impl Default for LooksThenIdles {
    fn default() -> Self {
        let inner = <Arc<(Taken, AtomicBool)>>::default();
        let workers = Workers::start(2, &inner, |(taken, busy), _, _| {
            while !taken.is_empty() {
                taken.take();
            }
            busy.store(false, Ordering::SeqCst);
        });
        Self { inner, workers }
    }
}

impl run::Work for LooksThenIdles {
    fn bring(&self) {
        self.inner.0.bring();
        if !self.inner.1.swap(true, Ordering::SeqCst) {
            self.workers.list.push(Some(0));
        }
    }

    fn wait(&self, pieces: usize) {
        self.inner.0.wait(pieces);
    }

    fn end(&self) {
        self.workers.end();
    }

    fn taken(&self) -> &Taken {
        &self.inner.0
    }
}

/// Every event is given to a worker.
pub struct NobodyHasIt {
    taken: Arc<Taken>,
    workers: Workers,
}

impl Default for NobodyHasIt {
    fn default() -> Self {
        let taken = Arc::new(Taken::default());
        let workers = Workers::start(2, &taken, |taken, _, _| taken.take());
        Self { taken, workers }
    }
}

impl run::Work for NobodyHasIt {
    fn bring(&self) {
        self.taken.bring();
        self.workers.list.push(Some(0));
    }

    fn wait(&self, pieces: usize) {
        self.taken.wait(pieces);
    }

    fn end(&self) {
        self.workers.end();
    }

    fn taken(&self) -> &Taken {
        &self.taken
    }
}

/// The word that an event carries is the number of the slot.
pub struct NoGenerations {
    inner: Arc<(Mutex<usize>, AtomicUsize)>,
    workers: Workers,
}

impl Default for NoGenerations {
    fn default() -> Self {
        let inner = Arc::new((Mutex::new(1), AtomicUsize::new(0)));
        let workers = Workers::start(2, &inner, |(slot, second_ran), _, _| {
            if *slot.lock().unwrap() == 2 {
                second_ran.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { inner, workers }
    }
}

impl slot::Table for NoGenerations {
    fn first_is_ready(&self) {
        let slot = self.inner.0.lock().unwrap();
        if *slot == 1 {
            self.workers.list.push(Some(0));
        }
    }

    fn replace_first(&self) {
        *self.inner.0.lock().unwrap() = 2;
    }

    fn end(&self) -> (bool, usize) {
        self.workers.end();
        (false, self.inner.1.load(Ordering::SeqCst))
    }
}

/// A worker looks whether there is work, and then says that it is idle.
pub struct LooksThenSleeps {
    inner: Arc<Sleepers>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sleepers {
    items: Mutex<VecDeque<bool>>,
    idle: AtomicUsize,
    wakes: Mutex<usize>,
    woken: Condvar,
    meeting: Meeting,
}

impl Sleepers {
    fn push(&self, item: bool) {
        self.items.lock().unwrap().push_back(item);
        if self.idle.load(Ordering::SeqCst) > 0 {
            *self.wakes.lock().unwrap() += 1;
            self.woken.notify_one();
        }
    }

    fn work(&self) {
        loop {
            let item = self.items.lock().unwrap().pop_front();
            match item {
                Some(true) => self.meeting.meet(),
                Some(false) => return,
                None => {
                    self.idle.fetch_add(1, Ordering::SeqCst);
                    let mut wakes = self.wakes.lock().unwrap();
                    while *wakes == 0 {
                        wakes = self.woken.wait(wakes).unwrap();
                    }
                    *wakes -= 1;
                    self.idle.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }
}

impl Default for LooksThenSleeps {
    fn default() -> Self {
        let inner = Arc::new(Sleepers::default());
        let threads = (0..2).map(|_| {
            let inner = inner.clone();
            thread::spawn(move || inner.work())
        });
        let threads = Mutex::new(threads.collect());
        Self { inner, threads }
    }
}

impl wake::Pair for LooksThenSleeps {
    fn both_ready(&self) {
        self.ready(0);
        self.ready(1);
    }

    fn ready(&self, _: usize) {
        self.inner.push(true);
    }

    fn meeting(&self) -> &Meeting {
        &self.inner.meeting
    }

    fn end(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        self.inner.items.lock().unwrap().extend(threads.iter().map(|_| false));
        // Enough for everybody: how they end is not what is looked for here.
        *self.inner.wakes.lock().unwrap() += 100;
        self.inner.woken.notify_all();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

/// A worker takes the source out of the list and runs it, and is nowhere counted.
pub struct NoPass {
    seen: Arc<end::Seen>,
    source: Arc<Mutex<Option<Arc<end::Alive>>>>,
    workers: Workers,
}

impl Default for NoPass {
    fn default() -> Self {
        let seen = Arc::new(end::Seen::default());
        let source = Arc::new(Mutex::new(Some(Arc::new(end::Alive::new(&seen)))));
        let workers = Workers::start(2, &source, |source, _, _| {
            let taken = source.lock().unwrap().clone();
            if let Some(alive) = taken {
                alive.run();
            }
        });
        Self { seen, source, workers }
    }
}

impl end::Ending for NoPass {
    fn wake(&self) {
        self.workers.list.push(Some(0));
    }

    fn time_passes(&self) {}

    fn spawn(&self) {}

    fn remove(&self) {
        *self.source.lock().unwrap() = None;
    }

    fn end(&self) {
        self.workers.end();
    }

    fn seen(&self) -> &end::Seen {
        &self.seen
    }
}

/// A worker looks once, when its call returns, whether it was declared stuck.
pub struct LooksOnce {
    inner: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Desk {
    call: Call,
    inside: AtomicBool,
    seen: AtomicBool,
    declared: AtomicBool,
    stuck: AtomicUsize,
}

impl Default for LooksOnce {
    fn default() -> Self {
        let inner = Arc::new(Desk::default());
        let thread = thread::spawn({
            let desk = inner.clone();
            move || {
                desk.inside.store(true, Ordering::SeqCst);
                desk.call.enter();
                desk.inside.store(false, Ordering::SeqCst);
                if desk.declared.load(Ordering::SeqCst) {
                    desk.stuck.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
        Self { inner, thread: Mutex::new(Some(thread)) }
    }
}

impl stuck::Office for LooksOnce {
    fn enter_call(&self) {
        self.inner.call.wait_entered();
    }

    fn let_go(&self) {
        self.inner.call.let_go();
    }

    fn look(&self) {
        // Inside now, and when it was looked at before.
        if self.inner.inside.load(Ordering::SeqCst) && self.inner.seen.swap(true, Ordering::SeqCst)
        {
            self.inner.stuck.fetch_add(1, Ordering::SeqCst);
            self.inner.declared.store(true, Ordering::SeqCst);
        }
    }

    fn serve_other(&self) {}

    fn end(&self) -> (usize, usize) {
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
        (0, self.inner.stuck.load(Ordering::SeqCst))
    }
}

/// The end of a turn looks whether somebody waits, and then gives its place back.
pub struct LooksThenGivesBack {
    inner: Arc<Places>,
    workers: Workers,
}

/// One place for turns.
#[derive(Default)]
struct Places {
    taken: Mutex<usize>,
    waiting: Mutex<VecDeque<usize>>,
    turns: limit::Turns,
}

impl Places {
    fn push(&self, source: usize, list: &List) {
        let mut taken = self.taken.lock().unwrap();
        if *taken == 0 {
            *taken = 1;
            list.push(Some(source));
        } else {
            self.waiting.lock().unwrap().push_back(source);
        }
    }

    fn run(&self, source: usize, list: &List) {
        self.turns.run(source);
        let next = self.waiting.lock().unwrap().pop_front();
        match next {
            Some(next) => list.push(Some(next)),
            None => *self.taken.lock().unwrap() = 0,
        }
    }
}

impl Default for LooksThenGivesBack {
    fn default() -> Self {
        let inner = Arc::new(Places::default());
        let workers = Workers::start(2, &inner, Places::run);
        Self { inner, workers }
    }
}

impl limit::Limited for LooksThenGivesBack {
    fn wake(&self, which: usize) {
        self.inner.push(which, &self.workers.list);
    }

    fn end(&self) {
        self.workers.end();
    }

    fn turns(&self) -> &limit::Turns {
        &self.inner.turns
    }
}

/// What is run because of an event is not counted.
pub struct EventsAreNotCounted {
    inner: Arc<Places>,
    workers: Workers,
}

impl Default for EventsAreNotCounted {
    fn default() -> Self {
        let inner = Arc::new(Places::default());
        let workers = Workers::start(1, &inner, Places::run);
        Self { inner, workers }
    }
}

impl limit::Limited for EventsAreNotCounted {
    fn wake(&self, which: usize) {
        // The thread that is told runs it there and then.
        if which == 0 {
            self.inner.turns.run(which);
        } else {
            self.inner.push(which, &self.workers.list);
        }
    }

    fn end(&self) {
        self.workers.end();
    }

    fn turns(&self) -> &limit::Turns {
        &self.inner.turns
    }
}
