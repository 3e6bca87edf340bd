//! Starting QEMU: with open files handed over, and so that it never outlives this process.

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command},
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
    thread,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Signal, set_parent_process_death_signal},
};

/// A command and the files that it inherits under the numbers they have here.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) command: Command,
    inherited: Vec<OwnedFd>,
}

impl Launch {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, inherited: Vec::new() }
    }

    /// Hands a file over; returns its number.
    pub(crate) fn inherit(&mut self, file: impl Into<OwnedFd>) -> i32 {
        let file = file.into();
        let number = file.as_raw_fd();
        self.inherited.push(file);
        number
    }

    /// Starts it. The kernel kills it when this process ends, however it ends.
    ///
    /// The kernel in fact does so when the *thread* that started it ends, so one thread starts
    /// them all and ends with the process.
    pub(crate) fn spawn(self) -> io::Result<Child> {
        type Request = (Launch, Sender<io::Result<Child>>);
        static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
        let spawner = SPAWNER.get_or_init(|| {
            let (sender, requests) = mpsc::channel::<Request>();
            thread::spawn(move || {
                for (launch, reply) in requests {
                    let _ = reply.send(launch.spawn_here());
                }
            });
            sender
        });
        let (reply, result) = mpsc::channel();
        let lost = |_| io::Error::other("the thread that starts processes is gone");
        spawner.send((self, reply)).map_err(|_| lost(mpsc::RecvError))?;
        result.recv().map_err(lost)?
    }

    fn spawn_here(mut self) -> io::Result<Child> {
        let inherited = self.inherited;
        let prepare = move || {
            for file in &inherited {
                fcntl_setfd(file, FdFlags::empty())?;
            }
            set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two kinds of system call and nothing
        // else: it allocates nothing, takes no lock and touches no memory that another thread
        // could have been changing.
        unsafe { self.command.pre_exec(prepare) };
        // Dropping the command closes our side of the files.
        self.command.spawn()
    }
}
