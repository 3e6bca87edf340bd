//! A server in this process, reached as its clients reach it: bytes in, bytes out.

pub use crate::calls::{fh, mode, place};
use crate::world::{key, memory};
use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfs_proto::nfs3::{self, Call, Error, Outcome};
use holm_nfs_proto::{mount, portmap, rpcbind};
use holm_nfsd::cache::{
    Caches, Clock, Job, Limits as CacheLimits, Object, Watcher, Within, Worker,
};
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::identity::{Privileges, SquashWho};
use holm_nfsd::localio::Session;
use holm_nfsd::service::{
    Blocking, Context, Listening, Operation, Peer, Service, Transport, Unflushed,
};
use holm_sunrpc::auth::{AuthSys, Credential, Groups};
use holm_sunrpc::message::{Refusal, Reply, encode_call};
use holm_sunrpc::record::Frame;
use holm_sunrpc::{Broken, Connection, Limits, Programs, Step};
use holm_xdr::{Decode, Encode, Encoder, Opaque};
use rustix::event::{PollFd, PollFlags};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// The thread that serves, the programs, and the namespace that it is in.
pub struct Thread {
    context: RefCell<Context<Told>>,
    programs: Programs<Context<Told>>,
    next_xid: Cell<u32>,
    pub tenant: Option<Tenant>,
}

impl Thread {
    /// In a namespace whose cache hears of nothing and asks once a second.
    pub fn new() -> Rc<Self> {
        Self::within(Some(Tenant::new(Watcher::refusing(), Clock::monotonic())))
    }

    pub fn within(tenant: Option<Tenant>) -> Rc<Self> {
        let context = RefCell::new(Context::new(privileges(), Told::default()).unwrap());
        let programs = holm_nfsd::programs();
        Rc::new(Self { context, programs, next_xid: Cell::new(1), tenant })
    }

    /// Does something on the thread that needs what it serves with.
    pub fn with_context<R>(&self, work: impl FnOnce(&mut Context<Told>) -> R) -> R {
        work(&mut self.context.borrow_mut())
    }

    /// What may have blocked since this was asked last, or since it was asked for the first time.
    pub fn told(&self) -> Vec<(&'static str, Handle)> {
        let context = self.context.borrow();
        context.blocking().0.borrow_mut().replace(Vec::new()).unwrap_or_default()
    }
}

