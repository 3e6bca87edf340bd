//! The threads that do what nobody else may do just then.
//!
//! They run control requests that an unlocker left because it still held another level, or because
//! there were too many, and they carry out tear-downs for whoever has a deadline or has gone away. A
//! subsystem's `exit` may block on a dead disk; so there is one thread at the least, another as soon
//! as there is a job that no thread waits for, and those that find nothing to do go again.

use crate::namespace::Namespace;
use holm_lifetime::sync::{Arc, Condvar, Mutex, thread};
use std::collections::VecDeque;
use std::io;

pub(crate) struct Workers {
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// How many threads wait for a job.
    idle: usize,
    /// Those that have not been joined.
    threads: Vec<thread::JoinHandle<()>>,
    /// Those of them that have ended, or are about to.
    ended: Vec<thread::ThreadId>,
    /// The registry is gone.
    stopping: bool,
    /// How many namespaces still drain; as long as there are any, a thread stays.
    draining: usize,
}

pub(crate) enum Job {
    /// Run the control requests of a namespace.
    Requests(Namespace),
    /// Go on with a tear-down.
    TearDown(Namespace),
}

/// How many may be blocked at once before others have to wait for them.
const MOST_THREADS: usize = 64;
/// How many wait for the next job.
const KEPT_IDLE: usize = 2;

impl Workers {
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let queue = Queue {
            jobs: VecDeque::new(),
            idle: 0,
            threads: Vec::new(),
            ended: Vec::new(),
            stopping: false,
            draining: 0,
        };
        let workers = Arc::new(Self { queue: Mutex::new(queue), wake: Condvar::new() });
        workers.start_another(&mut workers.queue.lock())?;
        Ok(workers)
    }

    pub(crate) fn push(self: &Arc<Self>, job: Job) {
        let mut queue = self.queue.lock();
        queue.jobs.push_back(job);
        if queue.jobs.len() > queue.idle && queue.threads.len() < MOST_THREADS + queue.ended.len() {
            // If there can't be another, those there are will come to it.
            let _ = self.start_another(&mut queue);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Ends the threads as soon as there is nothing left to do; if that is now, waits for their end.
    pub(crate) fn stop(&self) {
        let mut queue = self.queue.lock();
        queue.stopping = true;
        let ends_now = queue.draining == 0;
        let threads = std::mem::take(&mut queue.threads);
        drop(queue);
        self.wake.notify_all();
        // A request that a worker runs may hold the last handle to the registry.
        let own = thread::current().id();
        for thread in threads.into_iter().filter(|thread| ends_now && thread.thread().id() != own) {
            let _ = thread.join();
        }
    }

    pub(crate) fn draining_begins(&self) {
        self.queue.lock().draining += 1;
    }

    pub(crate) fn draining_ends(&self) {
        let mut queue = self.queue.lock();
        queue.draining -= 1;
        if queue.stopping {
            drop(queue);
            self.wake.notify_all();
        }
    }

    fn start_another(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        for ended in std::mem::take(&mut queue.ended) {
            if let Some(place) = queue.threads.iter().position(|other| other.thread().id() == ended)
            {
                // It has nothing left to do but to end.
                let _ = queue.threads.swap_remove(place).join();
            }
        }
        let own = self.clone();
        let thread = thread::Builder::new().name("holm-netns".into()).spawn(move || own.run())?;
        queue.threads.push(thread);
        Ok(())
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            match job {
                Job::Requests(ns) => ns.run_handed_over_requests(),
                Job::TearDown(ns) => ns.go_on_tearing_down(),
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.idle >= KEPT_IDLE || (queue.stopping && queue.draining == 0) {
                queue.ended.push(thread::current().id());
                return None;
            }
            queue.idle += 1;
            queue = self.wake.wait(queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::MOST_THREADS;
    use crate::{Held, InitError, Registry, Subsystem, View};
    use holm_lifetime::Deadline;
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    /// Its `exit` says that it has begun, and waits for the lock.
    struct Blocks {
        begun: Sender<()>,
        lock: Arc<Mutex<()>>,
    }

    impl Subsystem for Blocks {
        type State = ();
        const EXIT_MAY_BLOCK: bool = true;

        fn name(&self) -> &str {
            "blocks"
        }

        fn init(&self, _: &View<'_>, _: &mut Held<'_>) -> Result<(), InitError> {
            Ok(())
        }

        fn exit(&self, _: &View<'_>, (): ()) {
            self.begun.send(()).unwrap();
            drop(self.lock.lock());
        }
    }

    /// However often somebody waits with a deadline and goes away again. Every thread there may be is
    /// busy, so that the job stays where it can be counted.
    #[test]
    fn tear_down_is_one_job() {
        let registry = Registry::new().unwrap();
        let (begun, begins) = channel();
        let lock = Arc::new(Mutex::new(()));
        registry.register(Blocks { begun, lock: lock.clone() }).unwrap();
        let blocked = lock.lock().unwrap();
        for n in 0..MOST_THREADS {
            let ns = registry.create(&*format!("ns-{n}")).unwrap();
            registry.remove([&ns], Deadline::now()).expect_err("its exit blocks");
            begins.recv().unwrap();
        }
        let last = registry.create("last").unwrap();
        registry.remove([&last], Deadline::now()).expect_err("nobody is there to do it");
        last.wait_gone(Deadline::now()).expect_err("nobody is there to do it");
        assert_eq!(last.workers().queue.lock().jobs.len(), 1);
        drop(blocked);
        last.wait_gone(Deadline::Never).unwrap();
        registry.remove_all(Deadline::Never).unwrap();
    }
}
