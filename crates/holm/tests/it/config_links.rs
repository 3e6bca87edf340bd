//! Links, addresses and routes in the configuration.

use crate::world::{World, stop};
use holm::config::{Config, Configured};
use holm::model::{Happened, LaggProto, LinkMove, LinkView};
use holm::server::Server;
use holm_lifetime::Deadline;
use std::fs;

/// A configuration with `{}` for the folder of the world.
fn text(world: &World, text: &str) -> String {
    text.replace("{}", &world.folder.path().display().to_string())
}

fn said(world: &World, config: &str) -> Vec<String> {
    let mistakes = Config::parse(&text(world, config)).unwrap_err();
    let folder = world.folder.path().display().to_string();
    mistakes.iter().map(|mistake| mistake.to_string().replace(&folder, "{}")).collect()
}

fn link(server: &Server, name: &str) -> LinkView {
    let links = server.links("green").unwrap();
    links.into_iter().find(|link| link.name == name).unwrap()
}

/// A pair that is made anew where it is configured to be, wherever it was moved meanwhile.
#[test]
fn a_pair_is_where_it_is_configured_to_be() {
    let world = World::new();
    let server = world.server();
    let file = world.folder.path().join("holm.toml");
    let config = |near: &str, far: &str| {
        let mut text = String::new();
        for ns in ["blue", "green", "red"] {
            text += &format!("[ns.{ns}]\n");
            if ns == near {
                let pair =
                    format!("name = \"c0\", type = \"pair\", peer = \"c0\", peer-ns = \"{far}\"");
                text += &format!("link = [{{ {pair}, addr = [\"10.9.0.1/30\"] }}]\n");
            } else if ns == far {
                text += "addr = [{ cidr = \"10.9.0.2/30\", dev = \"c0\" }]\n";
            }
        }
        text
    };
    let ends = || {
        ["blue", "green", "red"].map(|ns| {
            let links = server.links(ns).unwrap();
            links.iter().find(|link| link.name == "c0").map(|link| link.addresses.concat())
        })
    };
    let (near, far) = (Some("10.9.0.1/30".to_owned()), Some("10.9.0.2/30".to_owned()));
    fs::write(&file, config("blue", "green")).unwrap();
    let mut configured = Configured::begin(&file, Config::load(&file).unwrap(), &server).unwrap();
    assert_eq!(ends(), [near.clone(), far.clone(), None]);
    let mut becomes = |text: String, expected: [Option<String>; 3]| {
        fs::write(&file, text).unwrap();
        configured.reload(&server).unwrap();
        assert_eq!(ends(), expected);
    };
    becomes(config("blue", "red"), [near.clone(), None, far.clone()]);
    becomes(config("green", "red"), [None, near.clone(), far.clone()]);
    let place = |to: &str| LinkMove { to: to.into(), name: None };
    server.move_link("green", "c0", &place("blue")).unwrap();
    becomes(config("green", "red"), [None, near.clone(), far.clone()]);
    server.move_link("red", "c0", &place("blue")).unwrap();
    becomes(config("green", "red"), [None, near.clone(), far.clone()]);
    // And if it went with one of them.
    server.del_namespace("red", Deadline::Never).unwrap();
    becomes(config("green", "red"), [None, near.clone(), far.clone()]);
    // What is said of the other end changes it where it is; what is not said any more is as of a new one.
    let other = || {
        let links = server.links("red").unwrap();
        links.iter().find(|link| link.name == "c0").map(|link| (link.index, link.mtu)).unwrap()
    };
    let (index, _) = other();
    let text = config("green", "red").replace("/30\"] }]", "/30\"], peer-link = { mtu = 9000 } }]");
    becomes(text, [None, near.clone(), far.clone()]);
    assert_eq!(other(), (index, 9000));
    becomes(config("green", "red"), [None, near, far]);
    assert_eq!(other().1, 1500);
    stop(server);
}

/// Two sockets of a virtual machine as one interface.
const GREEN: &str = r#"
[ns.green]
link   = [{ name = "p0", type = "stream", path = "{}/net0.sock" },
          { name = "p1", type = "stream", path = "{}/net1.sock" },
          { name = "lagg0", type = "lagg", proto = "lacp", ports = ["p0", "p1"], addr = ["10.0.0.1/24"] }]