/// Keeps what it is told of, once it was asked.
#[derive(Default)]
pub struct Told(RefCell<Option<Vec<(&'static str, Handle)>>>);

impl Blocking for Told {
    fn may_block<R>(&self, operation: &Operation<'_>, work: impl FnOnce() -> R) -> R {
        if let Some(told) = &mut *self.0.borrow_mut() {
            let object = operation.object.map(|object| object.as_bytes().to_vec());
            told.push((operation.procedure, object.unwrap_or_default()));
        }
        work()
    }
}

/// A namespace with a cache.
pub struct Tenant {
    registry: Registry,
    pub ns: Namespace,
    pub caches: Caches<Object>,
    pub clock: Clock,
    pub jobs: Jobs,
}

/// Keeps jobs until they are asked for.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<Vec<Job>>>);

impl Worker for Jobs {
    fn spawn(&self, _: &Namespace, job: Job) {
        self.0.lock().unwrap().push(job);
    }
}

impl Jobs {
    pub fn run(&self) {
        loop {
            let jobs = std::mem::take(&mut *self.0.lock().unwrap());
            if jobs.is_empty() {
                return;
            }
            jobs.into_iter().for_each(|job| job());
        }
    }
}

impl Tenant {
    pub fn new(watcher: Watcher, clock: Clock) -> Self {
        let jobs = Jobs::default();
        let caches = Caches::new(CacheLimits::files(1000), watcher, clock.clone(), jobs.clone());
        let registry = Registry::new().unwrap();
        registry.register(caches.clone()).unwrap();
        let ns = registry.create("blue").unwrap();
        Self { registry, ns, caches, clock, jobs }
    }

    /// Waits until the watcher has a notice, and does all there is to do.
    pub fn watch(&self) {
        let fd = self.caches.watcher_fd().unwrap();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        while self.caches.readable() {}
        self.jobs.run();
    }

    /// Begins to remove it; whether it is gone.
    pub fn begin_removal(&self) -> bool {
        self.registry.remove([&self.ns], Deadline::now()).is_ok()
    }

    pub fn remove(&self) {
        self.registry.remove([&self.ns], Deadline::Never).unwrap();
        assert_eq!(self.caches.open_files(), 0);
    }
}

pub fn privileges() -> &'static Privileges {
    Box::leak(Box::new(Privileges::detect().unwrap()))
}

/// An export of `directory` at `/` that takes every caller at its word.
pub fn trusting(directory: &Path) -> ExportOptions {
    let mut options = ExportOptions::new("/".parse().unwrap(), directory);
    options.squash.who = SquashWho::Nobody;
    options
}

pub fn service(exports: Vec<ExportOptions>) -> Arc<Service> {
    let service = Service::new(key(), Default::default()).unwrap();
    let open = |options| Arc::new(Export::open(options, &key(), || Ok(memory())).unwrap());
    let exports = exports.into_iter().map(open).collect();
    service.set_exports(ExportTable::new(exports).unwrap());
    let at = LOCAL.parse().unwrap();
    let both = [Transport::Tcp, Transport::Udp].map(|transport| Listening::new(transport, at));
    service.set_listening(both.to_vec());
    service
}

/// A client of one service.
#[derive(Clone)]
pub struct Client {
    pub thread: Rc<Thread>,
    pub service: Arc<Service>,
    pub peer: Peer,
    pub user: Option<(u32, u32)>,
}

/// A handle, as a client keeps it.
pub type Handle = Vec<u8>;

pub const LOCAL: &str = "127.0.0.1:2049";

impl Client {
    /// On this machine, from a privileged port, as root.
    pub fn new(thread: &Rc<Thread>, service: &Arc<Service>) -> Self {
        let peer = peer("127.0.0.1:700");
        Self { thread: thread.clone(), service: service.clone(), peer, user: Some((0, 0)) }
    }

    pub fn user(&self, id: u32) -> Self {
        Self { user: Some((id, id)), ..self.clone() }
    }

    pub fn from(&self, address: &str) -> Self {
        Self { peer: peer(address), ..self.clone() }
    }

    /// The namespace from within.
    pub fn within(&self) -> Within<Object> {
        Within::enter(&self.thread.tenant.as_ref().unwrap().ns).unwrap()
    }

    /// Has a message of a local client served, as a server does.
    pub fn at_the_door(&self, session: &Session<Object>, message: &[u8]) -> bool {
        let within = self.thread.tenant.as_ref().and_then(|tenant| Within::enter(&tenant.ns));
        let (Some(within), Some(peer)) = (within, session.peer()) else {
            return session.serve(message, None);
        };
        let mut context = self.thread.context.borrow_mut();
        let served = context.attend_within(within, &self.service, peer, |context| {
            session.serve(message, Some(context))
        });
        served.unwrap()
    }

    pub fn write_verifier(&self) -> [u8; 8] {
        self.within().write_verifier().0
    }

    pub fn xid(&self) -> u32 {
        let xid = self.thread.next_xid.get();
        self.thread.next_xid.set(xid + 1);
        xid
    }

    /// Sends one call and gives what comes back, without the record mark; nothing may come.
    pub fn send(&self, xid: u32, procedure: (u32, u32, u32), arguments: &[u8]) -> Option<Vec<u8>> {
        let mut call = Encoder::new();
        self.frame(&mut call, xid, procedure, arguments);
        let mut connection = Connection::new(Limits::default());
        let mut rest = &*call;
        let mut context = self.thread.context.borrow_mut();
        while !rest.is_empty() {
            let space = connection.space();
            let count = rest.len().min(space.len());
            space[..count].copy_from_slice(&rest[..count]);
            connection.received(count);
            rest = &rest[count..];
            let serve =
                |context: &mut Context<Told>| connection.serve(&self.thread.programs, context, 64);
            let step = match &self.thread.tenant {
                None => context.attend(&self.service, self.peer, serve),
                Some(tenant) => {
                    let within = Within::enter(&tenant.ns).unwrap();
                    match context.attend_within(within, &self.service, self.peer, serve) {
                        Ok(step) => step,
                        Err(Unflushed { .. }) => return None,
                    }
                }
            };
            // A long reply is to be sent before anything more is served: nothing more comes.
            let goes_on = matches!(step, Ok(Step::Receive | Step::Send) | Err(Broken::Unanswered));
            assert!(goes_on, "{step:?}");
        }
        connection.unsent().get(4..).map(<[u8]>::to_vec)
    }

    /// Sends calls that are ready at once, and gives their statuses; none if they may not be answered.
    /// `then` happens when all are served.
    pub fn send_together(
        &self,
        calls: &[(u32, Call<'_>)],
        then: impl FnOnce(),
    ) -> Option<Vec<u32>> {
        let connection = self.serve_together(calls, calls.len() + 1, Step::Receive, then)?;
        let mut replies = connection.unsent();
        let mut statuses = Vec::new();
        while let Some((mark, rest)) = replies.split_first_chunk() {
            let (reply, rest) = rest.split_at((u32::from_be_bytes(*mark) & !LAST) as usize);
            statuses.push(status(reply));
            replies = rest;
        }
        Some(statuses)
    }

    /// Sends calls that are ready at once, of which so many are served before `then` happens.
    pub fn serve_together(
        &self,
        calls: &[(u32, Call<'_>)],
        budget: usize,
        ends: Step,
        then: impl FnOnce(),
    ) -> Option<Connection> {
        let mut all = Encoder::new();
        for (xid, call) in calls {
            let mut arguments = Encoder::new();
            arguments.put(call);
            let procedure = (nfs3::PROGRAM, nfs3::VERSION, call.procedure().number());
            self.frame(&mut all, *xid, procedure, &arguments);
        }
        let mut connection = Connection::new(Limits::default());
        connection.space()[..all.len()].copy_from_slice(&all);
        connection.received(all.len());
        let within = Within::enter(&self.thread.tenant.as_ref().unwrap().ns).unwrap();
        let mut context = self.thread.context.borrow_mut();
        let attended = context.attend_within(within, &self.service, self.peer, |context| {
            let step = connection.serve(&self.thread.programs, context, budget);
            assert_eq!(step, Ok(ends));
            then();
        });
        attended.ok()?;
        Some(connection)
    }

    /// Serves once more what waits on a connection.
    pub fn serve_waiting(&self, connection: &mut Connection) {
        let within = Within::enter(&self.thread.tenant.as_ref().unwrap().ns).unwrap();
        let mut context = self.thread.context.borrow_mut();
        let attended = context.attend_within(within, &self.service, self.peer, |context| {
            connection.serve_waiting(&self.thread.programs, context)
        });
        assert_eq!(attended.unwrap(), Ok(Step::Receive));
    }

    fn frame(&self, out: &mut Encoder, xid: u32, procedure: (u32, u32, u32), arguments: &[u8]) {
        let frame = Frame::begin(out);
        encode_call(out, xid, procedure, &credential(self.user));
        out.raw(arguments);
        frame.end(out).unwrap();
    }

    pub fn try_call<R: Decode<'static>>(
        &self,
        procedure: (u32, u32, u32),
        arguments: &impl Encode,
    ) -> Result<R, Refusal> {
        let mut encoded = Encoder::new();
        arguments.encode(&mut encoded);
        let reply = self.send(self.xid(), procedure, &encoded).expect("a reply");
        decode(reply)
    }

    /// Calls NFS.
    pub fn nfs<R: Decode<'static>>(&self, call: &Call<'_>) -> R {
        let procedure = (nfs3::PROGRAM, nfs3::VERSION, call.procedure().number());
        self.try_call(procedure, call).unwrap()
    }

    /// Calls NFS, and gives what the result begins with: 0 is success.
    pub fn status(&self, call: &Call<'_>) -> u32 {
        let mut arguments = Encoder::new();
        arguments.put(call);
        let number = call.procedure().number();
        let reply = self.send(self.xid(), (nfs3::PROGRAM, nfs3::VERSION, number), &arguments);
        status(&reply.expect("a reply"))
    }

    pub fn mount_call<R: Decode<'static>>(&self, call: &mount::Call<'_>) -> R {
        let procedure = (mount::PROGRAM, mount::VERSION, call.procedure().number());
        self.try_call(procedure, call).unwrap()
    }

    pub fn portmap_call<R: Decode<'static>>(&self, call: &portmap::Call<'_>) -> R {
        let procedure = (portmap::PROGRAM, portmap::VERSION, call.procedure().number());
        self.try_call(procedure, call).unwrap()
    }

    pub fn rpcbind_call<R: Decode<'static>>(
        &self,
        version: u32,
        call: &rpcbind::Call<'_>,
    ) -> Result<R, Refusal> {
        self.try_call((rpcbind::PROGRAM, version, call.procedure().number()), call)
    }

    pub fn mount(&self, path: &str) -> Result<Handle, mount::Error> {
        match self.mount_call(&mount::Call::Mnt(Opaque::new(path.as_bytes()).unwrap())) {
            mount::MountRes::Ok(ok) => Ok(ok.handle.to_vec()),
            mount::MountRes::Failed(error) => Err(error),
        }
    }

    pub fn getattr(&self, handle: &[u8]) -> Result<nfs3::Attributes, Error> {
        let call = Call::GetAttr(nfs3::GetAttrArgs { object: fh(handle) });
        self.nfs::<nfs3::GetAttrRes>(&call).into_result().map(|ok| ok.attributes)
    }

    pub fn lookup(&self, dir: &[u8], name: &[u8]) -> Result<Handle, Error> {
        let call = Call::Lookup(nfs3::LookupArgs { what: place(dir, name) });
        self.nfs::<nfs3::LookupRes<'_>>(&call).into_result().map(|ok| ok.object.to_vec())
    }

    /// The whole result, with its weak cache consistency data.
    pub fn create_how(
        &self,
        dir: &[u8],
        name: &[u8],
        how: nfs3::CreateHow,
    ) -> nfs3::CreateRes<'static> {
        self.nfs(&Call::Create(nfs3::CreateArgs { place: place(dir, name), how }))
    }

    pub fn create(&self, dir: &[u8], name: &[u8]) -> Result<Handle, Error> {
        let how = nfs3::CreateHow::Guarded(mode(0o644));
        made(self.create_how(dir, name, how))
    }

    pub fn mkdir(&self, dir: &[u8], name: &[u8]) -> Result<Handle, Error> {
        let attributes = mode(0o755);
        made(self.nfs(&Call::MkDir(nfs3::MkDirArgs { place: place(dir, name), attributes })))
    }

    pub fn remove(&self, dir: &[u8], name: &[u8]) -> nfs3::RemoveRes {
        self.nfs(&Call::Remove(nfs3::RemoveArgs { object: place(dir, name) }))
    }

    pub fn rmdir(&self, dir: &[u8], name: &[u8]) -> nfs3::RemoveRes {
        self.nfs(&Call::RmDir(nfs3::RemoveArgs { object: place(dir, name) }))
    }

    pub fn rename(&self, from: (&[u8], &[u8]), to: (&[u8], &[u8])) -> nfs3::RenameRes {
        let (from, to) = (place(from.0, from.1), place(to.0, to.1));
        self.nfs(&Call::Rename(nfs3::RenameArgs { from, to }))
    }

    pub fn link(&self, file: &[u8], dir: &[u8], name: &[u8]) -> nfs3::LinkRes {
        self.nfs(&Call::Link(nfs3::LinkArgs { file: fh(file), link: place(dir, name) }))
    }

    pub fn write_how(
        &self,
        file: &[u8],
        offset: u64,
        data: &[u8],
        stable: nfs3::StableHow,
    ) -> nfs3::WriteRes {
        let (count, data) = (data.len() as u32, Opaque::new(data).unwrap());
        self.nfs(&Call::Write(nfs3::WriteArgs { file: fh(file), offset, count, stable, data }))
    }

    pub fn write(&self, file: &[u8], offset: u64, data: &[u8]) -> Result<nfs3::WriteOk, Error> {
        self.write_how(file, offset, data, nfs3::StableHow::Unstable).into_result()
    }

    pub fn read(&self, file: &[u8], offset: u64, count: u32) -> Result<(Vec<u8>, bool), Error> {
        let call = Call::Read(nfs3::ReadArgs { file: fh(file), offset, count });
        let ok = self.nfs::<nfs3::ReadRes<'_>>(&call).into_result()?;
        assert_eq!(ok.count as usize, ok.data.len());
        Ok((ok.data.to_vec(), ok.eof))
    }

    pub fn commit(&self, file: &[u8]) -> nfs3::CommitRes {
        self.nfs(&Call::Commit(nfs3::CommitArgs { file: fh(file), offset: 0, count: 0 }))
    }

    pub fn setattr(
        &self,
        object: &[u8],
        new_attributes: nfs3::SetAttributes,
        guard: Option<nfs3::Time>,
    ) -> nfs3::SetAttrRes {
        let object = fh(object);
        self.nfs(&Call::SetAttr(nfs3::SetAttrArgs { object, new_attributes, guard }))
    }

    pub fn access(&self, object: &[u8], access: u32) -> Result<u32, Error> {
        let call = Call::Access(nfs3::AccessArgs { object: fh(object), access });
        self.nfs::<nfs3::AccessRes>(&call).into_result().map(|ok| ok.access)
    }
}

