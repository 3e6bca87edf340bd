//! Clients that write down what was acknowledged, while their server is killed again and again.

use crate::client::{Client, Handle, first_xid};
use crate::driver::Random;
use crate::integrity::{directory_name, file_name, make_files, read_back};
use crate::journal::{Event, Journal, Model, Promise, Shape};
use crate::names::Directories;
use crate::nfs::{self, Written};
use crate::pattern::{MAX_GENERATION, Pattern};
use crate::{Error, Target, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How much is written, and by how many.
#[derive(Debug, Clone)]
pub struct WitnessOptions {
    /// Clients, each with a connection and a thread of its own.
    pub clients: usize,
    /// Files of each client.
    pub files: usize,
    /// Blocks of each file.
    pub blocks: usize,
    /// Bytes of a block, a multiple of eight, at most 1 MiB.
    pub block: u32,
    /// Names of each client that come and go.
    pub names: usize,
}

impl Default for WitnessOptions {
    fn default() -> Self {
        Self { clients: 8, files: 2, blocks: 32, block: 8192, names: 8 }
    }
}

/// What happens when a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The client ends.
    Ends,
    /// It connects again, for as long as it takes, and sends again what was not answered, as a hard
    /// mount does.
    IsSatOut,
}

/// What the clients did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Testimony {
    /// Calls answered, by name.
    pub calls: BTreeMap<String, u64>,
    /// Times that a client lost its connection.
    pub lost: u64,
    /// Calls that were sent again, and found that they had been carried out: EEXIST and ENOENT.
    pub done_already: u64,
    /// Blocks written again because the write verifier was another one.
    pub rewritten: u64,
    /// What went wrong, in words, and how often.
    pub errors: BTreeMap<String, u64>,
}

/// Clients, and what they know.
///
/// [`new`](Self::new) makes the files and the journal; then [`run`](Self::run), while somebody else
/// ends the server and starts it again, says so by [`restarted`](Self::restarted) or
/// [`power_lost`](Self::power_lost), and [`check`](Self::check)s.
#[derive(Debug)]
pub struct Witness {
    options: WitnessOptions,
    pattern: Pattern,
    known: Mutex<Known>,
    changed: Condvar,
}

#[derive(Debug)]
struct Known {
    model: Model,
    journal: Journal,
    stopped: bool,
    /// Clients that have no connection now.
    without: usize,
    testimony: Testimony,
}

impl Witness {
    /// Makes the files, durably, and a new journal.
    ///
    /// # Errors
    ///
    /// The options are impossible, the server refuses something, or there is such a journal.
    pub fn new(options: &WitnessOptions, target: &Target, journal: &Path) -> Result<Self, Error> {
        let key = u64::from(first_xid()) << 32 | u64::from(first_xid());
        let &WitnessOptions { clients, files, blocks, block, names } = options;
        let (files, names) = (files * clients, names * clients);
        let shape = Shape { key, files, blocks, block, names };
        if !shape.is_possible() {
            let what = format!("{files} files of {blocks} blocks of {block} bytes, {names} names");
            return Err(Error::Invalid(what));
        }
        let root = Client::mount(target)?;
        let mut client = Client::nfs(target)?;
        make_files(&mut client, &root, &shape)?;
        let directory = client.directory(&root, &directory_name(&shape))?;
        Directories::find(&mut client, &directory)?;
        let known = Known {
            model: Model::new(shape),
            journal: Journal::create(journal, &shape)?,
            stopped: false,
            without: 0,
            testimony: Testimony::default(),
        };
        let (options, pattern) = (options.clone(), Pattern::new(key));
        Ok(Self { options, pattern, known: Mutex::new(known), changed: Condvar::new() })
    }

    /// Runs the clients until [`stop`](Self::stop), or until all have lost their connections if that
    /// ends them. What they did is for [`testimony`](Self::testimony).
    pub fn run(&self, target: &Target, loss: Loss) {
        self.known().stopped = false;
        std::thread::scope(|scope| {
            for number in 0..self.options.clients {
                scope.spawn(move || {
                    let mut client = Worker::new(self, target, number, loss);
                    if let Err(error) = client.run() {
                        self.complain(&error.to_string());
                    }
                });
            }
        });
    }

