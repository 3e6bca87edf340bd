//! The door for local clients: whatever they say, and whatever happens meanwhile, they get files of the
//! export and nothing else, hear nothing after the end, and leave nothing behind.
#![no_main]

use holm_fuzz::world::{SECRET, Server, nfs3_results, peer, with_handles};
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfs_proto::localio::door::{Message, Request};
use holm_nfs_proto::nfs3;
use holm_nfsd::cache::{Caches, Clock, Job, Limits, Object, Watcher, Within, Worker};
use holm_nfsd::localio::{Line, PeerCredentials, Rules, Session};
use holm_nfsd::service::{Service, Transport};
use holm_sunrpc::auth::{AuthSys, Credential, Groups};
use holm_sunrpc::message::{Reply, encode_call};
use holm_sunrpc::{Framing, Served};
use holm_xdr::{Encode, Encoder, Opaque};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What serves, and the namespaces that it serves in.
struct State {
    server: Server,
    registry: Registry,
    caches: Caches<Object>,
}

/// Runs each job at once.
struct AtOnce;

impl Worker for AtOnce {
    fn spawn(&self, _: &Namespace, job: Job) {
        job();
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new({
        let limits = Limits::files(20);
        let caches = Caches::new(limits, Watcher::refusing(), Clock::manual(), AtOnce);
        let registry = Registry::new().expect("a registry");
        registry.register(caches.clone()).expect("the first");
        State { server: Server::new(false), registry, caches }
    });
}

fuzz_target!(|data: &[u8]| {
    STATE.with_borrow_mut(|state| {
        let (service, mut handles) = state.server.service();
        let ns = state.registry.create("fuzz").expect("the only one");
        let users = [0, OTHER].into();
        service.local().set_rules(Rules { users, sessions: 8, files: 6 });
        for name in [&b"file"[..], b"out", b"directory"] {
            handles.extend(lookup(state, &service, &handles[0], name));
        }
        let mut at = At { state, service: &service, ns: &ns, handles: &handles, last: [0; 16] };
        let mut clients = [None, None, None, None];
        let mut data = data;
        while let Some((what, rest)) = data.split_first() {
            data = at.step(*what, rest, &mut clients);
        }
        clients.iter().flatten().for_each(Local::leave);
        let left = service.local().statistics();
        assert_eq!((left.files, left.sessions), (0, 0), "left behind");
        drop(service);
        state.registry.remove([&ns], Deadline::Never).expect("nobody is inside");
        assert_eq!(state.caches.open_files(), 0);
        state.server.check_beside();
    });
});

/// What a step happens to.
struct At<'a> {
    state: &'a mut State,
    service: &'a Arc<Service>,
    ns: &'a Namespace,
    handles: &'a [Vec<u8>],
    /// The UUID that was registered last.
    last: [u8; 16],
}

impl At<'_> {
    /// Gives the rest of the input.
    fn step<'d>(&mut self, what: u8, data: &'d [u8], clients: &mut [Option<Local>; 4]) -> &'d [u8] {
        let which = usize::from(what >> 6);
        match what & 7 {
            // A message of a client; most of what happens.
            0..=3 => {
                let Some((length, rest)) = data.split_first() else { return data };
                let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                let packet = with_handles(packet, self.handles);
                if let Ok(Request::Register(uuid)) = Request::from_packet(&packet) {
                    self.last = uuid;
                }
                if let Some(local) = &clients[which] {
                    self.say(local, &packet);
                }
                return rest;
            }
            // A client comes, in the place of another.
            4 => {
                if let Some(local) = clients[which].take() {
                    local.leave();
                }
                let uid = if what & 8 == 0 { 0 } else { OTHER };
                clients[which] = Local::arrive(self.service, uid);
            }
            5 => {
                self.service.local().prove(&self.last, peer(Transport::Tcp));
            }
            6 => {
                let exports = self.service.exports();
                exports.exports().iter().for_each(|e| self.service.local().recall_export(e.id()));
            }
            _ if what & 8 == 0 => drop(self.service.local().end_overdue(Instant::now())),
            _ => self.service.local().recall_all(),
        }
        data
    }

    fn say(&mut self, local: &Local, packet: &[u8]) {
        let within = Within::enter(self.ns).expect("it is there");
        let goes_on = match local.session.peer() {
            None => local.session.serve(packet, None),
            Some(peer) => {
                let context = self.state.server.context.as_mut().expect("it serves");
                let served = context.attend_within(within, self.service, peer, |context| {
                    local.session.serve(packet, Some(context))
                });
                served.expect("nothing is due")
            }
        };
        let heard = local.heard.lock().expect("nobody panics");
        assert!(goes_on || heard.ended, "it is over, and the line is not");
    }
}