export = [{ path = "/", dir = "{}/green" }]
"#;

#[test]
fn network_is_read_and_served() {
    let world = World::new();
    world.directory("green");
    let config = Config::parse(&text(&world, GREEN)).unwrap();
    assert_eq!(config.summary(), "1 namespace, 1 export, 0 listeners, 3 links");
    let server = world.server();
    let file = world.folder.path().join("holm.toml");
    Configured::begin(&file, config, &server).unwrap();
    let lagg = link(&server, "lagg0");
    let view = lagg.lagg.unwrap();
    assert_eq!((view.proto, lagg.addresses), (LaggProto::Lacp, vec!["10.0.0.1/24".to_owned()]));
    assert_eq!(view.ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["p0", "p1"]);
    stop(server);
}

#[test]
fn more_than_the_limits_allow_is_said_where_it_begins() {
    let world = World::new();
    let addresses: Vec<String> = (1..=64).map(|n| format!("\"10.0.0.{n}/24\"")).collect();
    let routes: Vec<String> =
        (0..256).map(|n| format!("{{ to = \"10.1.{n}.0/25\", via = \"10.0.0.99\" }}")).collect();
    let routes = routes.join(", ");
    let lines = |limits: &str| {
        format!(
            "limits = {{ routes = 1 }}\n[ns.blue]\nlimits = {{ {limits} }}\nlink = [{{ name = \"d0\", \
             type = \"dgram\", path = \"/run/d0\", addr = [{}] }}]\naddr = [\n{{ cidr = \"10.0.0.65/24\", \
             dev = \"d0\" }}]\nroute = [\n{routes}]\n",
            addresses.join(", ")
        )
    };
    let many = "6:10: d0 has more than 64 addresses: leave some out, or raise the limit addresses";
    assert_eq!(said(&world, &lines("routes = 256")), [many]);
    let few = said(&world, &lines("addresses = 65"));
    assert_eq!(few.len(), 1);
    assert!(few[0].contains("there are more than 1 routes: leave some out"), "{few:?}");
    Config::parse(&lines("addresses = 65, routes = 256")).unwrap();
}

#[test]
fn what_is_wrong_with_a_network_is_said_where_it_is_and_with_what_to_do() {
    let world = World::new();
    let config = r#"[ns.blue]
link = [
  { name = "p0", type = "stream", path = "relative", mtu = 5 },
  { name = "p0", type = "tap", path = "/x", mac = "ff:ff:ff:ff:ff:ff" },
  { name = "p1", type = "strem", path = "/run/p1" },
  { name = "lagg0", type = "lagg", ports = ["p0", "p9"], proto = "lacpp", addr = "10.0.0.1/24" },
  { name = "a-very-long-name", type = "lagg", addr = ["10.0.0.0/24", "10.0.0.1"] },
  { name = "to-green", type = "pair", peer = "x", peer-ns = "gren", peer-link = { mtu = 5 } },
  { name = "d0", type = "dgram", path = "/run/d0", prot = 1 },
]
addr = [{ cidr = "10.0.0.1/24", dev = "p7" }, { cidr = "10.0.0.256/24", dev = "d0" }]
route = [{ to = "default", via = "10.9.9.9" }, { to = "10.0.0.0/8", via = "fd00::1" }, { via = "x" }]

[ns.green]
link = [{ name = "d0", type = "dgram", path = "/run/d0" }]
"#;
    let expected = [
        "3:42: relative has to be an absolute path",
        "3:60: 5 is out of range: write a number from 576 to 65521",
        "4:12: p0 is there twice: give one of them another name (the other is in line 3)",
        "4:39: a tap has no path, only stream and dgram: leave it out",
        "4:51: ff:ff:ff:ff:ff:ff names a group or nobody: write the address of a station",
        "5:25: type cannot be \"strem\": did you mean \"stream\"?",
        "6:51: there is no link p9: did you mean p0?",
        "6:66: proto cannot be \"lacpp\": did you mean \"lacp\"?",
        "6:82: addr is not right: write a list, as [\"10.0.0.1/24\"]",
        "7:12: `a-very-long-name` is no name for an interface: 1 to 15 of a-z, A-Z, 0-9, '.', '_' and \
         '-', beginning with a letter or a digit",
        "7:55: 10.0.0.0/24 names the whole network, and not a station in it: write another address",
        "7:70: `10.0.0.1` is no address for an interface: write it as in 10.0.0.1/24 or fd00::1/64",
        "8:61: there is no namespace gren: did you mean green?",
        "8:89: 5 is out of range: write a number from 576 to 65521",
        "9:52: unknown key prot: did you mean proto?",
        "11:39: there is no link p7: did you mean p0?",
        "11:56: `10.0.0.256/24` is no address for an interface: no IP address stands before the /",
        "12:34: 10.9.9.9 is in no network of an address here: whoever forwards is a neighbour",
        "12:75: fd00::1 is an address of IPv6, and 10.0.0.0/8 is not",
        "12:88: to is missing: write a network, as \"10.1.0.0/16\", or \"default\"",
        "12:96: via is not right: write the address of who forwards, as \"10.0.0.254\"",
        "15:47: /run/d0 is the socket of two links: each needs its own (the other is in line 9)",
    ];
    let said = said(&world, config);
    let missing: Vec<_> = expected.iter().filter(|it| !said.contains(&(**it).to_owned())).collect();
    let more: Vec<_> = said.iter().filter(|it| !expected.contains(&it.as_str())).collect();
    assert!(missing.is_empty() && more.is_empty(), "{missing:#?} and not {more:#?}");
}

