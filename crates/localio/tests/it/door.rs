//! Files past the network: borrowed, recalled, borrowed again; and doors that are none.

use crate::fake_door::FakeDoor;
use crate::world::{World, own_options, pattern, url};
use holm_localio::{Access, File, Local, Mount};
use holm_nfs_proto::localio::door::{self, Message, Opened, Welcome};
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file `a` that can be opened at a door.
struct Setting {
    door: FakeDoor,
    mount: Mount,
    path: PathBuf,
    _world: World,
}

impl Setting {
    fn new() -> Self {
        let world = World::new();
        let (address, directory) = world.files();
        Self::with(world, FakeDoor::new(address), &directory)
    }

    fn with(world: World, door: FakeDoor, directory: &Path) -> Self {
        let path = directory.join("a");
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let mount = Mount::new(&url(door.address, "/"), &own_options()).unwrap();
        door.knows(&mount.lookup("a").unwrap().handle, &path);
        Self { door, mount, path, _world: world }
    }

    fn open(&self) -> File {
        self.mount.open("a", Access::ReadWrite).unwrap()
    }

    /// Uses the file until it is local again.
    fn use_until_local(&self, file: &File) {
        while !file.is_local() {
            file.read_at(&mut [0], 0).unwrap();
        }
    }
}

fn content(file: &File) -> Vec<u8> {
    let mut content = vec![0; 1000];
    let count = file.read_at(&mut content, 0).unwrap();
    content.truncate(count);
    content
}

#[test]
fn a_file_is_borrowed_and_given_back() {
    let setting = Setting::new();
    let file = setting.open();
    assert!(file.is_local());
    assert_eq!(content(&file), b"content");
    file.write_at(b"C", 0).unwrap();
    assert_eq!(fs::read(&setting.path).unwrap(), b"Content");
    assert_eq!(file.stat().unwrap().size, 7);
    file.commit().unwrap();
    file.write_at(b"t!", 6).unwrap();
    drop(file);
    assert_eq!(setting.door.wait_for_all(), [(1, false)], "written since the last commit");
    let file = setting.open();
    assert!(file.is_local());
    drop(file);
    assert_eq!(setting.door.wait_for_all()[1..], [(2, true)]);
}

#[test]
fn a_recalled_file_goes_on_by_rpc_and_comes_back() {
    let setting = Setting::new();
    let file = setting.open();
    for round in 1..4 {
        assert!(file.is_local());
        file.write_at(b"local", 0).unwrap();
        setting.door.say(&Message::Recall(round));
        assert_eq!(setting.door.wait_for_all().last(), Some(&(round, true)), "and committed");
        file.write_at(b"remote", 2).unwrap();
        assert_eq!(content(&file), b"loremote");
        file.commit().unwrap();
        setting.use_until_local(&file);
    }
}

#[test]
fn a_door_that_closes_is_looked_for_again() {
    let setting = Setting::new();
    let file = setting.open();
    let read_only = setting.mount.open("a", Access::Read).unwrap();
    setting.use_until_local(&read_only);
    for round in 2..4 {
        assert!(file.is_local() && read_only.is_local());
        file.write_at(b"written", 0).unwrap();
        if round == 2 {
            setting.door.recall_all()
        } else {
            setting.door.hang_up()
        }
        setting.door.wait_for_all();
        // A server that hangs up does not hear when.
        while file.is_local() || read_only.is_local() {
            std::thread::yield_now();
        }
        assert_eq!(content(&file), b"written");
        assert_eq!(content(&read_only), b"written");
        setting.use_until_local(&file);
        setting.use_until_local(&read_only);
        setting.door.wait_for_lines(round);
    }
    let none = setting.mount.open("a", Access::Read).unwrap();
    setting.use_until_local(&none);
}

#[test]
fn a_file_that_is_read_by_one_call_is_not_borrowed_for_it() {
    let setting = Setting::new();
    let whole = setting.mount.open("a", Access::Read).unwrap();
    assert_eq!(content(&whole), b"content");
    assert!(!whole.is_local());
    assert_eq!(content(&whole), b"content");
    assert!(whole.is_local(), "it is read again");
    let part = setting.mount.open("a", Access::Read).unwrap();
    part.read_at(&mut [0; 3], 0).unwrap();
    assert!(part.is_local(), "there is more of it");
}

#[test]
fn holes_are_known_while_the_file_is_here() {
    const MIB: u64 = 1 << 20;
    let setting = Setting::new();
    let sparse = OpenOptions::new().write(true).truncate(true).open(&setting.path).unwrap();
    sparse.set_len(8 * MIB).unwrap();
    sparse.write_all_at(b"data", 4 * MIB).unwrap();
    let file = setting.mount.open("a", Access::Read).unwrap();
    assert_eq!(file.next_data(0), 0..u64::MAX, "it is not here yet");
    setting.use_until_local(&file);
    // As wide as a block, whatever that is.
    let data = file.next_data(0);
    assert!(data.start > 0 && data.contains(&(4 * MIB)) && data.end < 8 * MIB, "{data:?}");
    assert_eq!(file.next_data(4 * MIB + 1), 4 * MIB + 1..data.end);
    assert!(file.next_data(data.end).is_empty());
    assert!(file.next_data(u64::MAX).is_empty(), "beyond the end");
    let mut there = [1; 8];
    assert_eq!(file.read_at(&mut there, 4 * MIB).unwrap(), 8);
    assert_eq!(&there, b"data\0\0\0\0");

    setting.door.recall_all();
    setting.door.wait_for_all();
    assert_eq!(file.next_data(0), 0..u64::MAX, "it is not here any more");
}

