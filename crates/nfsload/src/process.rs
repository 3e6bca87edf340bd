//! What a process costs, from /proc, and where it runs.

use crate::Error;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// A process that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// By its id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// This one.
    pub fn current() -> Self {
        Self { pid: std::process::id() }
    }

    /// The one that listens on a TCP port of this machine and network namespace.
    pub fn listening_on(address: SocketAddr) -> Result<Self, Error> {
        let inode = listener_inode(address.port()).ok_or(Error::NobodyListens(address))?;
        let socket = format!("socket:[{inode}]");
        let owns = |pid: &u32| {
            fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
                descriptors
                    .flatten()
                    .filter_map(|entry| fs::read_link(entry.path()).ok())
                    .any(|target| target.as_os_str() == socket.as_str())
            })
        };
        let processes = fs::read_dir("/proc").map_err(Error::io("list /proc"))?;
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(owns)
            .map(Self::new)
            .ok_or(Error::NobodyListens(address))
    }

    /// Its id.
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// CPU time of all its threads, those that have ended too: utime + stime. It counts in ticks,
    /// usually of 10 ms.
    pub fn cpu_time(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let after_name = &stat[stat.rfind(')')? + 1..];
        let mut fields = after_name.split_ascii_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let ticks = rustix::param::clock_ticks_per_second();
        Some(Duration::from_secs(user + system) / u32::try_from(ticks).ok()?)
    }

    /// Resident memory in KiB.
    pub fn memory_kib(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Open descriptors.
    pub fn descriptors(self) -> Option<usize> {
        Some(fs::read_dir(format!("/proc/{}/fd", self.pid)).ok()?.count())
    }

    /// Binds all its threads to a CPU until the guard is dropped. Threads that start meanwhile
    /// inherit it.
    pub fn pin(self, cpu: usize) -> Result<Pinned, Error> {
        if cpu >= CpuSet::MAX_CPU {
            return Err(Error::Invalid(format!("there is no CPU {cpu}")));
        }
        let all = own_cpus()?;
        let mut one = CpuSet::new();
        one.set(cpu);
        self.set_affinity(&one)
            .map_err(Error::system(format!("bind process {} to CPU {cpu}", self.pid)))?;
        Ok(Pinned { process: self, all })
    }

    fn set_affinity(self, set: &CpuSet) -> rustix::io::Result<()> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return Err(rustix::io::Errno::SRCH);
        };
        for thread in threads.flatten() {
            let thread = thread.file_name().to_str().and_then(|name| name.parse().ok());
            match thread.and_then(Pid::from_raw).map(|thread| sched_setaffinity(Some(thread), set))
            {
                // It may end while the list is walked.
                None | Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => {}
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A process that is bound to one CPU.
#[derive(Debug)]
pub struct Pinned {
    process: Process,
    all: CpuSet,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It may have ended: nothing to give back then.
        let _ = self.process.set_affinity(&self.all);
    }
}

/// The CPUs of this machine, divided between a server and clients that stand for other machines.
#[derive(Debug, Clone)]
pub struct Cpus {
    /// Where the server is.
    pub server: CpuSet,
    /// Where its clients are.
    pub clients: CpuSet,
}

impl Cpus {
    /// Half of them for each.
    ///
    /// # Errors
    ///
    /// If there is only one that may be used.
    pub fn divide() -> Result<Self, Error> {
        let all = own_cpus()?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        let (mut server, mut clients) = (CpuSet::new(), CpuSet::new());
        let (of_server, of_clients) = usable.split_at(usable.len() / 2);
        of_server.iter().for_each(|cpu| server.set(*cpu));
        of_clients.iter().for_each(|cpu| clients.set(*cpu));
        if of_server.is_empty() {
            let why = "server and clients can't be on different CPUs: there is only one";
            return Err(Error::Unavailable(why.to_owned()));
        }
        Ok(Self { server, clients })
    }
}

/// Binds this thread to CPUs until the guard is dropped, and whatever it starts meanwhile for good.
pub fn bind_thread(cpus: &CpuSet) -> Result<BoundThread, Error> {
    let before = own_cpus()?;
    sched_setaffinity(None, cpus).map_err(Error::system("bind a thread to CPUs"))?;
    Ok(BoundThread { before, _stays_on_its_thread: PhantomData })
}

/// A thread that is bound to some CPUs.
#[derive(Debug)]
pub struct BoundThread {
    before: CpuSet,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl Drop for BoundThread {
    fn drop(&mut self) {
        // It was there before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Has the kernel run this thread before all that are not as urgent, for as long as it lives
/// (SCHED_FIFO; util-linux has the program).
pub fn thread_goes_first() -> Result<(), Error> {
    let thread = rustix::thread::gettid().to_string();
    let mut chrt = Command::new("chrt");
    let chrt = chrt.args(["--fifo", "--pid", "1", &thread]).output();
    let said = chrt.map_err(Error::io("run chrt"))?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr);
    Err(Error::Unavailable(format!("no thread can go first here: {}", why.trim())))
}

/// How long this thread has waited for a CPU since it began; zero where the kernel does not tell.
pub fn thread_waited() -> Duration {
    let said = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = said.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn own_cpus() -> Result<CpuSet, Error> {
    rustix::thread::sched_getaffinity(None).map_err(Error::system("own CPUs"))
}

fn listener_inode(port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = fs::read_to_string(table) else { continue };
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let [_, local, _, LISTEN, _, _, _, _, _, inode, ..] = fields[..]
                && local.ends_with(&port)
            {
                return inode.parse().ok();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(Process::listening_on(address).unwrap(), Process::current());
        drop(listener);
        assert!(matches!(Process::listening_on(address), Err(Error::NobodyListens(_))));
    }

    #[test]
    fn server_and_clients_share_no_cpu() {
        match Cpus::divide() {
            Ok(Cpus { server, clients }) => {
                let of = |set: &CpuSet, cpu| set.is_set(cpu);
                assert!((0..CpuSet::MAX_CPU).all(|cpu| !(of(&server, cpu) && of(&clients, cpu))));
                assert!(server.count() > 0 && clients.count() >= server.count());
                let before = own_cpus().unwrap();
                let bound = bind_thread(&clients).unwrap();
                assert_eq!(own_cpus().unwrap(), clients);
                let inherited = std::thread::spawn(|| own_cpus().unwrap());
                assert_eq!(inherited.join().unwrap(), clients);
                drop(bound);
                assert_eq!(own_cpus().unwrap(), before);
            }
            Err(_) => assert_eq!(own_cpus().unwrap().count(), 1),
        }
    }

    #[test]
    fn costs_are_read() {
        let current = Process::current();
        assert!(current.memory_kib().unwrap() > 100);
        assert!(current.descriptors().unwrap() >= 3);
        assert!(current.cpu_time().is_some());
        assert!(Process::new(u32::MAX).cpu_time().is_none());
    }
}