#[test]
fn network_becomes_what_it_is_configured_to_be() {
    let world = World::new();
    world.directory("green");
    let server = world.server();
    let file = world.folder.path().join("holm.toml");
    fs::write(&file, text(&world, GREEN)).unwrap();
    let mut configured = Configured::begin(&file, Config::load(&file).unwrap(), &server).unwrap();
    let [lagg, p0, p1] = ["lagg0", "p0", "p1"].map(|name| link(&server, name).index);
    let mut events = server.events();
    assert_eq!(configured.reload(&server).unwrap(), [""; 0], "it is as it is to be");

    // Settings change where the interface is; another socket takes another interface.
    let other = GREEN
        .replace("net1.sock", "other.sock")
        .replace("\"lacp\", ports = [\"p0\", \"p1\"]", "\"failover\", ports = [\"p1\"], mtu = 9000")
        .replace("10.0.0.1/24", "10.0.0.3/24")
        + "route = [{ to = \"default\", via = \"10.0.0.254\" }]\n";
    fs::write(&file, text(&world, &other)).unwrap();
    configured.reload(&server).unwrap();
    let view = link(&server, "lagg0");
    assert_eq!(
        (view.index, view.mtu, &view.addresses[..]),
        (lagg, 9000, &["10.0.0.3/24".into()][..])
    );
    let ports = view.lagg.unwrap().ports;
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["p1"]);
    assert_eq!(link(&server, "p0").index, p0);
    assert_ne!(link(&server, "p1").index, p1);
    assert_eq!(server.routes("green").unwrap()[0].dev.as_deref(), Some("lagg0"));
    let mut heard = Vec::new();
    while let Some(event) = events.try_next() {
        heard.push(event.what);
    }
    let removed = Happened::LinkRemoved { name: "p1".into(), why: None };
    assert!(heard.contains(&removed), "{heard:?}");

    // What fails leaves all as it was.
    fs::write(world.folder.path().join("taken"), "").unwrap();
    let wrong = other.replace("other.sock", "taken").replace("9000", "8000");
    fs::write(&file, text(&world, &wrong)).unwrap();
    configured.reload(&server).unwrap_err();
    let view = link(&server, "lagg0");
    assert_eq!((view.index, view.mtu), (lagg, 9000));
    assert_eq!(link(&server, "p1").master.as_deref(), Some("lagg0"));

    fs::write(&file, text(&world, "[ns.green]\nexport = [{ path = \"/\", dir = \"{}/green\" }]\n"))
        .unwrap();
    configured.reload(&server).unwrap();
    assert_eq!(server.links("green").unwrap().len(), 1, "its lo");
    stop(server);
}
