//! MOUNT and the port mapper: from nothing but an address to a handle.

use crate::wire::*;
use crate::world::{Scratch, as_ordinary_user, as_root, open_to_all};
use holm_nfs_proto::{mount, nfs3, portmap, rpcbind};
use holm_nfsd::export::{ExportTable, TableError};
use holm_nfsd::service::{Context, Inline, Listening, Peer, Transport};
use holm_sunrpc::Framing;
use holm_sunrpc::message::{Refusal, encode_call};
use holm_xdr::{Encoder, Opaque};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

fn path(path: &str) -> mount::DirPath<'_> {
    Opaque::new(path.as_bytes()).unwrap()
}

fn dump(client: &Client) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let list = client.mount_call::<mount::DumpRes<'_>>(&mount::Call::Dump);
    list.iter().map(|entry| (text(&entry.host), text(&entry.directory))).collect()
}

#[test]
fn a_path_leads_to_its_export_and_on_into_it() {
    as_ordinary_user(|| {
        let (outer, inner) = (Scratch::new(), Scratch::new());
        fs::create_dir_all(outer.path().join("a/b")).unwrap();
        fs::create_dir_all(outer.path().join("inner/hidden")).unwrap();
        fs::write(outer.path().join("file"), "").unwrap();
        symlink("a", outer.path().join("link")).unwrap();
        let mut options = vec![trusting(outer.path()), trusting(inner.path())];
        options[1].path = "/inner".parse().unwrap();
        let client = Client::new(&Thread::new(), &service(options));
        let root = client.mount("/").unwrap();
        let b = client.lookup(&client.lookup(&root, b"a").unwrap(), b"b").unwrap();
        for same in ["/a/b", "/a/b/", "//a///b", "/a/./b"] {
            assert_eq!(client.mount(same).as_ref(), Ok(&b), "{same}");
        }
        let inside = client.mount("/inner").unwrap();
        assert_ne!(
            client.lookup(&root, b"inner").unwrap(),
            inside,
            "the export, not what it hides"
        );
        assert_eq!(client.mount("/inner/hidden"), Err(mount::Error::NoEnt));
        assert_eq!(client.mount("/absent"), Err(mount::Error::NoEnt));
        assert_eq!(client.mount("a"), Err(mount::Error::NoEnt));
        assert_eq!(client.mount(""), Err(mount::Error::NoEnt));
        assert_eq!(client.mount("/file"), Err(mount::Error::NotDir));
        assert_eq!(client.mount("/file/x"), Err(mount::Error::NotDir));
        assert_eq!(client.mount("/link"), Err(mount::Error::NotDir));
        assert_eq!(client.mount("/link/b"), Err(mount::Error::NotDir));
        assert_eq!(client.mount("/a/.."), Err(mount::Error::Acces));
        let long = format!("/{}", "n".repeat(300));
        assert_eq!(client.mount(&long), Err(mount::Error::NameTooLong));
        let call = mount::Call::Mnt(path("/"));
        let result = client.mount_call::<mount::MountRes<'_>>(&call);
        let mount::MountRes::Ok(ok) = result else { panic!("{result:?}") };
        assert_eq!(ok.flavors[..], [1, 0], "AUTH_SYS, AUTH_NONE");
        client.mount_call::<()>(&mount::Call::Null);
        let other = client.try_call::<()>((mount::PROGRAM, 1, 0), &()).unwrap_err();
        assert_eq!(other, Refusal::ProgramMismatch { low: 3, high: 3 });
    });
}

#[test]
fn a_mount_goes_no_way_that_its_caller_could_not_go() {
    as_root(|| {
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.path().join("private/sub")).unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(scratch.path().join("private"), mode).unwrap();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        assert!(client.mount("/private/sub").is_ok());
        assert_eq!(client.user(1001).mount("/private/sub"), Err(mount::Error::Acces));
    });
}

