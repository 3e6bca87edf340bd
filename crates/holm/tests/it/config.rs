//! The configuration: what is wrong with it, and what becomes of one that is changed.

use crate::world::{Nfs, World, address, open_below, stop};
use holm::config::{Config, Configured};
use holm::model::{
    ExportSpec, Happened, LimitsSpec, ListenSpec, NamespaceSpec, NamespaceState, Squash,
};
use holm::server::{Options, Server};
use holm_nfs_proto::nfs3;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[test]
fn everything_that_can_be_said_is_read() {
    let world = World::new();
    let dir = world.directory("blue");
    let text = format!(
        r#"
        admin = "/run/holm/admin.sock"
        metrics = "127.0.0.1:9095"
        state-dir = "/var/lib/holm"
        rpcbind = true
        limits = {{ connections = 100 }}

        [ns.blue]
        listen = [{{ addr = "127.0.0.1:2049", udp = false }}, {{ addr = "0.0.0.0:2049", netns = "/run/netns/blue" }},
                  {{ addr = "0.0.0.0:2049", netns = 4711 }}]
        limits = {{ record-size = 2097152, idle-time = 60, unsent-replies = 65536, requests-in-flight = 8, open-files = 10 }}
        [[ns.blue.export]]
        path = "/"
        dir = "{dir}"
        read-only = true
        squash = "all"
        anon-uid = 1
        anon-gid = 2
        clients = ["10.0.0.0/8", "fd00::1"]
        privileged-port = true
        cross-mounts = true
        max-read = 65536
        max-write = 4096
        lose-changes-on-power-failure = true

        [ns.green]
        "#,
        dir = dir.display(),
    );
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.summary(), "2 namespaces, 1 export, 3 listeners");
    assert_eq!(config.settings.metrics, Some("127.0.0.1:9095".parse().unwrap()));
    assert_eq!(config.settings.limits.connections, Some(100));
    assert!(config.settings.rpcbind);
    let listen = |addr: &str, netns| ListenSpec { netns, ..ListenSpec::new(addr.parse().unwrap()) };
    let blue = NamespaceSpec {
        name: "blue".into(),
        export: vec![ExportSpec {
            read_only: true,
            squash: Squash::All,
            anon_uid: 1,
            anon_gid: 2,
            clients: vec!["10.0.0.0/8".into(), "fd00::1".into()],
            privileged_port: true,
            cross_mounts: true,
            max_read: 65536,
            max_write: 4096,
            lose_changes_on_power_failure: true,
            ..ExportSpec::new("/", dir)
        }],
        listen: vec![
            ListenSpec { udp: false, ..listen("127.0.0.1:2049", None) },
            listen("0.0.0.0:2049", Some(holm::model::NetnsRef::Path("/run/netns/blue".into()))),
            listen("0.0.0.0:2049", Some(holm::model::NetnsRef::Pid(4711))),
        ],
        limits: LimitsSpec {
            connections: None,
            record_size: Some(2 << 20),
            idle_time: Some(60),
            unsent_replies: Some(65536),
            requests_in_flight: Some(8),
            open_files: Some(10),
        },
    };
    let green = NamespaceSpec { name: "green".into(), ..NamespaceSpec::default() };
    assert_eq!(config.namespaces, [blue, green]);
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn all_that_is_wrong_is_said_where_it_is_and_with_what_to_do() {
    let world = World::new();
    let dir = world.directory("blue").display().to_string();
    fs::write(world.folder.path().join("file"), "").unwrap();
    let text = r#"
adminn = "/run/holm/admin.sock"
metrics = "localhost:9095"

[ns.blue]
listen = [{ addr = "127.0.0.1:20490" }, { addr = "0.0.0.0:20490" }, { addr = "2049", netns = 1.5 }]
export = [
  { path = "/", dir = "DIR", clients = ["10.0.0.1/8", "10.0.0.0/33"], squash = "roots" },
  { path = "/", dir = "DIRR", max-write = 5000, readonly = true },
  { path = "more", dir = "FILE" },
  { dir = 5, wholly-unknown = 1 },
]
exports = []
limits = { connections = 0, idle-time = "long" }

[ns.Green]
listen = [{ addr = "127.0.0.1:20490" }]
link = [{ name = "p0", type = "stream" }]

[ns.red]
export = { path = "/", dir = "/srv" }
listen = ["127.0.0.1:1"]
"#;
    let file = world.folder.path().join("file").display().to_string();
    let text = text.replace("DIR", &dir).replace("FILE", &file);
    let said = Config::parse(&text).unwrap_err();
    let said: Vec<String> =
        said.iter().map(|it| it.to_string().replace(&dir, "DIR").replace(&file, "FILE")).collect();
    let expected = [
        "2:1: unknown key adminn: did you mean admin?",
        "3:11: metrics is not right: write an address and a port, as \"127.0.0.1:2049\"",
        "6:50: it overlaps 127.0.0.1:20490",
        "6:78: addr is not right: write an address and a port, as \"127.0.0.1:2049\"",
        "6:94: netns is not right: write a path, as \"/run/netns/blue\", or the number of a process",
        "8:COL: \"10.0.0.1/8\" has bits behind its prefix: write 10.0.0.0/8, or 10.0.0.1 for one address",
        "8:COL: \"10.0.0.0/33\" is no network: the length of the prefix is a number from 0 to 32",
        "8:COL: squash cannot be \"roots\": did you mean \"root\"?",
        "9:12: / is exported twice",
        "9:COL: there is no directory DIRR: did you mean DIR?",
        "9:COL: the maximum write size has to be a multiple of 4096 from 4096 to 1048576, not 5000",
        "9:COL: unknown key readonly: did you mean read-only?",
        "10:12: \"more\" cannot be the path of an export: it has to begin with /",
        "10:26: FILE is no directory",
        "11:3: path is missing",
        "11:11: dir is not right: invalid type: integer 5, expected path string",
        "11:14: unknown key wholly-unknown: known are path, dir, read-only, squash, anon-uid, \
         anon-gid, clients, privileged-port, cross-mounts, max-read, max-write, \
         lose-changes-on-power-failure",
        "13:1: unknown key exports: did you mean export?",
        "14:26: 0 is not from 1 to 1048576",
        "14:41: idle-time is not right: invalid type: string \"long\", expected u32",
        "16:5: namespace name \"Green\": 'G' at position 1 is not one of a-z, 0-9 and '-'",
        "17:20: it overlaps 127.0.0.1:20490 of namespace blue",
        "18:1: link comes with a later release of holm: this one serves only sockets of the kernel, \
         with listen",
        "21:10: found table, expected a list: export = [{ path = \"/\", dir = \"/srv/blue\" }]",
        "22:11: found string, expected a table: listen = [{ addr = \"127.0.0.1:2049\" }]",
    ];
    for (said, expected) in said.iter().zip(&expected) {
        let matches = match expected.split_once(":COL:") {
            Some((line, why)) => said.starts_with(&format!("{line}:")) && said.ends_with(why),
            None => said == expected,
        };
        assert!(matches, "{said:?} is not {expected:?}");
    }
    assert_eq!(said.len(), expected.len(), "{said:#?}");

    // What could not be seen for what was wrong above.
    let text = "[ns.blue]\nlimits = { connections = 0, requests-in-flight = 0 }\n[[ns.blue.export]]\npath = \"/\"\n\
                dir = \"DIRR\"\nclients = [\n\"10.0.0.1/8\", \"::/129\"]\nmax-write = 5000\n\
                [[ns.blue.export]]\npath = \"/\"\ndir = \"relative\"\n";
    let said = Config::parse(&text.replace("DIR", &dir)).unwrap_err();
    let said: Vec<String> = said.iter().map(|it| it.to_string().replace(&dir, "DIR")).collect();
    let expected = [
        "2:26: 0 is not from 1 to 1048576",
        "2:50: 0 is not from 1 to 1048576; without it there is no limit",
        "5:7: there is no directory DIRR: did you mean DIR?",
        "7:1: \"10.0.0.1/8\" has bits behind its prefix: write 10.0.0.0/8, or 10.0.0.1 for one address",
        "7:15: \"::/129\" is no network: the length of the prefix is a number from 0 to 128",
        "8:13: the maximum write size has to be a multiple of 4096 from 4096 to 1048576, not 5000",
        "10:8: / is exported twice",
        "11:7: the directory relative has to be an absolute path",
    ];
    assert_eq!(said, expected);

    let said = Config::parse("[ns.blue\nlisten = = 1\n").unwrap_err();
    let lines: Vec<usize> = said.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 2, 2], "{said:?}");
    let error = Config::load(Path::new("/missing.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/missing.toml: could not be read: "), "{error}");
}