/// A client.
struct Local {
    session: Arc<Session<Object>>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    last: u64,
    all_recalled: bool,
    ended: bool,
}

impl Local {
    fn arrive(service: &Service, uid: u32) -> Option<Self> {
        let heard = Arc::default();
        let who = PeerCredentials { pid: None, uid, gid: uid, groups: Vec::new() };
        let line = Ear(Arc::clone(&heard));
        let session = service.local().arrive(who, line).ok()?;
        Some(Self { session, heard })
    }

    fn leave(&self) {
        self.session.ended();
        assert!(self.heard.lock().expect("nobody panics").ended);
    }
}

struct Ear(Arc<Mutex<Heard>>);

impl Line for Ear {
    fn send(&self, message: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut heard = self.0.lock().expect("nobody panics");
        assert!(!heard.ended, "something is said after the end");
        let message = Message::from_packet(message).expect("a message");
        assert_eq!(matches!(message, Message::Opened(_)), file.is_some());
        match message {
            Message::Opened(opened) => {
                assert!(!heard.all_recalled, "lent after everything was recalled");
                assert!(opened.file > heard.last, "a number was used twice");
                heard.last = opened.file;
                check(file.expect("it was just there"));
            }
            Message::RecallAll => heard.all_recalled = true,
            _ => {}
        }
        Ok(())
    }

    fn end(&self) {
        self.0.lock().expect("nobody panics").ended = true;
    }
}

/// It is the one file of the export, and cannot be more than what it was opened for.
fn check(file: BorrowedFd<'_>) {
    let file = File::from(file.try_clone_to_owned().expect("a descriptor"));
    let found = file.metadata().expect("a file");
    assert!(found.is_file() && found.len() < 1 << 20);
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut content = Vec::new();
    if File::open(&again).and_then(|mut again| again.read_to_end(&mut content)).is_ok() {
        assert!(!content.windows(SECRET.len()).any(|bytes| bytes == SECRET), "the secret is out");
    }
    let reads_only = file.set_len(found.len()).is_err();
    let writes = File::options().write(true).open(&again);
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    // An ordinary user's server lends to that user what it has anyway.
    assert!(!(reads_only && is_root) || writes.is_err(), "opened again for writing");
}

/// The handle of a name in the export's root.
fn lookup(state: &mut State, service: &Arc<Service>, root: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let what = nfs3::DirOpArgs { dir: Opaque::new(root).ok()?, name: Opaque::new(name).ok()? };
    let mut call = Encoder::new();
    let credential =
        AuthSys { stamp: 1, machine_name: Opaque::EMPTY, uid: 0, gid: 0, gids: Groups::default() };
    let procedure = (nfs3::PROGRAM, nfs3::VERSION, nfs3::Procedure::Lookup.number());
    encode_call(&mut call, 1, procedure, &Credential::Sys(credential));
    nfs3::LookupArgs { what }.encode(&mut call);
    let mut out = Encoder::new();
    let Server { context: Some(context), programs, .. } = &mut state.server else { return None };
    let served = context.attend(service, peer(Transport::Tcp), |context| {
        programs.serve(context, &call, Framing::Datagram, &mut out)
    });
    let Ok(Served::Now) = served else { return None };
    let results = Reply::decode(&out).ok()?.outcome.ok()?;
    nfs3_results(nfs3::Procedure::Lookup, results.rest())
}

const OTHER: u32 = 1001;