#[test]
fn mounts_are_listed_until_they_are_taken_back() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("a")).unwrap();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let other = client.from("127.0.0.2:700");
        client.mount("/").unwrap();
        client.mount("/a").unwrap();
        client.mount("/").unwrap();
        other.mount("/a").unwrap();
        assert!(client.mount("/absent").is_err());
        let entry = |host: &str, path: &str| (host.to_owned(), path.to_owned());
        let (one, two) = ("127.0.0.1", "127.0.0.2");
        assert_eq!(dump(&client), [entry(one, "/a"), entry(one, "/"), entry(two, "/a")]);
        client.mount_call::<()>(&mount::Call::Umnt(path("/a")));
        assert_eq!(dump(&client), [entry(one, "/"), entry(two, "/a")]);
        client.mount("/a").unwrap();
        client.mount_call::<()>(&mount::Call::UmntAll);
        assert_eq!(dump(&client), [entry(two, "/a")], "not another's");
        assert_eq!(client.service.mounted(), 1);
    });
}

#[test]
fn what_is_exported_is_told_with_its_networks() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let mut options = vec![trusting(scratch.path()), trusting(scratch.path())];
        options[0].path = "/b".parse().unwrap();
        options[1].clients = vec!["10.0.0.0/8".parse().unwrap(), "fd00::1".parse().unwrap()];
        let client = Client::new(&Thread::new(), &service(options));
        let told = client.mount_call::<mount::ExportRes<'_>>(&mount::Call::Export);
        let told: Vec<_> = told
            .iter()
            .map(|export| (&*export.directory, export.groups.iter().map(|g| &**g).collect()))
            .collect::<Vec<(&[u8], Vec<&[u8]>)>>();
        let networks: [(&[u8], Vec<&[u8]>); 2] =
            [(b"/", vec![b"10.0.0.0/8", b"fd00::1"]), (b"/b", vec![b"127.0.0.0/8", b"::1"])];
        assert_eq!(told, networks);
        let exports = client.service.exports().exports().to_vec();
        let twice = ExportTable::new(vec![exports[0].clone(), Arc::clone(&exports[0])]);
        assert_eq!(twice.unwrap_err(), TableError::Twice("/".parse().unwrap()));
    });
}

#[test]
fn the_port_mapper_knows_what_is_served_where() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let port = |program, version, protocol| {
            let asked = portmap::Mapping { program, version, protocol, port: 0 };
            client.portmap_call::<u32>(&portmap::Call::GetPort(asked))
        };
        let (tcp, udp) = (portmap::TCP, portmap::UDP);
        assert_eq!(port(nfs3::PROGRAM, 3, tcp), 2049);
        assert_eq!(port(nfs3::PROGRAM, 3, udp), 0, "only over TCP");
        assert_eq!(port(nfs3::PROGRAM, 2, tcp), 0);
        assert_eq!((port(mount::PROGRAM, 3, tcp), port(mount::PROGRAM, 3, udp)), (2049, 2049));
        assert_eq!((port(portmap::PROGRAM, 2, udp), port(100_024, 1, tcp)), (2049, 0));
        assert_eq!(port(nfs3::PROGRAM, 3, 1), 0);
        let list = client.portmap_call::<portmap::DumpRes>(&portmap::Call::Dump);
        assert_eq!(list.len(), 10);
        let (program, version) = (nfs3::PROGRAM, 3);
        let nfs = portmap::Mapping { program, version, protocol: tcp, port: 2049 };
        assert!(list.contains(&nfs));
        assert!(!client.portmap_call::<bool>(&portmap::Call::Set(nfs)));
        assert!(!client.portmap_call::<bool>(&portmap::Call::Unset(nfs)));
        client.portmap_call::<()>(&portmap::Call::Null);
        let mut call_it = Encoder::new();
        call_it.put(&portmap::Call::CallIt(portmap::CallItArgs {
            program: mount::PROGRAM,
            version: 3,
            procedure: 0,
            args: Opaque::EMPTY,
        }));
        assert_eq!(client.send(client.xid(), (portmap::PROGRAM, 2, 5), &call_it), None);

        let text = |text: &'static [u8]| Opaque::new(text).unwrap();
        let binding = |program, version, netid| rpcbind::Binding {
            program,
            version,
            netid: text(netid),
            address: Opaque::EMPTY,
            owner: Opaque::EMPTY,
        };
        let address = |version, call| {
            let told = client.rpcbind_call::<rpcbind::Text<'_>>(version, &call);
            told.map(|text| String::from_utf8(text.to_vec()).unwrap())
        };
        let get =
            |program, version, netid| rpcbind::Call::GetAddr(binding(program, version, netid));
        let here = Ok("127.0.0.1.8.1".to_owned());
        for version in [3, 4] {
            assert_eq!(address(version, get(nfs3::PROGRAM, 3, b"tcp")), here);
            assert_eq!(address(version, get(nfs3::PROGRAM, 4, b"tcp")), here, "any version");
            assert_eq!(address(version, get(nfs3::PROGRAM, 3, b"")), here, "as it was asked");
            assert_eq!(address(version, get(nfs3::PROGRAM, 3, b"udp")), Ok(String::new()));
            assert_eq!(address(version, get(nfs3::PROGRAM, 3, b"tcp6")), Ok(String::new()));
            assert_eq!(address(version, get(mount::PROGRAM, 3, b"udp")), here);
            let asked = rpcbind::Call::Dump;
            let list = client.rpcbind_call::<rpcbind::DumpRes<'_>>(version, &asked).unwrap();
            assert_eq!(list.len(), 10);
            assert!(list.iter().all(|entry| *entry.address == *b"127.0.0.1.8.1"));
            let time = client.rpcbind_call::<u32>(version, &rpcbind::Call::GetTime).unwrap();
            assert!(time > 1_700_000_000);
        }
        let exact = |version, program_version| {
            let asked = binding(nfs3::PROGRAM, program_version, b"tcp");
            address(version, rpcbind::Call::GetVersAddr(asked))
        };
        assert_eq!(exact(3, 3), Err(Refusal::ProcedureUnavailable));
        assert_eq!((exact(4, 3), exact(4, 4)), (here, Ok(String::new())));
        let indirect = client.try_call::<()>((rpcbind::PROGRAM, 4, 10), &()).unwrap_err();
        assert_eq!(indirect, Refusal::ProcedureUnavailable);
    });
}