#[test]
fn change_of_the_configuration_is_applied() {
    let world = World::new();
    let (mut configured, file, server) = world.configured(&["blue", "green"]);
    let [mut blue, mut green] =
        ["blue", "green"].map(|name| Nfs::connect(address(&server.namespace(name).unwrap())));
    let (blue_root, green_root) = (blue.mount("/").unwrap(), green.mount("/").unwrap());
    let mut events = server.events();

    // One goes, one comes, one has an export more and another one read-only.
    let more = world.directory("more");
    let text = format!(
        "{}[[ns.blue.export]]\npath = \"/more\"\ndir = \"{}\"\n{}",
        world.table("blue").replace("path = \"/\"", "path = \"/\", read-only = true"),
        more.display(),
        world.table("red"),
    );
    // An inline list can't be added to.
    let text = text.replace("[[ns.blue.export]]\npath", "#").replace("\"/more\"\ndir", "#");
    fs::write(&file, &text).unwrap();
    let changes = configured.reload(&server).unwrap();
    assert_eq!(
        changes,
        [
            "namespace green removed",
            "namespace blue: export / removed, export / added",
            "namespace red added",
        ]
    );
    assert_eq!(
        blue.create(&blue_root, "file"),
        Err(nfs3::Error::RoFs),
        "its handles are good still"
    );
    assert!(green.is_over());
    let all = server.namespaces();
    // It may be on its way still.
    let left = all.iter().find(|ns| ns.name == "green");
    assert!(left.is_none_or(|green| green.state == NamespaceState::Draining), "{left:?}");
    assert!(Nfs::connect(address(&server.namespace("red").unwrap())).mount("/").is_ok());
    let said: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.what).collect();
    assert!(said.contains(&Happened::ConfigApplied { changes }), "{said:?}");

    // Nothing has changed.
    assert_eq!(configured.reload(&server).unwrap(), [""; 0]);
    // And back: a namespace that was removed is another when it comes again.
    fs::write(&file, world.table("blue") + &world.table("green")).unwrap();
    configured.reload(&server).unwrap();
    let mut green = Nfs::connect(address(&server.namespace("green").unwrap()));
    assert_eq!(green.getattr(&green_root), Err(nfs3::Error::Stale));
    assert!(blue.create(&blue_root, "file").is_ok());
    stop(server);
}

