//! MOUNT, portmap, rpcbind and LOCALIO, worked out by hand from their descriptions.

mod common;

use common::*;
use holm_nfs_proto::{localio, mount, portmap, rpcbind};
use holm_xdr::{Array, Decoder, List};

#[test]
fn mount() {
    use mount::*;
    let numbers = Procedure::ALL.iter().map(|procedure| procedure.number());
    assert!(numbers.eq(0..6));
    let path = bytes([2, 0x2f61_0000]);
    for (procedure, call) in
        [(Procedure::Mnt, Call::Mnt(opaque(b"/a"))), (Procedure::Umnt, Call::Umnt(opaque(b"/a")))]
    {
        assert_eq!(Call::decode(procedure, &mut Decoder::strict(&path)), Ok(call.clone()));
        assert_eq!(encoded(&call), path);
    }
    for call in [Call::Null, Call::Dump, Call::UmntAll, Call::Export] {
        assert!(encoded(&call).is_empty());
        assert_eq!(Call::decode(call.procedure(), &mut Decoder::new(&[])), Ok(call));
    }
    let flavors = Array::new(vec![1, 0]).unwrap();
    check(
        &MountRes::Ok(MountOk { handle: opaque(&HANDLE_BYTES), flavors }),
        &bytes([0, 4, 9, 2, 1, 0]),
    );
    check(&MountRes::Failed(Error::Acces), &bytes([13]));
    check(
        &DumpRes::new(vec![MountEntry { host: opaque(b"a"), directory: opaque(b"/a") }]).unwrap(),
        &bytes([1, 1, 0x6100_0000, 2, 0x2f61_0000, 0]),
    );
    let groups = List::new(vec![opaque(b"a"), opaque(b"b")]).unwrap();
    check(
        &ExportRes::new(vec![
            ExportEntry { directory: opaque(b"/a"), groups },
            ExportEntry { directory: opaque(b"/"), groups: List::default() },
        ])
        .unwrap(),
        &bytes([
            1,
            2,
            0x2f61_0000,
            1,
            1,
            0x6100_0000,
            1,
            1,
            0x6200_0000,
            0,
            1,
            1,
            0x2f00_0000,
            0,
            0,
        ]),
    );
    let long = bytes([1025]);
    assert!(Call::decode(Procedure::Mnt, &mut Decoder::new(&long)).is_err());
}

#[test]
fn portmap() {
    use portmap::*;
    let mapping = Mapping { program: 100_003, version: 3, protocol: TCP, port: 2049 };
    let words = [100_003, 3, 6, 2049];
    check(&mapping, &bytes(words));
    let arguments = bytes(words);
    for call in [Call::Set(mapping), Call::Unset(mapping), Call::GetPort(mapping)] {
        let decoded = Call::decode(call.procedure(), &mut Decoder::new(&arguments));
        assert_eq!(decoded, Ok(call));
    }
    check(&DumpRes::new(vec![mapping]).unwrap(), &bytes([1, 100_003, 3, 6, 2049, 0]));
    let args = opaque(b"a");
    check(
        &CallItArgs { program: 1, version: 2, procedure: 3, args },
        &bytes([1, 2, 3, 1, 0x6100_0000]),
    );
    check(&CallItRes { port: 111, results: args }, &bytes([111, 1, 0x6100_0000]));
}

#[test]
fn rpcbind() {
    use rpcbind::*;
    let binding = Binding {
        program: 100_003,
        version: 3,
        netid: opaque(TCP),
        address: opaque(b""),
        owner: opaque(b"a"),
    };
    let words = [100_003, 3, 3, 0x7463_7000, 0, 1, 0x6100_0000];
    check(&binding, &bytes(words));
    let arguments = bytes(words);
    for (number, call) in [
        (1, Call::Set(binding)),
        (2, Call::Unset(binding)),
        (3, Call::GetAddr(binding)),
        (9, Call::GetVersAddr(binding)),
    ] {
        assert_eq!(call.procedure().number(), number);
        let decoded = Call::decode(call.procedure(), &mut Decoder::new(&arguments));
        assert_eq!(decoded, Ok(call));
    }
    assert_eq!(Procedure::from_number(5), None, "no calls through the binder");
    check(&DumpRes::new(vec![binding]).unwrap(), &bytes([&[1], &words[..], &[0]].concat()));
}

