//! Reads the numbers from the parts that count.

use super::statistics::{
    Errors, Files, Latency, LinkStatistics, Local, NamespaceStatistics, Operations, PoolStatistics,
    Statistics,
};
use crate::model::LinkCounters;
use crate::nfs::Nfs;
use crate::server::Server;
use holm_ifnet::{Flags, IfnetSubsystem, Interface, NsInterfaces, lo};
use holm_lifetime::Ref;
use holm_netns::{Inside, NsId};
use holm_nfs_proto::nfs3;
use holm_nfsd::Status;
use holm_nfsd::cache::{Cache, Caches, Object};
use holm_nfsd::service::Service;
use holm_nfsd::statistics::ProcedureStatistics;
use holm_pool::PoolSubsystem;
use rustix::time::{ClockId, clock_gettime};

impl Statistics {
    /// What has happened in a server until now. Takes no lock that serving takes.
    pub fn read(server: &Server) -> Self {
        let live = server.registry().list();
        let namespaces = live.iter().filter_map(|listed| {
            // What drains can't be entered, and counts no more.
            namespace(listed.ns.id(), &listed.ns.enter()?)
        });
        let namespaces = namespaces.collect();
        let metrics = server.pool();
        let workers = metrics.workers;
        let pool = PoolStatistics {
            threads: workers.first + workers.second + workers.stuck + workers.spare,
            idle: workers.idle,
            second: workers.second,
            stuck: workers.stuck,
            spare: workers.spare,
            queued: metrics.queued,
            turns: metrics.turns,
            stuck_calls: metrics.stuck_calls,
        };
        Self { clock: clock(), pool, namespaces }
    }
}

fn namespace(id: &NsId, inside: &Inside) -> Option<NamespaceStatistics> {
    let served = inside.get::<Nfs>()?;
    let sockets = served.counted().read();
    let pool = inside.get::<PoolSubsystem>()?.metrics();
    Some(NamespaceStatistics {
        name: id.name.to_string(),
        id: id.id,
        connections: sockets.connections as u64,
        accepted: sockets.accepted,
        refused: sockets.refused,
        strangers: sockets.strangers,
        broken: sockets.broken,
        idle: sockets.idle,
        calls: sockets.calls,
        received: sockets.received,
        sent: sockets.sent,
        queued: pool.queued as u64,
        held_back: pool.held_back as u64,
        stuck_calls: pool.stuck_calls,
        slow: pool.slow,
        panics: pool.panics,
        files: inside.get::<Caches<Object>>().map(files).unwrap_or_default(),
        local: served.service().map(|service| local(service)).unwrap_or_default(),
        operations: served.service().map_or(Vec::new(), |service| operations(service)),
        links: inside.get::<IfnetSubsystem>().map(links).unwrap_or_default(),
    })
}

fn links(interfaces: &NsInterfaces) -> Vec<LinkStatistics> {
    let all = interfaces.list();
    let own = all.iter().filter(|interface| interface.kind() != lo::KIND);
    let one = |interface: &Ref<Interface>| LinkStatistics {
        name: interface.name().to_string(),
        running: interface.flags().has(Flags::UP | Flags::RUNNING),
        counters: LinkCounters::of(interface),
    };
    own.map(one).collect()
}

fn files(cache: &Cache<Object>) -> Files {
    let cache = cache.statistics();
    Files {
        open: cache.open,
        hits: cache.hits,
        opened: cache.opened,
        evicted: cache.evicted,
        changed: cache.changed,
        flushes: cache.flushes,
        failed_flushes: cache.failed_flushes,
    }
}

fn local(service: &Service) -> Local {
    let local = service.local().statistics();
    Local {
        clients: local.sessions,
        files: local.files,
        came: local.arrived,
        refused: local.turned_away,
        opened: local.opened,
        recalled: local.recalled,
        cut_off: local.cut_off,
    }
}

fn operations(service: &Service) -> Vec<Operations> {
    let all = service.statistics().read();
    let one = |of: &ProcedureStatistics| Operations {
        procedure: of.procedure.name().into(),
        latency: Latency {
            count: of.latency.count(),
            sum: of.latency.sum().as_secs_f64(),
            buckets: of.latency.counts().into(),
        },
        bytes: of.bytes,
        errors: of.errors.iter().map(|(status, count)| error(*status, *count)).collect(),
    };
    all.iter().map(one).collect()
}

fn error(status: Status, count: u64) -> Errors {
    Errors { status: nfs3::Error::from(status).name().into(), count }
}

/// Of the machine, in seconds: goes forward only.
fn clock() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}
