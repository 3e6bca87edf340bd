//! What fuzzing starts from: honest messages.

use holm_ifnet::MacAddress;
use holm_ifnet::ether::HEADER;
use holm_ifnet::lacp::{Information, Lacpdu, Marker, PortId, SlowPdu, State, System};
use holm_nfs_proto::nfs3::{self, Call, Procedure};
use holm_nfs_proto::{localio, mount, portmap, rpcbind};
use holm_sunrpc::auth::{AuthSys, Credential, Groups};
use holm_sunrpc::message::{Refusal, encode_call, encode_refusal, encode_success};
use holm_sunrpc::record::Frame;
use holm_xdr::{Encode, Encoder, List, Opaque};

/// The seeds of a target; none for those whose input is made of other things than messages.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "nfs3_args" => chosen(Procedure::ALL, &nfs3_calls(), Call::procedure),
        "mount_args" => chosen(mount::Procedure::ALL, &mount_calls(), mount::Call::procedure),
        "portmap_args" => {
            chosen(portmap::Procedure::ALL, &portmap_calls(), portmap::Call::procedure)
        }
        "rpcbind_args" => {
            chosen(rpcbind::Procedure::ALL, &rpcbind_calls(), rpcbind::Call::procedure)
        }
        "localio_args" => {
            let calls = [localio::Call::Null, localio::Call::UuidIsLocal([9; 16])];
            chosen(localio::Procedure::ALL, &calls, localio::Call::procedure)
        }
        "door" => vec![door(&[0x04, 0x44]), door(&[0x04, 0x4c, 0x84])],
        "nfs3_results" => nfs3_results(),
        "mount_results" => {
            let groups = List::new(vec![text(b"10.0.0.0/8")]).unwrap_or_default();
            let export = mount::ExportEntry { directory: text(b"/"), groups };
            let entry = mount::MountEntry { host: text(b"10.0.0.1"), directory: text(b"/") };
            vec![
                [&[0][..], &encoded(&mount::MountRes::Failed(mount::Error::Acces))].concat(),
                [&[1][..], &encoded(&List::<_, 4>::new(vec![entry]).unwrap_or_default())].concat(),
                [&[2][..], &encoded(&List::<_, 4>::new(vec![export]).unwrap_or_default())].concat(),
            ]
        }
        "binder_results" => {
            let mappings = List::<_, 4>::new(vec![mapping()]).unwrap_or_default();
            let bindings = List::<_, 4>::new(vec![binding()]).unwrap_or_default();
            vec![
                [&[0][..], &encoded(&mappings)].concat(),
                [&[2][..], &encoded(&bindings)].concat(),
                b"127.0.0.1.8.1".to_vec(),
            ]
        }
        "rpc_call" => calls().into_iter().map(|call| message(&call, 1)).collect(),
        "datagrams" => calls()
            .into_iter()
            .filter(|call| call.0.0 != nfs3::PROGRAM)
            .map(|c| message(&c, 1))
            .collect(),
        "rpc_reply" => {
            let mut served = Encoder::new();
            encode_success(&mut served, 1);
            let refused = [
                Refusal::ProcedureUnavailable,
                Refusal::ProgramMismatch { low: 2, high: 3 },
                Refusal::RpcMismatch { low: 2, high: 2 },
            ];
            let refused = refused.map(|refusal| {
                let mut out = Encoder::new();
                encode_refusal(&mut out, 1, refusal);
                out.to_vec()
            });
            [vec![served.to_vec()], refused.to_vec()].concat()
        }
        "record_marking" => {
            let records = stream(&calls());
            vec![[&[0, 7, 30, 255][..], &records].concat()]
        }
        "connection" => {
            let echoes = [0, 1, 2, 3, 4].map(|procedure| ((1, 1, procedure), vec![0, 0, 0, 9]));
            vec![stream(&echoes)]
        }
        "programs" => {
            let mut seeds: Vec<_> = calls().into_iter().map(|call| stream(&[call])).collect();
            seeds.push(stream(&calls()));
            seeds
        }
        "path_database" => {
            let entry = [&[0][..], &[3; 16], &[4], b"file"].concat();
            vec![[&entry[..], &entry[1..]].concat(), vec![1, 0, 0, 9, 1], vec![1, 0x80, 4, 0, 0]]
        }
        "slow_pdu" => slow_pdus(),
        "lacp" => {
            let event = |pdu: Vec<u8>| [&[200, 0, 128, 110][..], &pdu].concat();
            vec![slow_pdus().into_iter().cycle().take(30).flat_map(event).collect()]
        }
        "flow_hash" => flows(),
        "stream_frames" => {
            let frames = flows().into_iter().map(|frame| (frame.len() as u32, frame));
            let framed = frames.flat_map(|(len, frame)| [&len.to_be_bytes()[..], &frame].concat());
            vec![[0, 7, 30, 255].into_iter().chain(framed).collect()]
        }
        "unfinished_frames" => unfinished(),
        "stack_frames" => {
            // A connection is made, and something is sent one way, taken, and sent the other way.
            let all_arrives = [[0xa0, 0, 0], [0x20, 0, 0]].concat();
            let arrives = all_arrives.repeat(4);
            let used = [[0xeb, 0, 30], [0xa0, 0, 0], [114, 0, 255], [107, 0, 200]].concat();
            let changed = [[0x30, 40, 9], [0x20, 0, 0], [80, 250, 50], [0xb0, 50, 1]].concat();
            (0..2)
                .map(|v6| {
                    let parts = [&[96, v6, 0][..], &arrives, &used, &arrives, &changed, &arrives];
                    parts.concat()
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Clients come, and one after the other does what clients do; then everything is recalled.
fn door(arrivals: &[u8]) -> Vec<u8> {
    use localio::door::{Access, Close, Open, Request};
    let say = |client: u8, request: &Request<'_>| {
        let message = encoded(request);
        [&[client << 6, message.len() as u8][..], &message].concat()
    };
    let mut out = arrivals.to_vec();
    for client in 0..arrivals.len() as u8 {
        out.extend(say(client, &Request::Register([client; 16])));
        out.push(5);
        for access in [Access::Read, Access::Write, Access::ReadWrite] {
            let open = Open { serial: 1, handle: text(FOUND), access };
            out.extend(say(client, &Request::Open(open)));
        }
        let directory = Open { serial: 2, handle: text(ROOT), access: Access::Read };
        out.extend(say(client, &Request::Open(directory)));
        out.extend(say(client, &Request::Close(Close { file: 1, flushed: true })));
        out.push(6);
        out.extend(say(client, &Request::Close(Close { file: 2, flushed: false })));
    }
    out.extend([0x0f, 0x07]);
    out
}

/// TCP and UDP over IPv4 and IPv6 with 25 bytes, of which ten go into each piece.
fn unfinished() -> Vec<Vec<u8>> {
    let ipv4 = |protocol, behind: u8| {
        let header = [0x45, 0, 0, 20 + behind, 0, 1, 0x40, 0, 64, protocol, 0, 0];
        [&[8, 0][..], &header, &[10, 0, 0, 1], &[10, 0, 0, 2]].concat()
    };
    let ipv6 = |protocol, behind| {
        [&[0x86, 0xdd][..], &[0x60, 0, 0, 0, 0, behind, protocol, 64], &[0xfd; 32]].concat()
    };
    let tcp = [0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x99, 1, 1, 0, 0, 0, 0];
    let udp = [0, 1, 0, 2, 0, 33, 0, 0];
    let payload = [7; 25];
    let frame = |kind, network: Vec<u8>, transport: &[u8], checksum: u16| {
        let start = (12 + network.len()) as u16;
        let numbers = [0, 10, start, checksum].map(u16::to_ne_bytes).concat();
        [&[1, kind][..], &numbers, &[2; 12], &network, transport, &payload].concat()
    };
    vec![
        frame(0, ipv4(6, 45), &tcp, 16),
        frame(1, ipv4(6, 45), &tcp, 16),
        frame(4, ipv6(6, 45), &tcp, 16),
        frame(5, ipv4(17, 33), &udp, 6),
        frame(5, ipv6(17, 33), &udp, 6),
    ]
}

/// Program, version and procedure, and the arguments.
type RawCall = ((u32, u32, u32), Vec<u8>);

fn calls() -> Vec<RawCall> {
    let nfs = nfs3_calls();
    let nfs = nfs
        .iter()
        .map(|call| ((nfs3::PROGRAM, nfs3::VERSION, call.procedure().number()), encoded(call)));
    let mount = mount_calls();
    let mount = mount
        .iter()
        .map(|call| ((mount::PROGRAM, mount::VERSION, call.procedure().number()), encoded(call)));
    let portmap = portmap_calls();
    let portmap = portmap.iter().map(|call| {
        ((portmap::PROGRAM, portmap::VERSION, call.procedure().number()), encoded(call))
    });
    let rpcbind = rpcbind_calls();
    let rpcbind = rpcbind.iter().map(|call| {
        ((rpcbind::PROGRAM, rpcbind::VERSION_4, call.procedure().number()), encoded(call))
    });
    let uuid = encoded(&localio::Call::UuidIsLocal([9; 16]));
    let local = [((localio::PROGRAM, localio::VERSION, 1), uuid)];
    nfs.chain(mount).chain(portmap).chain(rpcbind).chain(local).collect()
}

fn message((procedure, arguments): &RawCall, xid: u32) -> Vec<u8> {
    let mut out = Encoder::new();
    let gids = Groups::new(&[100, 101]).unwrap_or_default();
    let credential = AuthSys { stamp: 1, machine_name: text(b"client"), uid: 0, gid: 0, gids };
    encode_call(&mut out, xid, *procedure, &Credential::Sys(credential));
    out.raw(arguments);
    out.to_vec()
}

fn stream(calls: &[RawCall]) -> Vec<u8> {
    let mut out = Encoder::new();
    for (call, xid) in calls.iter().zip(1..) {
        let frame = Frame::begin(&mut out);
        out.raw(&message(call, xid));
        // A few hundred bytes.
        let _ = frame.end(&mut out);
    }
    out.to_vec()
}

/// What the targets that choose a procedure by the first byte read.
fn chosen<P: PartialEq, C: Encode>(
    all: &[P],
    calls: &[C],
    which: impl Fn(&C) -> P,
) -> Vec<Vec<u8>> {
    let number = |call| all.iter().position(|p| *p == which(call)).unwrap_or_default() as u8;
    calls.iter().map(|call| [&[number(call)][..], &encoded(call)].concat()).collect()
}

/// Handles that the target replaces by real ones: the root's, and those that came in replies.
const ROOT: &[u8] = b"fh\0\0";
const FOUND: &[u8] = b"fh\0\x01";
const MADE: &[u8] = b"fh\0\x02";

fn nfs3_calls() -> Vec<Call<'static>> {
    let place = |name| nfs3::DirOpArgs { dir: text(ROOT), name: text(name) };
    let guarded = nfs3::CreateHow::Guarded(new_attributes());
    let file = text(FOUND);
    vec![
        Call::Null,
        Call::GetAttr(nfs3::GetAttrArgs { object: text(ROOT) }),
        Call::Lookup(nfs3::LookupArgs { what: place(b"file") }),
        Call::Create(nfs3::CreateArgs { place: place(b"new"), how: guarded }),
        Call::Create(nfs3::CreateArgs {
            place: place(b"once"),
            how: nfs3::CreateHow::Exclusive([5; 8]),
        }),
        Call::Access(nfs3::AccessArgs { object: file, access: 0x3f }),
        Call::Write(nfs3::WriteArgs {
            file,
            offset: 3,
            count: 5,
            stable: nfs3::StableHow::Unstable,
            data: text(b"hello"),
        }),
        Call::Read(nfs3::ReadArgs { file, offset: 0, count: 300 }),
        Call::Commit(nfs3::CommitArgs { file, offset: 0, count: 0 }),
        Call::SetAttr(nfs3::SetAttrArgs {
            object: text(MADE),
            new_attributes: new_attributes(),
            guard: Some(nfs3::Time { seconds: 1, nanoseconds: 2 }),
        }),
        Call::MkDir(nfs3::MkDirArgs { place: place(b"folder"), attributes: new_attributes() }),
        Call::SymLink(nfs3::SymLinkArgs {
            place: place(b"link"),
            symlink_attributes: new_attributes(),
            symlink_data: text(b"../secret"),
        }),
        Call::Lookup(nfs3::LookupArgs { what: place(b"out") }),
        Call::Lookup(nfs3::LookupArgs { what: place(b"..") }),
        Call::Lookup(nfs3::LookupArgs { what: place(b"out/../../secret") }),
        Call::ReadLink(nfs3::ReadLinkArgs { symlink: text(b"fh\0\x06") }),
        Call::MkNod(nfs3::MkNodArgs {
            place: place(b"pipe"),
            what: nfs3::MkNodData::Fifo(new_attributes()),
        }),
        Call::Rename(nfs3::RenameArgs { from: place(b"new"), to: place(b"newer") }),
        Call::Link(nfs3::LinkArgs { file, link: place(b"another") }),
        Call::ReadDir(nfs3::ReadDirArgs {
            dir: text(ROOT),
            cookie: 0,
            cookie_verifier: [0; 8],
            count: 500,
        }),
        Call::ReadDirPlus(nfs3::ReadDirPlusArgs {
            dir: text(ROOT),
            cookie: 0,
            cookie_verifier: [0; 8],
            dir_count: 500,
            max_count: 2000,
        }),
        Call::FsStat(nfs3::FsArgs { fs_root: text(ROOT) }),
        Call::FsInfo(nfs3::FsArgs { fs_root: text(ROOT) }),
        Call::PathConf(nfs3::PathConfArgs { object: text(ROOT) }),
        Call::Remove(nfs3::RemoveArgs { object: place(b"newer") }),
        Call::RmDir(nfs3::RemoveArgs { object: place(b"folder") }),
    ]
}

fn new_attributes() -> nfs3::SetAttributes {
    nfs3::SetAttributes {
        mode: Some(0o755),
        size: Some(7),
        atime: nfs3::SetTime::ServerTime,
        mtime: nfs3::SetTime::ClientTime(nfs3::Time { seconds: 3, nanoseconds: 4 }),
        ..Default::default()
    }
}

/// The position of a type in the target's list, and a value of it.
fn nfs3_results() -> Vec<Vec<u8>> {
    let failed = nfs3::Error::NoEnt;
    vec![
        [&[0][..], &encoded(&nfs3::GetAttrRes::Failed(failed, ()))].concat(),
        [&[2][..], &encoded(&nfs3::LookupRes::Failed(failed, None))].concat(),
        [&[6][..], &encoded(&nfs3::WriteRes::Failed(failed, Default::default()))].concat(),
        [
            &[9][..],
            &encoded(&nfs3::RenameRes::Failed(
                failed,
                nfs3::RenameWcc {
                    from_dir_wcc: Default::default(),
                    to_dir_wcc: Default::default(),
                },
            )),
        ]
        .concat(),
        [
            &[4][..],
            &encoded(&nfs3::ReadLinkRes::Ok(nfs3::ReadLinkOk {
                symlink_attributes: None,
                data: text(b"target"),
            })),
        ]
        .concat(),
        [
            &[7][..],
            &encoded(&nfs3::CreateRes::Ok(nfs3::CreateOk {
                object: Some(text(b"handle")),
                object_attributes: None,
                dir_wcc: Default::default(),
            })),
        ]
        .concat(),
    ]
}

fn mount_calls() -> Vec<mount::Call<'static>> {
    let path = text(b"/directory");
    use mount::Call::*;
    vec![Null, Mnt(text(b"/")), Mnt(path), Dump, Umnt(path), UmntAll, Export]
}

