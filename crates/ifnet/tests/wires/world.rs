//! What drives a wire in the tests, as a driver does, and network namespaces of the kernel.

use holm_ifnet::wire::{Received, Sent, Wire};
use holm_ifnet::{Frame, Frames};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, Once};

/// A wire that is only asked when its descriptor has an event, waited for edge-triggered.
pub struct Driven<W> {
    pub wire: W,
    events: OwnedFd,
    /// What has come and was not taken.
    pub frames: Frames,
    /// What was counted.
    pub received: Received,
    /// What is not sent yet.
    pub left: Frames,
    pub sent: Sent,
}

impl<W: Wire> Driven<W> {
    pub fn new(wire: W) -> Self {
        let events = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&events, wire.fd(), EventData::new_u64(0), flags).unwrap();
        let told = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        epoll::add(&events, &told, EventData::new_u64(0), flags).unwrap();
        wire.on_change(Arc::new(move || {
            rustix::io::write(&told, &1_u64.to_ne_bytes()).unwrap();
        }));
        let (frames, left) = (Frames::new(), Frames::new());
        Self { wire, events, frames, received: Received::default(), left, sent: Sent::default() }
    }

    /// Waits for an event, and does what a driver does then.
    pub fn turn(&mut self) -> std::io::Result<()> {
        let mut event = [MaybeUninit::uninit(); 1];
        loop {
            match epoll::wait(&self.events, &mut event, None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // Few at a time: what more there is takes no event.
        loop {
            let received = self.wire.receive(&mut self.frames, 3)?;
            self.received.malformed += received.malformed;
            self.received.missed += received.missed;
            if !received.more {
                break;
            }
        }
        self.flush();
        Ok(())
    }

    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.turn().unwrap();
        }
    }

    /// The next frame that is one of the tests': the kernel has some of its own to send.
    pub fn frame(&mut self) -> Frame {
        loop {
            let ours = self.frames.iter().position(|frame| is_ours(frame));
            if let Some(first) = ours {
                let mut before: Frames = self.frames.drain(..=first).collect();
                return before.pop().unwrap();
            }
            self.frames.clear();
            self.turn().unwrap();
        }
    }

    pub fn send(&mut self, frames: impl IntoIterator<Item = Frame>) {
        self.left.extend(frames);
        self.flush();
    }

    fn flush(&mut self) {
        let sent = self.wire.send(&mut self.left).unwrap();
        self.sent.frames += sent.frames;
        self.sent.bytes += sent.bytes;
        self.sent.lost += sent.lost;
    }
}

/// A frame of so many bytes that differs from others, of the type for local experiments.
pub fn frame(number: usize, bytes: usize) -> Frame {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    frame.extend((0..bytes).skip(frame.len()).map(|at| (at * 7 + number) as u8));
    frame.into()
}

fn is_ours(frame: &[u8]) -> bool {
    frame[12..14] == [0x88, 0xb5] || frame[12..18] == [0x81, 0, 0x20, 7, 0x88, 0xb5]
}

/// Runs a test in a network namespace of the kernel's that is there for it alone. As root.
pub fn in_a_netns(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    // Before there is no way out.
    install_ip();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: it changes nothing but in which network namespace this thread makes sockets.
            unsafe {
                let network = rustix::thread::UnshareFlags::NEWNET;
                rustix::thread::unshare_unsafe(network).unwrap();
            }
            // Less noise. Where the kernel has no IPv6 there is none.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Sees to it that there is `ip`.
fn install_ip() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if Command::new("ip").arg("-V").output().is_ok() {
            return;
        }
        let package = ["install", "-y", "--no-install-recommends", "iproute2"];
        for step in [&["update"][..], &package] {
            let done = Command::new("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(step)
                .status();
            assert!(done.unwrap().success(), "apt-get {step:?}");
        }
    });
}

/// Another network namespace of the kernel's.
pub fn other_netns() -> File {
    let thread = std::thread::spawn(|| {
        // SAFETY: it changes nothing but in which network namespace this thread makes sockets.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap();
        }
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    thread.join().unwrap()
}

/// Brings up an end of a veth pair whose other end is up.
pub fn bring_up(name: &str) {
    ip(&format!("link set {name} up"));
    // The kernel throws away what is sent before it has noticed that both are.
    while !ip(&format!("-oneline link show {name}")).contains("state UP") {
        std::thread::yield_now();
    }
}

/// A program that was started has our descriptors for a moment.
static STARTING: Mutex<()> = Mutex::new(());

/// Closes what nobody else has then.
pub fn close<T>(it: T) {
    let _nobody_starts = STARTING.lock();
    drop(it);
}

/// Runs `ip` in the namespace of this thread, and returns what it says.
pub fn ip(arguments: &str) -> String {
    let output = {
        let _starts = STARTING.lock();
        Command::new("ip").args(arguments.split_whitespace()).output()
    };
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
