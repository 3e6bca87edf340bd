//! What a call costs from record to record: RPC, the program, the cache and the kernel's file systems,
//! without a socket. Run with `cargo bench -p holm-nfsd --bench calls [DIR]`, as root: otherwise files
//! are not opened by handle.
//!
//! Nanoseconds of the thread's CPU time for one call, the least of some rounds: what disturbs only
//! ever adds. Batches of 16, as a busy connection has them; with and without a cache.

use holm_lifetime::Deadline;
use holm_netns::{Namespace, Registry};
use holm_nfs_proto::nfs3::{self, Call, FileName};
use holm_nfsd::cache::{Caches, Clock, Job, Limits, Object, Watcher, Within, Worker};
use holm_nfsd::export::{Export, ExportOptions, ExportTable};
use holm_nfsd::handle::HandleKey;
use holm_nfsd::identity::Privileges;
use holm_nfsd::service::{Context, Inline, Peer, Service, Transport};
use holm_nfsd::store::PathDatabase;
use holm_sunrpc::auth::{AuthSys, Credential, Groups};
use holm_sunrpc::message::encode_call;
use holm_sunrpc::record::Frame;
use holm_sunrpc::{Connection, Limits as Records, Programs};
use holm_xdr::{Encoder, Opaque};
use rustix::time::{ClockId, clock_gettime};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FILES: usize = 1000;
const BATCH: usize = 16;
const ROUNDS: usize = 9;
const PER_ROUND: usize = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let above = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let above = above.map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = above.join(format!("holm-bench-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let result = measure(&directory);
    std::fs::remove_dir_all(&directory)?;
    result
}

fn measure(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for file in 0..FILES {
        let path = directory.join(format!("file-{file:06}"));
        std::fs::write(&path, [7; 8192])?;
        // Whoever it is that calls.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
    }
    let key = HandleKey::generate()?;
    let options = ExportOptions::new("/".parse()?, directory);
    let export = Export::open(options, &key, || PathDatabase::in_memory().map(Arc::new))?;
    let root = export.seal(&key, export.volume().root()?.id());
    let service = Service::new(key, Default::default())?;
    service.set_exports(ExportTable::new(vec![Arc::new(export)])?);

    let limits = Limits::files(8 * FILES);
    let caches = Caches::<Object>::new(limits, Watcher::new()?, Clock::monotonic(), Later);
    let registry = Registry::new()?;
    registry.register(caches.clone())?;
    let ns = registry.create("blue")?;
    let privileges: &'static Privileges = Box::leak(Box::new(Privileges::detect()?));
    let mut bench = Bench {
        context: Context::new(privileges, Inline)?,
        programs: holm_nfsd::programs(),
        service,
        ns,
        state: 12345,
    };

    let names: Vec<String> = (0..FILES).map(|file| format!("file-{file:06}")).collect();
    let place = |file: usize| nfs3::DirOpArgs {
        dir: Opaque::new(root.as_bytes()).unwrap_or_default(),
        name: FileName::new(names[file].as_bytes()).unwrap_or_default(),
    };
    let handles: Vec<Vec<u8>> = (0..FILES).map(|file| bench.find(place(file))).collect();
    let fh = |file: usize| Opaque::new(&handles[file]).unwrap_or_default();
    let data = [7; 4096];
    let write = |file, stable| {
        let data = Opaque::new(&data).unwrap_or_default();
        Call::Write(nfs3::WriteArgs { file: fh(file), offset: 0, count: 4096, stable, data })
    };
    type Make<'m> = Box<dyn Fn(usize) -> Call<'m> + 'm>;
    let calls: Vec<(&str, Make<'_>)> = vec![
        ("NULL", Box::new(|_| Call::Null)),
        ("GETATTR", Box::new(|file| Call::GetAttr(nfs3::GetAttrArgs { object: fh(file) }))),
        ("LOOKUP", Box::new(|file| Call::Lookup(nfs3::LookupArgs { what: place(file) }))),
        (
            "ACCESS",
            Box::new(|file| Call::Access(nfs3::AccessArgs { object: fh(file), access: 0x1f })),
        ),
        (
            "READ 4 KiB",
            Box::new(|file| {
                Call::Read(nfs3::ReadArgs { file: fh(file), offset: 4096, count: 4096 })
            }),
        ),
        ("WRITE 4 KiB, unstable", Box::new(|file| write(file, nfs3::StableHow::Unstable))),
        (
            "READDIRPLUS 32 KiB",
            Box::new(|_| {
                Call::ReadDirPlus(nfs3::ReadDirPlusArgs {
                    dir: Opaque::new(root.as_bytes()).unwrap_or_default(),
                    cookie: 0,
                    cookie_verifier: [0; 8],
                    dir_count: 32 << 10,
                    max_count: 32 << 10,
                })
            }),
        ),
    ];
    let only = std::env::var("HOLM_BENCH").ok();
    println!("| call | with the cache | without |\n| --- | ---: | ---: |");
    for (name, make) in calls {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let rounds = if name.starts_with("READDIR") { PER_ROUND / 100 } else { PER_ROUND / BATCH };
        // Alone, for a profile.
        let rounds = if only.is_some() { 20 * rounds } else { rounds };
        let with = bench.measure(rounds, true, &make);
        let without = if only.is_some() { 0.0 } else { bench.measure(rounds, false, &make) };
        println!("| {name} | {with:.0} ns | {without:.0} ns |");
    }
    drop(bench.context);
    registry.remove([&bench.ns], Deadline::Never).expect("nobody is inside");
    Ok(())
}

struct Bench {
    context: Context<Inline>,
    programs: Programs<Context<Inline>>,
    service: Arc<Service>,
    ns: Namespace,
    state: usize,
}

impl Bench {
    /// The handle of a name.
    fn find(&mut self, what: nfs3::DirOpArgs<'_>) -> Vec<u8> {
        let mut batch = Vec::new();
        record(&mut batch, &Call::Lookup(nfs3::LookupArgs { what }));
        let mut connection = Connection::new(Records::default());
        self.serve(&mut connection, &batch, true);
        // Behind record mark, reply header and status.
        let reply = connection.unsent();
        let length = usize::from(reply[35]);
        reply[36..36 + length].to_vec()
    }

    fn measure<'m>(
        &mut self,
        rounds: usize,
        cached: bool,
        make: &dyn Fn(usize) -> Call<'m>,
    ) -> f64 {
        let mut connection = Connection::new(Records::default());
        let mut least = f64::INFINITY;
        for round in 0..=ROUNDS {
            let batches: Vec<Vec<u8>> = (0..rounds).map(|_| self.batch(make)).collect();
            let start = cpu();
            for batch in &batches {
                self.serve(&mut connection, batch, cached);
                let all = connection.unsent().len();
                connection.sent(all);
            }
            let each = (cpu() - start) / (rounds * BATCH) as f64;
            // The first opens the files.
            if round > 0 {
                least = least.min(each);
            }
        }
        least
    }

    fn batch<'m>(&mut self, make: &dyn Fn(usize) -> Call<'m>) -> Vec<u8> {
        let mut batch = Vec::new();
        for _ in 0..BATCH {
            self.state =
                self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            record(&mut batch, &make((self.state >> 33) % FILES));
        }
        batch
    }

    fn serve(&mut self, connection: &mut Connection, mut batch: &[u8], cached: bool) {
        let at = "127.0.0.1:2049".parse().expect("an address");
        let peer = Peer::new(Transport::Tcp, "127.0.0.1:700".parse().expect("an address"), at);
        while !batch.is_empty() {
            let space = connection.space();
            let count = batch.len().min(space.len());
            space[..count].copy_from_slice(&batch[..count]);
            connection.received(count);
            batch = &batch[count..];
            let Self { context, programs, service, ns, .. } = self;
            let serve = |context: &mut Context<Inline>| {
                let _ = connection.serve(programs, context, 64).expect("records");
            };
            if cached {
                let within = Within::<Object>::enter(ns).expect("live");
                context.attend_within(within, service, peer, serve).expect("flushed");
            } else {
                context.attend(service, peer, serve);
            }
        }
    }
}

fn record(batch: &mut Vec<u8>, call: &Call<'_>) {
    let mut encoder = Encoder::new();
    let frame = Frame::begin(&mut encoder);
    let machine_name = Opaque::new(b"bench").unwrap_or_default();
    let credential = Credential::Sys(AuthSys {
        stamp: 0,
        machine_name,
        uid: 0,
        gid: 0,
        gids: Groups::default(),
    });
    let procedure = (nfs3::PROGRAM, nfs3::VERSION, call.procedure().number());
    encode_call(&mut encoder, 1, procedure, &credential);
    encoder.put(call);
    frame.end(&mut encoder).expect("small");
    batch.extend_from_slice(&encoder);
}

fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Closes nothing before the end.
struct Later;

impl Worker for Later {
    fn spawn(&self, _: &Namespace, _: Job) {}
}