pub fn peer(address: &str) -> Peer {
    Peer::new(Transport::Tcp, address.parse().unwrap(), LOCAL.parse::<SocketAddr>().unwrap())
}

pub fn decode<R: Decode<'static>>(reply: Vec<u8>) -> Result<R, Refusal> {
    // Tests don't live long.
    let reply = Reply::decode(Vec::leak(reply)).unwrap();
    let mut results = reply.outcome?;
    let decoded = results.get().unwrap();
    results.finish().unwrap();
    Ok(decoded)
}

pub fn made(result: nfs3::CreateRes<'static>) -> Result<Handle, Error> {
    result.into_result().map(|ok| ok.object.expect("a handle").to_vec())
}

/// What a procedure failed with, and what it said beside.
pub fn failure<T: std::fmt::Debug, F>(outcome: Outcome<T, F>) -> (Error, F) {
    match outcome {
        Outcome::Failed(error, detail) => (error, detail),
        Outcome::Ok(ok) => panic!("{ok:?}"),
    }
}

/// What the results begin with: behind transaction, reply, accepted, verifier, success.
fn status(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[24..28].try_into().unwrap())
}

/// Of a record mark: the last fragment (RFC 5531, section 11).
const LAST: u32 = 1 << 31;

fn credential(user: Option<(u32, u32)>) -> Credential<'static> {
    user.map_or(Credential::None, |(uid, gid)| {
        let machine_name = Opaque::new(b"test").unwrap();
        Credential::Sys(AuthSys { stamp: 0, machine_name, uid, gid, gids: Groups::default() })
    })
}
