//! Trees: one thread walks through the sources, others copy what it finds.

use super::file::{self, Source};
use super::names::{is_own, marker};
use super::side::{Directory, Entries, Entry, Facts, Kind};
use super::{Item, Run, Spot};
use crate::files::outcome::{Result, Trouble};
use std::ffi::{OsStr, OsString};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Copies everything.
pub fn copy(run: &Run<'_>, items: &[Item]) {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(WAITING_MAX);
        let receive = Arc::new(Mutex::new(receive));
        let workers: Vec<_> = (0..run.options.files.max(1))
            .map(|_| {
                let receive = receive.clone();
                scope.spawn(move || work(run, &receive))
            })
            .collect();
        let mut roots = Vec::new();
        for item in items {
            match begin(run, item, &send) {
                Ok(root) => roots.extend(root),
                Err(trouble) => run.fail(&trouble),
            }
        }
        drop(send);
        for worker in workers {
            // One that panicked has said so.
            let _ = worker.join();
        }
        for root in roots {
            root.end(run);
        }
    });
}

/// A file or link to be copied.
struct Job<'r> {
    source: Arc<dyn Directory>,
    name: OsString,
    facts: Facts,
    target: Arc<Filling<'r>>,
    target_name: OsString,
}

/// A directory that is being filled. It gets its mode and times when nobody fills it any more, and those
/// above it after that.
struct Filling<'r> {
    directory: Arc<dyn Directory>,
    /// What it becomes like; `None` for one that is not ours to change.
    like: Option<Facts>,
    run: &'r Run<'r>,
    _above: Option<Arc<Filling<'r>>>,
}

/// The root of a tree that is being filled, with its marker.
struct Root<'r> {
    filling: Arc<Filling<'r>>,
    marker: OsString,
    failures_before: u64,
}

fn work(run: &Run<'_>, jobs: &Mutex<Receiver<Job<'_>>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // Nobody sends any more.
        let Ok(Job { source, name, facts, target, target_name }) = job else { return };
        if run.is_over() {
            continue;
        }
        let source = Source { directory: &*source, name: &name, facts };
        if let Err(trouble) = file::copy(run, &source, &*target.directory, &target_name) {
            run.fail(&trouble);
        }
    }
}

/// Begins with a source: a file is sent to the workers, a tree walked through.
fn begin<'r>(
    run: &'r Run<'r>,
    Item { source, target, into }: &Item,
    jobs: &SyncSender<Job<'r>>,
) -> Result<Option<Root<'r>>> {
    let place = source.directory.place(source.name.as_deref());
    let could_not = |why: &str| Err(Trouble::new(format!("could not copy {place}: {why}")));
    let facts = match &source.name {
        Some(name) => source.directory.look(name)?,
        None => Some(source.directory.facts()?),
    };
    let Some(facts) = facts else { return could_not("there is no such file") };
    if facts.kind != Kind::Directory {
        let (Some(name), Some(target_name)) = (&source.name, &target.name) else {
            return could_not("it is no directory");
        };
        let directory = target.directory.clone();
        let filling = Filling { directory, like: None, run, _above: None };
        run.watch.found(1, facts.size);
        send(jobs, &source.directory, name, facts, &Arc::new(filling), target_name);
        return Ok(None);
    }
    if !run.options.recursive {
        return could_not("it is a directory; with -r it is copied with all that is in it");
    }
    let from = match &source.name {
        Some(name) => source.directory.enter(name, &facts)?,
        None => source.directory.clone(),
    };
    let marker = marker(&facts.identity);
    let directory = root(target, *into, &marker)?;
    if directory.facts()?.identity == facts.identity {
        return could_not("it is the target itself");
    }
    drop(directory.own(&marker)?);
    let failures_before = run.failures();
    let filling = Arc::new(Filling { directory, like: Some(facts), run, _above: None });
    walk(run, from, &filling, &marker, jobs);
    Ok(Some(Root { filling, marker, failures_before }))
}

