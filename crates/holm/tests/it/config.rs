//! The configuration: what is wrong with it, and what becomes of one that is changed.

use crate::world::{Nfs, World, address, open_below, stop};
use holm::config::{Config, Configured};
use holm::model::{
    ExportSpec, Happened, LimitsSpec, ListenSpec, LocalSpec, NamespaceSpec, NamespaceState, Squash,
};
use holm::server::{Options, Server};
use holm_nfs_proto::nfs3;
use std::fs;
use std::io::ErrorKind;
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
        limits = {{ record-size = 2097152, idle-time = 60, unsent-replies = 65536, requests-in-flight = 8, open-files = 10, local-files = 11,
                   addresses = 4, routes = 5, neighbors = 64, link-connections = 7, link-half-open = 3,
                   link-memory = 1048576, link-buffer = 65536, link-silence = 600 }}
        local = {{ users = [1000, 0, 1000], socket = "/run/blue.sock", recall-time = 9 }}
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
            local_files: Some(11),
            addresses: Some(4),
            routes: Some(5),
            neighbors: Some(64),
            link_connections: Some(7),
            link_half_open: Some(3),
            link_memory: Some(1 << 20),
            link_buffer: Some(64 << 10),
            link_silence: Some(600),
        },
        local: LocalSpec {
            users: [0, 1000].into(),
            socket: Some("/run/blue.sock".into()),
            recall_time: 9,
        },
        ..NamespaceSpec::default()
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
    let said: Vec<String> = said
        .iter()
        .map(|it| {
            let said = it.to_string().replace(&dir, "DIR").replace(&file, "FILE");
            said.replace(&world.folder.path().display().to_string(), "FOLDER")
        })
        .collect();
    let expected = [
        "2:1: unknown key adminn: did you mean admin?",
        "3:11: metrics is not right: write an address and a port, as \"127.0.0.1:2049\"",
        "6:50: it overlaps 127.0.0.1:20490: listen at another address or port, or leave one of them \
         out (the other is in line 6)",
        "6:78: addr is not right: write an address and a port, as \"127.0.0.1:2049\"",
        "6:94: netns is not right: write a path, as \"/run/netns/blue\", or the number of a process",
        "8:COL: \"10.0.0.1/8\" has bits behind its prefix: write 10.0.0.0/8, or 10.0.0.1 for one address",
        "8:COL: \"10.0.0.0/33\" is no network: the length of the prefix is a number from 0 to 32",
        "8:COL: squash cannot be \"roots\": did you mean \"root\"?",
        "9:12: / is exported twice: give one of them another path, or leave it out (the other is in \
         line 8)",
        "9:COL: there is no directory DIRR: did you mean DIR?",
        "9:COL: the maximum write size has to be a multiple of 4096 from 4096 to 1048576, not 5000",
        "9:COL: unknown key readonly: did you mean read-only?",
        "10:12: \"more\" cannot be the path of an export: it has to begin with /",
        "10:26: FILE is no directory: name one, such as FOLDER, which it is in",
        "11:3: path is missing: write what clients call the export, as \"/\"",
        "11:11: dir is not right: invalid type: integer 5, expected path string: write which directory \
         it is, as \"/srv/blue\"",
        "11:14: unknown key wholly-unknown: known are path, dir, read-only, squash, anon-uid, \
         anon-gid, clients, privileged-port, cross-mounts, max-read, max-write, \
         lose-changes-on-power-failure",
        "13:1: unknown key exports: did you mean export?",
        "14:26: 0 is out of range: write a number from 1 to 1048576",
        "14:41: idle-time is not right: invalid type: string \"long\", expected u32: write a number \
         without quotes, as 64",
        "16:5: namespace name \"Green\": 'G' at position 1 is not one of a-z, 0-9 and '-': \
         did you mean green?",
        "17:20: it overlaps 127.0.0.1:20490 of namespace blue: listen at another address or port, or \
         leave one of them out (the other is in line 6)",
        "18:31: a stream needs path: write where the unix socket is, as \"/run/vm7/net0.sock\"",
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
        "2:26: 0 is out of range: write a number from 1 to 1048576",
        "2:50: 0 is out of range: write a number from 1 to 1048576, or leave it out for no limit",
        "5:7: there is no directory DIRR: did you mean DIR?",
        "7:1: \"10.0.0.1/8\" has bits behind its prefix: write 10.0.0.0/8, or 10.0.0.1 for one address",
        "7:15: \"::/129\" is no network: the length of the prefix is a number from 0 to 128",
        "8:13: the maximum write size has to be a multiple of 4096 from 4096 to 1048576, not 5000",
        "10:8: / is exported twice: give one of them another path, or leave it out (the other is in \
         line 3)",
        "11:7: the directory relative has to be an absolute path",
    ];
    assert_eq!(said, expected);

    let text = "[[ns.blue.export]]\npath = \"/\"\ndir = \"/wholly/unknown\"\n";
    let said = Config::parse(text).unwrap_err();
    let expected =
        "3:7: there is no directory /wholly/unknown: make it, or name the directory that is meant";
    assert!(said.len() == 1 && said[0].to_string() == expected, "{said:?}");

    let text = "[ns.blue]\nlocal = { users = 7, recall-time = 0, sockets = \"/s\" }\n[ns.green]\n\
                local = { users = [-1], socket = \"/s\" }\n[ns.red]\nlocal = { socket = \"/s\" }\n\
                [ns.white]\nlocal = [7]\n[ns.black]\nlocal = { socket = \"s\", users = [4294967295] }\n";
    let said = Config::parse(text).unwrap_err();
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    let expected = [
        "2:19: users is not right: invalid type: integer 7, expected a sequence: write a list of the \
         numbers of users, as [0, 1000]",
        "2:36: 0 is out of range: write a number from 1 to 3600",
        "2:39: unknown key sockets: did you mean socket?",
        "4:20: users is not right: invalid value: integer -1, expected u32: write a list of the numbers \
         of users, as [0, 1000]",
        "6:20: /s is the door of two namespaces: each needs its own (the other is in line 4)",
        "8:9: found array, expected a table",
        "10:20: the socket s has to be the absolute path of a file",
        "10:33: no user has the number 4294967295: write the numbers that `id -u` says",
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
    for (text, line, expected) in [
        // blue would go, red would come.
        (format!("{}unknown = 1\n", world.table("red")), 4, "unknown key unknown"),
        // Everything is right, and then somebody else listens there.
        (
            world.table("red")
                + &world.table("green")
                + &bad.replace("127.0.0.1:0", &taken.to_string()),
            7,
            "another program listens there",
        ),
        (
            format!("\nadmin = \"/elsewhere\"\n{}", world.table("red")),
            2,
            "admin is read at the start only",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let errors = configured.reload(&server).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(expected), "{errors:?}");
        assert!(errors[0].starts_with(&format!("{}:{line}:", file.display())), "{errors:?}");
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

/// Whoever listens there in a namespace that goes hands its socket over.
#[test]
fn address_goes_from_one_namespace_to_another() {
    let world = World::new();
    let (mut configured, file, server) = world.configured_apart(&["blue", "green"], "127.0.0.77");
    let [at, aside] = ["blue", "green"].map(|name| address(&server.namespace(name).unwrap()));
    let mut before = Nfs::connect(at);
    let blue_root = before.mount("/").unwrap();

    // It has another name.
    let listen = format!("{{ addr = \"{at}\" }}");
    let green = world.table_at("green", "{ addr = \"127.0.0.77:0\" }");
    fs::write(&file, world.table_at("teal", &listen) + &green).unwrap();
    let changes = configured.reload(&server).unwrap();
    assert_eq!(changes, ["namespace blue removed", "namespace teal added"]);
    assert!(before.is_over());
    let (mut teal, root) = mounted(at);
    assert_eq!(teal.getattr(&blue_root), Err(nfs3::Error::Stale));
    teal.create(&root, "file").unwrap();
    assert!(world.folder.path().join("teal/file").exists());
    assert!(answers_by_udp(at));
    assert_eq!(address(&server.namespace("teal").unwrap()), at);

    // To one that is there, with another option, while another one comes and a third one goes.
    let other = format!("{{ addr = \"{aside}\", udp = false }}");
    let listen = format!("{{ addr = \"{at}\", udp = false }}");
    fs::write(&file, world.table_at("green", &listen) + &world.table_at("red", &other)).unwrap();
    let changes = configured.reload(&server).unwrap();
    assert_eq!(
        changes,
        [
            "namespace teal removed".to_owned(),
            format!("namespace green: listener 127.0.0.77:0 removed, listener {at} added"),
            "namespace red added".to_owned(),
        ]
    );
    assert!(teal.is_over());
    let (mut green, root) = mounted(at);
    green.create(&root, "file").unwrap();
    assert!(world.folder.path().join("green/file").exists());
    let (mut red, root) = mounted(aside);
    red.create(&root, "file").unwrap();
    assert!(world.folder.path().join("red/file").exists());
    assert!(!answers_by_udp(at) && !answers_by_udp(aside));

    // Nobody keeps a socket.
    for name in ["green", "red"] {
        server.del_namespace(name, holm_lifetime::Deadline::Never).unwrap();
    }
    for free in [at, aside] {
        std::net::TcpListener::bind(free).unwrap();
        std::net::UdpSocket::bind(free).unwrap();
    }
    stop(server);
}

/// Connections stay where the address does.
#[test]
fn options_and_limits_change_under_a_connection() {
    let world = World::new();
    let (mut configured, file, server) = world.configured_apart(&["blue"], "127.0.0.78");
    let at = address(&server.namespace("blue").unwrap());
    let mut before = Nfs::connect(at);
    let root = before.mount("/").unwrap();
    let mut events = server.events();
    for (udp, most) in [(false, 7), (true, 8), (false, 9)] {
        let listen = format!("{{ addr = \"{at}\", udp = {udp} }}");
        let limits = format!("limits = {{ connections = {most} }}\n");
        fs::write(&file, world.table_at("blue", &listen) + &limits).unwrap();
        configured.reload(&server).unwrap();
        let view = server.namespace("blue").unwrap();
        let [listener] = &view.listeners[..] else { panic!("{view:?}") };
        assert_eq!((listener.local, listener.spec.udp), (at, udp));
        assert_eq!(view.limits.connections, Some(most));
        assert!(before.getattr(&root).is_ok());
        assert_eq!(answers_by_udp(at), udp);
        let (mut after, again) = mounted(at);
        assert_eq!(again, root);
        assert!(after.getattr(&root).is_ok());
        let changed = Happened::ListenerChanged { addr: at, netns: None, udp };
        let said: Vec<_> =
            std::iter::from_fn(|| events.try_next()).map(|event| event.what).collect();
        assert_eq!(said[..2], [changed, Happened::LimitsChanged]);
    }
    // And both at once with one that is refused: neither.
    let before_it = server.namespace("blue").unwrap().listeners[0].spec.clone();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("{{ addr = \"{at}\" }}, {{ addr = \"{}\" }}", taken.local_addr().unwrap());
    fs::write(&file, world.table_at("blue", &listen)).unwrap();
    let errors = configured.reload(&server).unwrap_err();
    assert!(errors[0].contains("another program listens there"), "{errors:?}");
    assert_eq!(server.namespace("blue").unwrap().listeners[0].spec, before_it);
    assert!(before.getattr(&root).is_ok() && !answers_by_udp(at));
    stop(server);
}

/// Whatever fails, and however late: who has the address keeps it.
#[test]
fn address_stays_where_it_was_if_anything_fails() {
    let world = World::new();
    let (mut configured, file, server) = world.configured_apart(&["blue", "green"], "127.0.0.79");
    let [at, aside] = ["blue", "green"].map(|name| address(&server.namespace(name).unwrap()));
    let [mut blue, mut green] = [at, aside].map(Nfs::connect);
    let (blue_root, green_root) = (blue.mount("/").unwrap(), green.mount("/").unwrap());
    let listen = |at: SocketAddr| format!("{{ addr = \"{at}\" }}");
    let other_option = format!("{{ addr = \"{aside}\", udp = false }}");
    let renamed = world.table_at("teal", &listen(at)) + &world.table_at("green", &other_option);

    let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = world.table_at("red", &listen(foreign.local_addr().unwrap()));
    // Only when everything else has taken its place is this seen.
    let late = world.table("zeta");
    let zeta = server.registry().create("zeta").unwrap();
    for (last, expected) in [(taken, "another program listens there"), (late, "zeta")] {
        fs::write(&file, format!("{renamed}{last}")).unwrap();
        let errors = configured.reload(&server).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{errors:?}");
        assert!(blue.getattr(&blue_root).is_ok() && green.getattr(&green_root).is_ok());
        for (at, root) in [(at, &blue_root), (aside, &green_root)] {
            let (mut after, again) = mounted(at);
            assert_eq!(&again, root);
            assert!(after.getattr(root).is_ok());
            assert!(answers_by_udp(at));
        }
        let names: Vec<_> = server.namespaces().into_iter().map(|ns| ns.name).collect();
        assert_eq!(names, ["blue", "green"]);
    }
    // The same without what was in the way.
    drop(zeta);
    fs::write(&file, renamed).unwrap();
    configured.reload(&server).unwrap();
    assert!(blue.is_over());
    assert!(green.getattr(&green_root).is_ok() && !answers_by_udp(aside));
    assert_ne!(mounted(at).1, blue_root);
    stop(server);
}

/// A client that has mounted what is served there. A thread that was about to accept for who listened
/// there before closes what it gets, and clients come again.
fn mounted(at: SocketAddr) -> (Nfs, Vec<u8>) {
    loop {
        let mut client = Nfs::connect(at);
        if let Ok(mounted) = client.try_mount("/") {
            return (client, mounted.unwrap());
        }
    }
}

/// Whether MOUNT's NULL is answered by UDP, or there is no such port.
fn answers_by_udp(at: SocketAddr) -> bool {
    let call: [u32; 10] = [7, 0, 2, 100_005, 3, 0, 0, 0, 0, 0];
    let call = call.map(u32::to_be_bytes).concat();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(at).unwrap();
    // Datagrams may be lost: then another one is sent.
    socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    loop {
        match socket.send(&call).and_then(|_| socket.recv(&mut [0; 64])) {
            Ok(length) => return length == 24,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return false,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

impl World {
    /// A table of the configuration: the directory of that name, anywhere.
    fn table(&self, name: &str) -> String {
        self.table_at(name, "{ addr = \"127.0.0.1:0\" }")
    }

    fn table_at(&self, name: &str, listen: &str) -> String {
        let dir = self.directory(name);
        format!(
            "[ns.{name}]\nlisten = [{listen}]\nexport = [{{ path = \"/\", dir = \"{}\" }}]\n",
            dir.display(),
        )
    }

    fn configured(&self, names: &[&str]) -> (Configured, PathBuf, std::sync::Arc<Server>) {
        self.configured_as(&names.iter().map(|name| self.table(name)).collect::<String>())
    }

    /// With listeners at an address that no other test uses, where ports that were free still are.
    fn configured_apart(
        &self,
        names: &[&str],
        address: &str,
    ) -> (Configured, PathBuf, std::sync::Arc<Server>) {
        let listen = format!("{{ addr = \"{address}:0\" }}");
        self.configured_as(
            &names.iter().map(|name| self.table_at(name, &listen)).collect::<String>(),
        )
    }

    fn configured_as(&self, text: &str) -> (Configured, PathBuf, std::sync::Arc<Server>) {
        let file = self.folder.path().join("holm.toml");
        fs::write(&file, text).unwrap();
        let server = Server::start(Options::new(self.state())).unwrap();
        let config = Config::load(&file).unwrap();
        let configured = Configured::begin(&file, config, &server).unwrap();
        (configured, file, server)
    }
}