#[test]
fn the_port_is_the_one_that_the_client_can_reach() {
    as_ordinary_user(|| {
        let scratch = Scratch::new();
        let client = Client::new(&Thread::new(), &service(vec![trusting(scratch.path())]));
        let listening = |address: &str| Listening::new(Transport::Tcp, address.parse().unwrap());
        client.service.set_listening(vec![
            listening("10.0.0.1:3000"),
            listening("0.0.0.0:4000"),
            listening("127.0.0.1:5000"),
        ]);
        let ask = |local: &str| {
            let from = "127.0.0.1:900".parse().unwrap();
            let peer = Peer::new(Transport::Tcp, from, local.parse().unwrap());
            let asked =
                portmap::Mapping { program: nfs3::PROGRAM, version: 3, protocol: 6, port: 0 };
            let client = Client { peer, ..client.clone() };
            client.portmap_call::<u32>(&portmap::Call::GetPort(asked))
        };
        assert_eq!(ask("127.0.0.1:5000"), 5000, "where it came in");
        assert_eq!(ask("127.0.0.1:111"), 4000);
        assert_eq!(ask("10.0.0.1:111"), 3000);
        assert_eq!(ask("[::1]:111"), 0);
    });
}

#[test]
fn lists_in_datagrams_stay_small() {
    let scratch = Scratch::new();
    open_to_all(scratch.path());
    let export = |number: u32| {
        let mut options = trusting(scratch.path());
        options.path = format!("/{number}/{}", "long".repeat(50)).parse().unwrap();
        options
    };
    let service = service((0..100).map(export).collect());
    let programs = holm_nfsd::programs_by_datagram::<Inline>();
    let mut context = Context::new(privileges(), Inline).unwrap();
    let mut size = |program, procedure| {
        let mut call = Encoder::new();
        let anybody = holm_sunrpc::Credential::None;
        encode_call(&mut call, 7, (program, 3, procedure), &anybody);
        let from = "127.0.0.1:900".parse().unwrap();
        let peer = Peer::new(Transport::Udp, from, LOCAL.parse().unwrap());
        let mut out = Encoder::new();
        let _served = context.attend(&service, peer, |context| {
            programs.serve(context, &call, Framing::Datagram, &mut out).unwrap()
        });
        out.to_vec()
    };
    let list = decode::<mount::ExportRes<'_>>(size(mount::PROGRAM, 5)).unwrap();
    assert!(!list.is_empty() && list.len() < 20);
    let nfs = decode::<()>(size(nfs3::PROGRAM, 0));
    assert_eq!(nfs, Err(Refusal::ProgramUnavailable), "NFS only over streams");
}
