//! Operations that are stuck, on a file system that never answers: what is said of them, who goes on,
//! and how it ends.

use crate::calls::fh;
use crate::rpc::Rpc;
use crate::strangers::{port, tenant};
use crate::wedge::{Asked, CONTENT, FILE, Wedge};
use crate::world::{World, in_mounts_of_its_own};
use holm::model::{
    ExportSpec, HeldView, HolderView, LimitsSpec, NamespaceSpec, NamespaceState, NamespaceView,
};
use holm::server::{Error, Options, Server};
use holm_lifetime::Deadline;
use holm_nfs_proto::nfs3::{self, Call};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn what_is_stuck_is_named_and_ends_by_itself() {
    in_mounts_of_its_own("stuck::what_is_stuck_is_named_and_ends_by_itself", || {
        for asked in [Asked::Lookup, Asked::GetAttr, Asked::Open, Asked::Read] {
            let setting = Setting::new();
            let Setting { wedge, server, blue, .. } = &setting;
            let mut client = Rpc::connect(port(blue));
            let root = client.mount("/").unwrap();
            let file = client.lookup(&root, FILE.as_bytes()).unwrap();
            wedge.stop_answering(asked);
            client.begin(&read(&file));
            wedge.wait_for_stuck(1);
            let held = still_held(server.del_namespace("blue", Deadline::after(PATIENCE)));
            let [holder] = &named(&held)[..] else { panic!("{asked:?}: {held:?}") };
            assert_eq!(holder.operation.as_deref(), Some("READ"), "{asked:?}");
            assert_eq!(holder.object.as_deref(), Some("/file"), "{asked:?}");
            assert_eq!(holder.export.as_deref(), Some("/"));
            assert_eq!(holder.client.as_deref(), Some("127.0.0.1"));
            assert!(holder.at.contains(".rs:"), "{}", holder.at);
            assert!(holder.age >= PATIENCE.as_secs_f64() * 0.9, "{}", holder.age);

            setting.others_go_on();

            // Nobody asks for it again, and it ends.
            let ns = server.registry().resolve(&address(blue)).unwrap();
            wedge.answer();
            ns.wait_gone(Deadline::Never).unwrap();
            assert!(matches!(client.end(), Some(0) | None));
            assert!(matches!(server.namespace(&address(blue)), Err(Error::NotFound(_))));
            setting.end();
        }
    });
}

#[test]
fn a_close_that_is_stuck_is_named_and_ends_by_itself() {
    in_mounts_of_its_own("stuck::a_close_that_is_stuck_is_named_and_ends_by_itself", || {
        let setting = Setting::new();
        let Setting { wedge, server, blue, .. } = &setting;
        let mut client = Rpc::connect(port(blue));
        let root = client.mount("/").unwrap();
        let file = client.lookup(&root, FILE.as_bytes()).unwrap();
        wedge.stop_answering(Asked::Flush);
        // Open from now on, and closed with the namespace at the latest.
        assert_eq!(client.read(&file, 0, 100).unwrap(), CONTENT);
        let held = still_held(server.del_namespace("blue", Deadline::after(PATIENCE)));
        wedge.wait_for_stuck(1);
        assert!(held.exiting.is_some() || held.count > 0, "{held:?}");
        setting.others_go_on();
        let ns = server.registry().resolve(&address(blue)).unwrap();
        wedge.answer();
        ns.wait_gone(Deadline::Never).unwrap();
        setting.end();
    });
}

#[test]
fn what_is_stuck_ends_with_its_file_system() {
    in_mounts_of_its_own("stuck::what_is_stuck_ends_with_its_file_system", || {
        let setting = Setting::new();
        let Setting { wedge, server, blue, .. } = &setting;
        let mut client = Rpc::connect(port(blue));
        let root = client.mount("/").unwrap();
        let file = client.lookup(&root, FILE.as_bytes()).unwrap();
        wedge.stop_answering(Asked::Read);
        client.begin(&read(&file));
        wedge.wait_for_stuck(1);
        still_held(server.del_namespace("blue", Deadline::now()));
        let ns = server.registry().resolve(&address(blue)).unwrap();
        wedge.abort();
        ns.wait_gone(Deadline::Never).unwrap();
        let ended = client.end();
        assert!(ended.is_none_or(|status| status == nfs3::Error::Io as u32), "{ended:?}");
        works(&setting.green);
    });
}

#[test]
fn neighbours_of_a_wedged_tenant_are_served() {
    in_mounts_of_its_own("stuck::neighbours_of_a_wedged_tenant_are_served", || {
        let setting = Setting::new();
        let Setting { wedge, blue, green, .. } = &setting;
        let mut clients: Vec<_> = (0..64).map(|_| Rpc::connect(port(blue))).collect();
        let root = clients[0].mount("/").unwrap();
        let file = clients[0].lookup(&root, FILE.as_bytes()).unwrap();
        wedge.stop_answering(Asked::Read);
        let outstanding = 8;
        for client in &mut clients {
            (0..outstanding).for_each(|_| client.begin(&read(&file)));
        }
        wedge.wait_for_stuck(4);
        for _ in 0..100 {
            works(green);
        }
        // Its own are served when it can: each of them, and rightly.
        wedge.answer();
        for client in &mut clients {
            (0..outstanding).for_each(|_| assert_eq!(client.end(), Some(0)));
        }
        setting.end();
    });
}