#[test]
fn no_byte_is_wrong_while_files_are_recalled() {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 16;
    let setting = Setting::new();
    let over = AtomicBool::new(false);
    let file = setting.open();
    let (file, over) = (&file, &over);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                scope.spawn(move || {
                    for generation in 0..400 {
                        for block in (0..BLOCKS).filter(|block| block % 4 == worker) {
                            let data = pattern(BLOCK, generation * BLOCKS + block);
                            let at = block * BLOCK as u64;
                            file.write_at(&data, at).unwrap();
                            let mut read = vec![0; BLOCK];
                            assert_eq!(file.read_at(&mut read, at).unwrap(), BLOCK);
                            assert!(read == data, "generation {generation}, block {block}");
                        }
                        if generation % 50 == worker {
                            file.commit().unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::SeqCst) {
                match setting.door.lent().last() {
                    Some(number) if rounds % 3 > 0 => setting.door.say(&Message::Recall(*number)),
                    Some(_) if rounds % 2 == 0 => setting.door.recall_all(),
                    Some(_) => setting.door.hang_up(),
                    None => {
                        std::thread::yield_now();
                        continue;
                    }
                }
                setting.door.wait_for_all();
                rounds += 1;
            }
            assert!(rounds > 0);
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::SeqCst);
        for worker in ended {
            worker.unwrap();
        }
    });
    file.commit().unwrap();
    let expected: Vec<_> = (0..BLOCKS).flat_map(|b| pattern(BLOCK, 399 * BLOCKS + b)).collect();
    assert!(fs::read(&setting.path).unwrap() == expected);
}

#[test]
fn who_is_somebody_else_uses_rpc() {
    let setting = Setting::new();
    let url = url(setting.door.address, "/");
    let mut options = own_options();
    options.local = Local::Never;
    let never = Mount::new(&url, &options).unwrap();
    assert!(!never.open("a", Access::Read).unwrap().is_local());
    let mut options = own_options();
    options.user.uid += 1;
    let other = Mount::new(&url, &options).unwrap();
    let file = other.open("a", Access::Read).unwrap();
    assert!(!file.is_local());
    assert_eq!(content(&file), b"content");
}

#[test]
fn what_the_server_refuses_locally_is_what_it_says_by_rpc() {
    let setting = Setting::new();
    let file = setting.open();
    assert!(file.is_local());
    let error = file.write_at(b"x", u64::MAX - 10).unwrap_err();
    assert!(error.status().is_some(), "{error}");
    assert!(file.is_local());
}

/// Not what was asked for.
#[test]
fn descriptors_are_looked_at() {
    type Opening = fn(&Path) -> std::io::Result<fs::File>;
    let openings: [(&str, Opening); 5] = [
        ("read-only", |path| fs::File::open(path)),
        ("write-only", |path| OpenOptions::new().write(true).open(path)),
        ("appending", |path| OpenOptions::new().read(true).append(true).open(path)),
        ("a path", |path| OpenOptions::new().read(true).custom_flags(0o10_000_000).open(path)),
        ("a device", |_| OpenOptions::new().read(true).write(true).open("/dev/null")),
    ];
    for (what, opening) in openings {
        let world = World::new();
        let (address, directory) = world.files();
        let door = FakeDoor::that(address, Welcome::THIS, move |path, _| opening(path));
        let setting = Setting::with(world, door, &directory);
        let file = setting.open();
        assert!(!file.is_local(), "{what}");
        file.write_at(b"x", 0).unwrap();
        assert_eq!(content(&file), b"xontent", "{what}");
        setting.door.wait_for_all();
    }
}

#[test]
fn a_door_that_makes_no_sense_is_none() {
    let world = World::new();
    let (address, directory) = world.files();
    let strange = Welcome { magic: 1, ..Welcome::THIS };
    let door = FakeDoor::that(address, strange, |path, _| fs::File::open(path));
    let setting = Setting::with(world, door, &directory);
    assert!(!setting.open().is_local());

    let null = fs::File::open("/dev/null").unwrap();
    let lies: [&dyn Fn(&FakeDoor); 6] = [
        &|door| door.say_raw(b"garbage!", &[]),
        &|door| door.say_raw(&[0; 300], &[]),
        &|door| door.say(&Message::Registered),
        &|door| door.say(&Message::Opened(Opened { serial: 77, file: 1 })),
        &|door| {
            let mut out = holm_xdr::Encoder::new();
            holm_xdr::Encode::encode(&Message::Recall(1), &mut out);
            door.say_raw(&out, &[null.as_fd()]);
        },
        &|door| door.say_raw(&[0, 0, 0, 7], &[null.as_fd(), null.as_fd()]),
    ];
    for lie in lies {
        let setting = Setting::new();
        let file = setting.open();
        assert!(file.is_local());
        lie(&setting.door);
        setting.door.wait_for_all();
        assert_eq!(content(&file), b"content");
    }
    // Recalling what nobody has is nothing.
    let setting = Setting::new();
    let file = setting.open();
    setting.door.say(&Message::Recall(99));
    setting.door.say(&Message::Refused(door::Refused {
        serial: 99,
        status: holm_nfs_proto::nfs3::Error::Io,
    }));
    drop(file);
    assert_eq!(setting.door.wait_for_all(), [(1, true)]);
    assert!(setting.open().is_local());
}
