//! Reads that wait for the disk together.
#![cfg(not(shuttle))]

use crate::wire::*;
use crate::world::{Disk, Kind, as_root};
use holm_nfs_proto::nfs3::{self, Call};
use holm_sunrpc::Step;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::{self, File};
use std::io::IoSliceMut;

#[test]
fn while_one_read_waits_for_the_disk_those_behind_it_are_begun() {
    as_root(|| {
        let disk = Disk::new(Kind::Ext4);
        let path = disk.export().join("file");
        fs::write(&path, vec![7; 16 << 20]).unwrap();
        disk.remount();
        let client = Client::new(&Thread::new(), &service(vec![trusting(&disk.export())]));
        let root = client.mount("/").unwrap();
        let file = client.lookup(&root, b"file").unwrap();
        // From here on it is open.
        client.read(&file, 0, 4096).unwrap();

        // So far apart that the kernel does not read one with another.
        let offsets = [3, 6, 9, 12].map(|far| far << 20);
        let read = |offset| Call::Read(nfs3::ReadArgs { file: fh(&file), offset, count: 4096 });
        let null = (client.xid(), Call::Null);
        let calls: Vec<_> =
            [null].into_iter().chain(offsets.map(|at| (client.xid(), read(at)))).collect();
        let beside = File::open(&path).unwrap();
        for offset in offsets {
            assert_eq!(in_memory(&beside, offset), Err(Errno::AGAIN));
        }
        client.serve_together(&calls, 2, Step::Again, || {
            for offset in offsets {
                while in_memory(&beside, offset) != Ok(4096) {
                    std::thread::yield_now();
                }
            }
        });
    });
}

fn in_memory(file: &File, offset: u64) -> Result<usize, Errno> {
    let mut buffer = [0; 4096];
    let buffers = &mut [IoSliceMut::new(&mut buffer)];
    rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT)
}