fn portmap_calls() -> Vec<portmap::Call<'static>> {
    use portmap::Call::*;
    let call = portmap::CallItArgs {
        program: mount::PROGRAM,
        version: mount::VERSION,
        procedure: 0,
        args: Opaque::EMPTY,
    };
    let mapping = mapping();
    vec![Null, Set(mapping), Unset(mapping), GetPort(mapping), Dump, CallIt(call)]
}

fn mapping() -> portmap::Mapping {
    let (program, version) = (nfs3::PROGRAM, nfs3::VERSION);
    portmap::Mapping { program, version, protocol: portmap::TCP, port: 2049 }
}

fn rpcbind_calls() -> Vec<rpcbind::Call<'static>> {
    use rpcbind::Call::*;
    let binding = binding();
    vec![Null, Set(binding), Unset(binding), GetAddr(binding), Dump, GetTime, GetVersAddr(binding)]
}

fn binding() -> rpcbind::Binding<'static> {
    rpcbind::Binding {
        program: nfs3::PROGRAM,
        version: nfs3::VERSION,
        netid: text(rpcbind::TCP),
        address: text(b"127.0.0.1.8.1"),
        owner: text(b"superuser"),
    }
}

/// Short texts; none is longer than its type allows.
fn text<const MAX: u32>(bytes: &[u8]) -> Opaque<'_, MAX> {
    Opaque::new(bytes).unwrap_or_default()
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = Encoder::new();
    value.encode(&mut out);
    out.to_vec()
}