    /// Lets the clients end, after what they are at: those that sit out a loss write and commit
    /// everything that is not durable yet.
    pub fn stop(&self) {
        self.known().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until so many calls were answered since the witness is there. `false` if that did not come
    /// to pass in this time.
    pub fn wait_for_calls(&self, count: u64, patience: Duration) -> bool {
        let answered = |known: &Known| known.testimony.calls.values().sum::<u64>();
        let waited = self
            .changed
            .wait_timeout_while(self.known(), patience, |known| answered(known) < count)
            .unwrap_or_else(PoisonError::into_inner);
        answered(&waited.0) >= count
    }

    /// Waits until every client has lost its connection: nobody holds a reply of the server's past
    /// life any more. `false` if that did not come to pass in this time.
    pub fn all_are_without(&self, patience: Duration) -> bool {
        let all = self.options.clients;
        let waited = self
            .changed
            .wait_timeout_while(self.known(), patience, |known| known.without < all)
            .unwrap_or_else(PoisonError::into_inner);
        waited.0.without == all
    }

    /// The server was killed, and its machine went on.
    ///
    /// # Errors
    ///
    /// The journal can't be written.
    pub fn restarted(&self) -> Result<(), Error> {
        self.known().note_now(Event::Restarted)
    }

    /// The server's machine lost its power.
    ///
    /// # Errors
    ///
    /// The journal can't be written.
    pub fn power_lost(&self) -> Result<(), Error> {
        self.known().note_now(Event::PowerLost)
    }

    /// Holds the server to what it acknowledged; no client may run. Names that were on their way are
    /// known afterwards.
    ///
    /// # Errors
    ///
    /// The server does not answer, or the journal can't be written.
    pub fn check(&self, target: &Target, promise: Promise) -> Result<Verdict, Error> {
        let known = &mut *self.known();
        let verdict = read_back(target, &known.model, promise)?;
        for &(name, state) in &verdict.names {
            known.note_now(Event::Changed { name, to: state })?;
        }
        Ok(verdict)
    }

    /// What the clients did so far.
    pub fn testimony(&self) -> Testimony {
        let known = self.known();
        let mut testimony = known.testimony.clone();
        if known.model.stale_verifiers > 0 {
            let error = "the write verifier of a past life of the server".to_owned();
            testimony.errors.insert(error, known.model.stale_verifiers);
        }
        testimony
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, error: &str) {
        *self.known().testimony.errors.entry(error.to_owned()).or_default() += 1;
    }
}

impl Known {
    /// In the journal before anything else happens.
    fn note_now(&mut self, event: Event) -> Result<(), Error> {
        let attempt = || Error::io("write the journal");
        self.model.apply(event).ok_or_else(|| Error::Invalid(format!("{event:?}")))?;
        self.journal.write(event).map_err(attempt())?;
        self.journal.flush().map_err(attempt())
    }
}

/// One client.
struct Worker<'a> {
    witness: &'a Witness,
    target: &'a Target,
    number: usize,
    loss: Loss,
    client: Option<Client>,
    handles: Vec<Handle>,
    directories: Option<Directories>,
    random: Random,
}

impl<'a> Worker<'a> {
    fn new(witness: &'a Witness, target: &'a Target, number: usize, loss: Loss) -> Self {
        let random = Random::new(first_xid().into());
        let (client, handles, directories) = (None, Vec::new(), None);
        Self { witness, target, number, loss, client, handles, directories, random }
    }

    fn run(&mut self) -> Result<(), Error> {
        match self.set_up().and_then(|()| self.work()) {
            Err(Error::Io { .. }) if self.loss == Loss::Ends => Ok(()),
            result => result,
        }
    }

    /// The handles of its own files and of the directories; kept over restarts of the server.
    fn set_up(&mut self) -> Result<(), Error> {
        let shape = self.witness.known().model.shape;
        let root = Client::mount(self.target)?;
        let mut client = Client::nfs(self.target)?;
        let directory = client.directory(&root, &directory_name(&shape))?;
        for file in self.files() {
            self.handles.push(client.file(&directory, &file_name(file))?.0);
        }
        self.directories = Some(Directories::find(&mut client, &directory)?);
        self.client = Some(client);
        Ok(())
    }

    fn files(&self) -> std::ops::Range<usize> {
        let each = self.witness.options.files;
        self.number * each..(self.number + 1) * each
    }

    fn work(&mut self) -> Result<(), Error> {
        let options = &self.witness.options;
        while !self.witness.known().stopped {
            let file = self.files().start + self.random.below(options.files as u64) as usize;
            let block = self.random.below(options.blocks as u64) as usize;
            match self.random.below(100) {
                0..20 if options.names > 0 => self.change_name()?,
                0..30 => self.commit(file)?,
                30..40 => self.read(file, block)?,
                40..60 => self.write(file, block, nfs::FILE_SYNC)?,
                _ => self.write(file, block, nfs::UNSTABLE)?,
            }
        }
        if self.loss == Loss::IsSatOut {
            self.files().try_for_each(|file| self.commit(file))?;
        }
        Ok(())
    }