/// A namespace that comes again while the one before it drains is another.
#[test]
fn namespace_comes_back_while_the_one_before_drains() {
    let world = World::new();
    let (mut configured, file, server) = world.configured(&["blue", "green"]);
    let before = server.namespace("green").unwrap().id;
    let ns = server.registry().resolve("green").unwrap();
    let held = ns.enter().unwrap();
    fs::write(&file, world.table("blue")).unwrap();
    assert_eq!(configured.reload(&server).unwrap(), ["namespace green removed"]);
    fs::write(&file, world.table("blue") + &world.table("green")).unwrap();
    assert_eq!(configured.reload(&server).unwrap(), ["namespace green added"]);
    assert_ne!(server.namespace("green").unwrap().id, before);
    drop(held);
    stop(server);
}

#[test]
fn what_came_by_the_api_stays() {
    let world = World::new();
    let (mut configured, file, server) = world.configured(&["blue", "green"]);
    server.add_namespace(world.spec("other")).unwrap();
    server.del_namespace("green", holm_lifetime::Deadline::Never).unwrap();
    fs::write(&file, world.table("blue")).unwrap();
    assert_eq!(configured.reload(&server).unwrap(), [""; 0]);
    let names: Vec<_> = server.namespaces().into_iter().map(|ns| ns.name).collect();
    assert_eq!(names, ["blue", "other"]);
    stop(server);
}

/// Neither what is wrong in the file nor what fails while it is applied leaves anything behind.
#[test]
fn configuration_that_cannot_be_is_refused_whole() {
    let world = World::new();
    let (mut configured, file, server) = world.configured(&["blue", "green"]);
    let mut blue = Nfs::connect(address(&server.namespace("blue").unwrap()));
    let root = blue.mount("/").unwrap();
    let before = server.namespaces();
    let mut events = server.events();

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let bad = world.table("bad");
    for (text, expected) in [
        // blue would go, red would come.
        (format!("{}unknown = 1\n", world.table("red")), "unknown key unknown"),
        // Everything is right, and then somebody else listens there.
        (
            world.table("red")
                + &world.table("green")
                + &bad.replace("127.0.0.1:0", &taken.to_string()),
            "another program listens there",
        ),
        (
            format!("admin = \"/elsewhere\"\n{}", world.table("red")),
            "admin is read at the start only",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let errors = configured.reload(&server).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(expected), "{errors:?}");
        assert!(errors[0].starts_with(&file.display().to_string()), "{errors:?}");
        assert_eq!(events.try_next().unwrap().what, Happened::ConfigRefused { errors });
        assert_eq!(events.try_next(), None);
        let now = server.namespaces();
        let shown = |all: &[holm::model::NamespaceView]| {
            let parts = |ns: &holm::model::NamespaceView| {
                (ns.id, ns.exports.clone(), ns.listeners[0].local)
            };
            all.iter().map(parts).collect::<Vec<_>>()
        };
        assert_eq!(shown(&now), shown(&before));
        assert!(blue.getattr(&root).is_ok());
        for name in ["red", "bad"] {
            assert_eq!(open_below(&world.folder.path().join(name)), Vec::<PathBuf>::new());
        }
    }
    let keys = fs::read_to_string(world.state().join("namespaces")).unwrap();
    // With the blanks around a name: keys are hexadecimal.
    assert!(!keys.contains(" red ") && !keys.contains(" bad "), "{keys}");
    stop(server);
}

impl World {
    /// A table of the configuration: the directory of that name, anywhere.
    fn table(&self, name: &str) -> String {
        let dir = self.directory(name);
        format!(
            "[ns.{name}]\nlisten = [{{ addr = \"{}\" }}]\nexport = [{{ path = \"/\", dir = \"{}\" }}]\n",
            SocketAddr::from(([127, 0, 0, 1], 0)),
            dir.display(),
        )
    }

    fn configured(&self, names: &[&str]) -> (Configured, PathBuf, std::sync::Arc<Server>) {
        let file = self.folder.path().join("holm.toml");
        let text: String = names.iter().map(|name| self.table(name)).collect();
        fs::write(&file, text).unwrap();
        let server = Server::start(Options::new(self.state())).unwrap();
        let config = Config::load(&file).unwrap();
        let configured = Configured::begin(&file, config, &server).unwrap();
        (configured, file, server)
    }
}