/// What comes after the header of the frames: a LACPDU that agrees with port 0 of the target's system,
/// a marker and its answer.
fn slow_pdus() -> Vec<Vec<u8>> {
    let end = |seed: u8, number: u16, state: u8| Information {
        system: System { priority: 0x8000, mac: MacAddress([2, 0, 0, 0, 0, seed]) },
        key: 7,
        port: PortId { priority: 0x8000, number },
        state: State(state),
    };
    let partner = end(1, 0, 0x0d);
    let marker = Marker { port: 3, system: MacAddress([2, 0, 0, 0, 0, 2]), transaction: 4 };
    let pdus = [
        SlowPdu::Lacp(Lacpdu { actor: end(2, 3, 0x3d), partner, collector_max_delay: 5 }),
        SlowPdu::Marker(marker),
        SlowPdu::MarkerResponse(marker),
    ];
    pdus.map(|pdu| pdu.frame(marker.system).split_at(HEADER).1.to_vec()).to_vec()
}

/// All layers and three ports, and a frame: of IPv4, of IPv6 with an extension, and each in a VLAN.
fn flows() -> Vec<Vec<u8>> {
    let stations = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    let ports = [3, 232, 8, 1];
    let ipv4 = [8, 0, 0x45, 0, 0, 24, 7, 7, 0, 0, 64, 6, 9, 9, 10, 0, 0, 1, 10, 0, 0, 2];
    let ipv4 = [&ipv4[..], &ports].concat();
    let ipv6 = [0x86, 0xdd, 0x60, 0, 1, 2, 0, 12, 60, 64];
    let ipv6 = [&ipv6[..], &[0xfe; 32], &[17, 0, 1, 4, 0, 0, 0, 0], &ports].concat();
    let tagged = |packet: &[u8]| [&[0x81, 0, 0, 5][..], packet].concat();
    [tagged(&ipv4), tagged(&ipv6), ipv4, ipv6]
        .map(|packet| [&[0xff][..], &stations, &packet].concat())
        .to_vec()
}