/// The directory that a source directory becomes.
fn root(target: &Spot, into: bool, marker: &OsStr) -> Result<Arc<dyn Directory>> {
    let Some(name) = &target.name else { return Ok(target.directory.clone()) };
    // It was made by a copy that was interrupted, as the target itself.
    if into && target.directory.look(marker)?.is_some() {
        return Ok(target.directory.clone());
    }
    target.directory.make(name)
}

/// Goes through a tree, directories first.
fn walk<'r>(
    run: &'r Run<'r>,
    from: Arc<dyn Directory>,
    to: &Arc<Filling<'r>>,
    marker: &OsStr,
    jobs: &SyncSender<Job<'r>>,
) {
    struct Level<'r> {
        from: Arc<dyn Directory>,
        entries: Entries,
        to: Arc<Filling<'r>>,
    }
    let open = |from: Arc<dyn Directory>, to: Arc<Filling<'r>>| -> Result<Level<'r>> {
        // Whichever way has led here: what is being filled can't be copied into itself.
        if from.look(marker)?.is_some() {
            let place = from.place(None);
            return Err(Trouble::new(format!("could not copy {place}: it is the target itself")));
        }
        let entries = from.list()?;
        Ok(Level { from, entries, to })
    };
    let mut levels = match open(from, to.clone()) {
        Ok(level) => vec![level],
        Err(trouble) => return run.fail(&trouble),
    };
    while let Some(level) = levels.last_mut() {
        if run.is_over() {
            return;
        }
        let Entry { name, facts } = match level.entries.next() {
            Some(Ok(entry)) => entry,
            Some(Err(trouble)) => {
                run.fail(&trouble);
                continue;
            }
            None => {
                levels.pop();
                continue;
            }
        };
        if facts.kind != Kind::Directory {
            if is_own(&name) {
                continue;
            }
            run.watch.found(1, if facts.kind == Kind::Regular { facts.size } else { 0 });
            send(jobs, &level.from, &name, facts, &level.to, &name);
            continue;
        }
        let depth = levels.len();
        let Some(level) = levels.last() else { return };
        if depth >= DEPTH_MAX {
            let place = level.from.place(Some(&name));
            let why = format!("it lies more than {DEPTH_MAX} directories deep");
            run.fail(&Trouble::new(format!("could not copy {place}: {why}")));
            continue;
        }
        let next = level.from.enter(&name, &facts).and_then(|from| {
            let filling = Filling {
                directory: level.to.directory.make(&name)?,
                like: Some(facts),
                run,
                _above: Some(level.to.clone()),
            };
            open(from, Arc::new(filling))
        });
        match next {
            Ok(next) => levels.push(next),
            Err(trouble) => run.fail(&trouble),
        }
    }
}

fn send<'r>(
    jobs: &SyncSender<Job<'r>>,
    source: &Arc<dyn Directory>,
    name: &OsStr,
    facts: Facts,
    target: &Arc<Filling<'r>>,
    target_name: &OsStr,
) {
    let (source, target) = (source.clone(), target.clone());
    let (name, target_name) = (name.to_owned(), target_name.to_owned());
    // Workers take until nobody sends.
    let _ = jobs.send(Job { source, name, facts, target, target_name });
}

impl Root<'_> {
    /// All is done. The marker stays in a tree that is not complete.
    fn end(self, run: &Run<'_>) {
        if run.failures() == self.failures_before
            && !run.is_over()
            && let Err(trouble) = self.filling.directory.remove(&self.marker)
        {
            run.fail(&trouble);
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.run.is_over() {
            return;
        }
        let done = match &self.like {
            Some(like) => self.directory.finish(like, self.run.options.owner),
            None => self.directory.sync(),
        };
        if let Err(trouble) = done {
            self.run.fail(&trouble);
        }
        // The one above has waited for this, and is let go of now.
    }
}

/// Files that wait for a worker.
const WAITING_MAX: usize = 64;
/// Whatever a server says, no tree is deeper.
const DEPTH_MAX: usize = 256;