#[test]
fn universal_addresses() {
    use rpcbind::{parse_universal_address, universal_address};
    for (text, address) in [
        ("127.0.0.1.8.1", "127.0.0.1:2049"),
        ("0.0.0.0.0.111", "0.0.0.0:111"),
        ("::1.255.255", "[::1]:65535"),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(universal_address(address), text);
        assert_eq!(parse_universal_address(text.as_bytes()), Some(address));
    }
    for text in [
        "",
        "127.0.0.1",
        "127.0.0.1.256.1",
        "127.0.0.1.+8.1",
        "127.0.0.1..1",
        "a.1.2",
        "\u{e9}.1.2",
    ] {
        assert_eq!(parse_universal_address(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse_universal_address(&[0xff, b'.', b'1', b'.', b'1']), None);
}

#[test]
fn localio() {
    use localio::*;
    let uuid: Uuid = *b"0123456789abcdef";
    assert_eq!(Procedure::UuidIsLocal.number(), 1);
    assert_eq!(encoded(&Call::UuidIsLocal(uuid)), uuid, "without a count");
    let decoded = Call::decode(Procedure::UuidIsLocal, &mut Decoder::new(&uuid));
    assert_eq!(decoded, Ok(Call::UuidIsLocal(uuid)));
    assert!(Call::decode(Procedure::UuidIsLocal, &mut Decoder::new(&uuid[..15])).is_err());
}

#[test]
fn door() {
    use localio::door::*;
    let uuid = *b"0123456789abcdef";
    let words = [1, 0x3031_3233, 0x3435_3637, 0x3839_6162, 0x6364_6566];
    check(&Request::Register(uuid), &bytes(words));
    for (number, access) in [(1, Access::Read), (2, Access::Write), (3, Access::ReadWrite)] {
        let open = Open { serial: 7, handle: opaque(&HANDLE_BYTES), access };
        check(&Request::Open(open), &bytes([2, 7, 4, 9, number]));
    }
    check(&Request::Close(Close { file: 1 << 32, flushed: true }), &bytes([3, 1, 0, 1]));

    check(&Message::Welcome(Welcome::THIS), &bytes([1, 0x686f_6c6d, 1]));
    check(&Message::Registered, &bytes([2]));
    check(&Message::Proven, &bytes([3]));
    check(&Message::Opened(Opened { serial: 7, file: 5 }), &bytes([4, 7, 0, 5]));
    let refused = Refused { serial: 7, status: holm_nfs_proto::nfs3::Error::NotSupp };
    check(&Message::Refused(refused), &bytes([5, 7, 10_004]));
    check(&Message::Recall(5), &bytes([6, 0, 5]));
    check(&Message::RecallAll, &bytes([7]));

    for words in
        [&[0][..], &[4], &[2, 7, 4, 9, 0], &[2, 7, 4, 9, 4], &[3, 0, 1, 2], &[3, 0, 1, 1, 0]]
    {
        assert!(Request::from_packet(&bytes(words.iter().copied())).is_err(), "{words:?}");
    }
    for words in [&[0][..], &[8], &[5, 7, 0], &[7, 0]] {
        assert!(Message::from_packet(&bytes(words.iter().copied())).is_err(), "{words:?}");
    }
    let longest = [2, 7, 64].into_iter().chain([0; 16]).chain([1]);
    assert!(Request::from_packet(&bytes(longest)).is_ok());
    let longer = [2, 7, 65].into_iter().chain([0; 17]).chain([1]);
    assert!(Request::from_packet(&bytes(longer)).is_err(), "no handle is so long");
}