    fn write(&mut self, file: usize, block: usize, stable: u32) -> Result<(), Error> {
        let (generation, shape) = {
            let known = &mut *self.witness.known();
            let generation = known.model.block(file, block).sent + 1;
            if generation > MAX_GENERATION {
                return Ok(());
            }
            known.note_now(Event::Writing { file, block, generation })?;
            (generation, known.model.shape)
        };
        let offset = block as u64 * u64::from(shape.block);
        let mut data = vec![0; shape.block as usize];
        self.witness.pattern.fill(file, generation, offset, &mut data);
        let handle = self.handle(file);
        let written = self.call(|client, _, _| client.write(&handle, offset, stable, &data))?;
        let Written { committed, verifier, .. } = written;
        if committed < stable {
            self.witness.complain("WRITE: less stable than asked for");
        }
        self.note(
            "WRITE",
            if committed == nfs::UNSTABLE {
                Event::Unstable { file, block, generation, verifier }
            } else {
                Event::Synced { file, block, generation }
            },
        )
    }

    /// Until all that was written to the file is durable, whatever becomes of the server meanwhile.
    fn commit(&mut self, file: usize) -> Result<(), Error> {
        loop {
            {
                let known = &mut *self.witness.known();
                if !known.model.has_unstable(file) && known.model.to_rewrite(file).is_empty() {
                    return Ok(());
                }
                known.note_now(Event::Committing { file })?;
            }
            let (handle, witness) = (self.handle(file), self.witness);
            let verifier = self.call(|client, _, again| {
                if again {
                    // A restart of the server ended the first one.
                    witness.known().note_now(Event::Committing { file })?;
                }
                client.commit(&handle)
            })?;
            self.note("COMMIT", Event::Committed { file, verifier })?;
            let lost = self.witness.known().model.to_rewrite(file);
            self.witness.known().testimony.rewritten += lost.len() as u64;
            for block in lost {
                self.write(file, block, nfs::UNSTABLE)?;
            }
        }
    }

    fn read(&mut self, file: usize, block: usize) -> Result<(), Error> {
        let (shape, expected) = {
            let model = &self.witness.known().model;
            (model.shape, model.expected(file, block, Promise::Acknowledged))
        };
        let offset = block as u64 * u64::from(shape.block);
        let handle = self.handle(file);
        let pattern = self.witness.pattern;
        let damage = self.call(|client, _, _| {
            let data = client.read(&handle, offset, shape.block)?;
            Ok(crate::integrity::judge(&pattern, &shape, file, expected.clone(), offset, data))
        })?;
        self.count("READ");
        if let Some(damage) = damage {
            self.witness.complain(&format!("READ: {damage}"));
        }
        Ok(())
    }

    fn change_name(&mut self) -> Result<(), Error> {
        let each = self.witness.options.names;
        let name = self.number * each + self.random.below(each as u64) as usize;
        let from = self.witness.known().model.name(name);
        let to = from.next(&mut self.random);
        self.witness.known().note_now(Event::Changing { name, to })?;
        let done_already = self.call(|client, directories, again| {
            match directories.change(client, name, from, to) {
                // The first time it was carried out, and the reply was lost.
                Err(Error::Status { status: nfs::EXIST | nfs::NOENT, .. }) if again => Ok(true),
                result => result.map(|()| false),
            }
        })?;
        self.witness.known().testimony.done_already += u64::from(done_already);
        self.note("names", Event::Changed { name, to })
    }

    fn handle(&self, file: usize) -> Handle {
        self.handles[file - self.files().start].clone()
    }

    /// Makes a call, again and again if connections are lost and that is to be sat out. The call is
    /// told whether it was sent before.
    fn call<T>(
        &mut self,
        mut make: impl FnMut(&mut Client, &Directories, bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut again = false;
        loop {
            let client = match &mut self.client {
                Some(client) => client,
                none => none.insert(Client::nfs(self.target)?),
            };
            let directories = self.directories.as_ref().expect("set up first");
            match make(client, directories, again) {
                Err(Error::Io { .. }) if self.loss == Loss::IsSatOut => {
                    again = true;
                    self.client = None;
                    self.connect()?;
                }
                result => return result,
            }
        }
    }

    /// Waits for the server to be there again.
    fn connect(&mut self) -> Result<(), Error> {
        self.witness.known().testimony.lost += 1;
        self.witness.known().without += 1;
        self.witness.changed.notify_all();
        let connected = loop {
            match Client::nfs(self.target).and_then(|mut client| client.null().map(|()| client)) {
                Err(Error::Io { .. }) => std::thread::sleep(RETRY),
                result => break result,
            }
        };
        self.witness.known().without -= 1;
        self.client = Some(connected?);
        Ok(())
    }

    fn note(&self, call: &str, event: Event) -> Result<(), Error> {
        self.count(call);
        self.witness.known().note_now(event)
    }

    fn count(&self, call: &str) {
        *self.witness.known().testimony.calls.entry(call.to_owned()).or_default() += 1;
        self.witness.changed.notify_all();
    }
}

/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(20);