/// With one request in flight, a tenant that is wedged occupies one thread, and its other connections
/// wait; more, as soon as it may have more.
#[test]
fn wedged_tenant_occupies_as_many_threads_as_its_limit_says() {
    let name = "stuck::wedged_tenant_occupies_as_many_threads_as_its_limit_says";
    in_mounts_of_its_own(name, || {
        let setting = Setting::new();
        let Setting { wedge, server, blue, green, .. } = &setting;
        let in_flight = |most| {
            let limits = LimitsSpec { requests_in_flight: most, ..LimitsSpec::default() };
            server.set_limits("blue", limits).unwrap();
        };
        let held_back = || server.namespace("blue").unwrap().counters.unwrap().held_back;
        in_flight(Some(1));
        // Accepted and known before the wedge: then there is no other work than these calls.
        let mut clients: Vec<_> = (0..3).map(|_| Rpc::connect(port(blue))).collect();
        let root = clients[0].mount("/").unwrap();
        let file = clients[0].lookup(&root, FILE.as_bytes()).unwrap();
        for client in &mut clients {
            assert_eq!(client.read(&file, 0, 100).unwrap(), CONTENT);
        }
        wedge.stop_answering(Asked::Read);
        clients.iter_mut().for_each(|client| client.begin(&read(&file)));
        wedge.wait_for_stuck(1);
        until(|| held_back() == 2);
        (0..20).for_each(|_| works(green));
        assert_eq!((wedge.stuck(), held_back()), (1, 2));

        in_flight(Some(2));
        wedge.wait_for_stuck(2);
        until(|| held_back() == 1);
        (0..20).for_each(|_| works(green));
        assert_eq!((wedge.stuck(), held_back()), (2, 1));

        wedge.answer();
        for client in &mut clients {
            assert_eq!(client.end(), Some(0));
        }
        until(|| held_back() == 0);
        setting.end();
    });
}

/// Waits for what comes about by itself, while others work.
fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

/// For what is not to end.
const PATIENCE: Duration = Duration::from_millis(300);

/// Two tenants: the first on a file system that can be wedged.
struct Setting {
    world: World,
    wedge: Wedge,
    server: Arc<Server>,
    blue: NamespaceView,
    green: NamespaceView,
}

impl Setting {
    fn new() -> Self {
        let world = World::new();
        let wedge = Wedge::mount(&world.folder().join("wedged"));
        let server = Server::start(Options::new(world.state())).unwrap();
        let add =
            |name: &str, directory: &Path| server.add_namespace(spec(name, directory)).unwrap();
        let blue = add("blue", wedge.directory());
        let green = add("green", &world.served());
        Self { world, wedge, server, blue, green }
    }

    /// The first tenant drains, and concerns neither the other nor the next of its name.
    fn others_go_on(&self) {
        works(&self.green);
        let next = self.server.add_namespace(spec("blue", &self.world.served())).unwrap();
        works(&next);
        let known = self.server.namespace(&address(&self.blue)).unwrap();
        assert_eq!(known.state, NamespaceState::Draining);
        assert_eq!(self.server.namespace("blue").unwrap().id, next.id);
    }

    /// Nothing of a namespace that is gone holds its file system.
    fn end(self) {
        if self.server.namespace(&address(&self.blue)).is_ok() {
            self.server.del_namespace(&address(&self.blue), Deadline::Never).unwrap();
        }
        self.wedge.unmount().unwrap();
        self.server.stop(Deadline::Never).unwrap();
    }
}

fn spec(name: &str, directory: &Path) -> NamespaceSpec {
    tenant(name, vec![ExportSpec::new("/", directory)])
}

fn address(ns: &NamespaceView) -> String {
    format!("{}@{}", ns.name, ns.id)
}

fn read(file: &[u8]) -> Call<'_> {
    Call::Read(nfs3::ReadArgs { file: fh(file), offset: 0, count: 100 })
}

/// A tenant answers, by way of its files.
fn works(ns: &NamespaceView) {
    let mut client = Rpc::connect(port(ns));
    let root = client.mount("/").unwrap();
    let file = client.create(&root, b"works").unwrap();
    assert_eq!(client.lookup(&root, b"works").unwrap(), file);
    assert_eq!(client.read(&file, 0, 100).unwrap(), b"");
}

fn still_held(result: Result<(), Error>) -> HeldView {
    match result {
        Err(Error::StillHeld { message, held }) => {
            let said = named(&held);
            for holder in said {
                let operation = holder.operation.as_deref().unwrap();
                assert!(message.contains(operation), "{message}");
                assert!(message.contains(holder.object.as_deref().unwrap_or("")), "{message}");
            }
            held
        }
        other => panic!("{other:?}"),
    }
}

/// The operations among them.
fn named(held: &HeldView) -> Vec<&HolderView> {
    held.holders.iter().filter(|holder| holder.operation.is_some()).collect()
}
