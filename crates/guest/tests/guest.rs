//! Guests as tests use them. All of these boot a machine; the first one may have to build the image
//! before, and fails with what to install when it can't.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{self, Stdio},
    thread,
    time::Duration,
};

use holm_guest::{CachedDisk, Disk, Error, Guest, Network, Share};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// What a step of a test may take: a machine that has other things to do, and no hardware support,
/// needs minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

#[test]
fn a_script_gets_its_arguments_and_its_exit_code_and_output_come_back() -> Result<(), Error> {
    let outcome = Guest::builder()
        .name("blue")
        .no_network()
        .script(
            "echo \"$(hostname): $1, $COLOUR, $(id -un)\"; cat /etc/payload; echo oops >&2; exit 7",
        )
        .argument("it's \"quoted\" $HOME")
        .variable("COLOUR", "dark\nblue")
        .file(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), "/etc/payload")
        .run()?;
    assert_eq!(outcome.code, 7);
    let expected = "blue: it's \"quoted\" $HOME, dark\nblue, root\n".to_owned()
        + include_str!("../Cargo.toml");
    assert_eq!(outcome.text(), expected);
    assert_eq!(String::from_utf8_lossy(&outcome.stderr), "oops\n");
    assert!(outcome.boot < outcome.total);
    println!("booted in {:?}, done after {:?}", outcome.boot, outcome.total);
    let failed = outcome.success().expect_err("it failed");
    assert!(failed.to_string().contains("exit code 7"), "{failed}");
    assert!(failed.to_string().contains("oops"), "{failed}");
    Ok(())
}

#[test]
fn the_kernel_has_an_nfs_client_that_mounts() -> Result<(), Error> {
    let outcome = Guest::builder()
        .no_network()
        .disk(Disk::temporary(64))
        .module("nfs")
        .script(
            "set -e
            grep -w nfs /proc/filesystems
            rpcbind
            modprobe nfsd
            mount -t nfsd nfsd /proc/fs/nfsd
            exportfs -i -o rw,no_root_squash,insecure 127.0.0.1:/scratch
            rpc.mountd
            rpc.nfsd --no-udp 1
            echo served > /scratch/file
            mount -t nfs -o vers=3,tcp,nolock 127.0.0.1:/scratch /mnt
            cat /mnt/file
            echo written | dd of=/mnt/new conv=fsync status=none
            cat /scratch/new",
        )
        .run()?
        .success()?;
    assert_eq!(outcome.text(), "nodev\tnfs\nserved\nwritten\n");
    Ok(())
}

#[test]
fn output_comes_while_the_script_runs_and_input_reaches_it() -> Result<(), Error> {
    let mut guest = Guest::builder()
        .no_network()
        .stdin()
        .script("echo ready; read -r line; echo \"got $line\"; cat; echo end")
        .spawn()?;
    guest.wait_for_output("ready\n", PATIENCE)?;
    assert_eq!(guest.stdout(), b"ready\n");
    guest.send("one\n")?;
    guest.wait_for_output("got one\n", PATIENCE)?;
    guest.send("two\n")?;
    guest.wait_for_output("two\n", PATIENCE)?;
    guest.close_stdin();
    assert_eq!(guest.wait()?.success()?.text(), "ready\ngot one\ntwo\nend\n");
    Ok(())
}

#[test]
fn what_is_waited_for_in_vain_is_an_error_with_the_output() -> Result<(), Error> {
    let mut guest = Guest::builder().no_network().script("echo something else").spawn()?;
    match guest.wait_for_output("ready", PATIENCE) {
        Err(Error::Unsaid { remains, .. }) => assert_eq!(remains.stdout, b"something else\n"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[test]
fn a_script_that_does_not_end_is_stopped() -> Result<(), Error> {
    let mut timeout = Duration::from_secs(15);
    loop {
        let guest = Guest::builder()
            .no_network()
            .timeout(timeout)
            .script("echo on >&2; echo going; sleep infinity")
            .spawn()?;
        match guest.wait() {
            Err(Error::Timeout { after, .. }) if after != timeout => panic!("{after:?}"),
            // It did not come so far in that time.
            Err(Error::Timeout { remains, .. }) if remains.stdout.is_empty() => timeout *= 2,
            Err(Error::Timeout { remains, .. }) => {
                assert_eq!(remains.stdout, b"going\n");
                assert_eq!(remains.stderr, b"on\n");
                return Ok(());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_kernel_panic_is_an_error_with_the_console() {
    let guest = Guest::builder().no_network().script("echo c > /proc/sysrq-trigger").run();
    match guest {
        Err(Error::Died { remains, .. }) => {
            let console = String::from_utf8_lossy(&remains.console);
            assert!(console.contains("Kernel panic"), "{console}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_qemu_refuses_is_said() {
    match Guest::builder().qemu_argument("-nonsense").run() {
        Err(error @ Error::Died { .. }) => {
            assert!(error.to_string().contains("-nonsense: invalid option"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_script_leaves_running_does_not_keep_the_guest() -> Result<(), Error> {
    let outcome = Guest::builder()
        .no_network()
        .script("setsid sleep infinity & (setsid sh -c 'trap \"\" TERM HUP; cat /dev/zero' > /dev/null &); echo done")
        .run()?
        .success()?;
    assert_eq!(outcome.text(), "done\n");
    Ok(())
}

#[test]
fn a_power_loss_takes_what_was_not_synced_and_nothing_else() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = || Disk::kept(directory.path().join("disk"), 256);
    let guest = || Guest::builder().no_network().disk(disk());

    let mut first = guest()
        .script(
            "echo 0 > /proc/sys/vm/dirty_writeback_centisecs
            head -c 300000 /dev/urandom > /scratch/synced
            sync /scratch/synced /scratch
            md5sum < /scratch/synced
            head -c 300000 /dev/urandom > /scratch/unsynced
            echo done
            sleep infinity",
        )
        .spawn()?;
    first.wait_for_output("done\n", PATIENCE)?;
    let process = format!("/proc/{}", first.process());
    assert!(Path::new(&process).exists());
    let remains = first.power_loss()?;
    assert!(!Path::new(&process).exists(), "QEMU is gone when the call returns");
    let sum = String::from_utf8_lossy(&remains.stdout).lines().next().map(str::to_owned);

    // Nobody syncs here; but this guest ends in order.
    let second = guest()
        .script(
            "md5sum < /scratch/synced
            stat -c %b /scratch/unsynced 2> /dev/null || echo 0
            echo late > /scratch/late",
        )
        .run()?
        .success()?;
    let text = second.text();
    let mut lines = text.lines().map(str::to_owned);
    assert_eq!(lines.next(), sum, "what was synced is there");
    assert_eq!(lines.next().as_deref(), Some("0"), "what was not synced never reached the disk");

    let third = guest().script("cat /scratch/late").run()?.success()?;
    assert_eq!(third.text(), "late\n");
    Ok(())
}

#[test]
fn disks_have_the_file_system_that_was_asked_for() -> Result<(), Error> {
    let outcome = Guest::builder()
        .no_network()
        .disk(Disk::temporary(512).format("xfs").at("/srv/x"))
        .disk(Disk::temporary(256).format("btrfs").at("/srv/b"))
        .disk(Disk::temporary(8).format("raw"))
        .script(
            "stat -f -c %T /srv/x /srv/b
            for disk in /sys/block/vd*; do
                [ $(cat $disk/serial) = disk2 ] && cat $disk/size
            done",
        )
        .run()?
        .success()?;
    assert_eq!(outcome.text(), "xfs\nbtrfs\n16384\n");
    Ok(())
}

#[test]
fn a_disk_that_does_not_mount_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("disk");
    // An ext4 file system of which only the magic number is left.
    let mut content = vec![0; 32 << 20];
    content[1080..1082].copy_from_slice(&[0x53, 0xef]);
    fs::write(&path, &content).expect("write");
    match Guest::builder().no_network().disk(Disk::kept(&path, 32)).run() {
        Err(Error::Died { remains, .. }) => {
            let console = String::from_utf8_lossy(&remains.console);
            assert!(console.contains("guest: disk0 is not mounted"), "{console}");
            assert!(fs::read(&path).expect("read") == content, "and nothing is written to it");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn shared_directories_are_the_same_on_both_sides() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let (shared, fixed) = (directory.path().join("shared"), directory.path().join("fixed"));
    for path in [&shared, &fixed] {
        fs::create_dir(path).expect("create a directory");
        fs::write(path.join("from-host"), "here").expect("write");
    }
    let outcome = Guest::builder()
        .no_network()
        .share(Share::new(&shared, "/shared"))
        .share(Share::new(&fixed, "/fixed").read_only())
        .script(
            "cat /shared/from-host /fixed/from-host; echo -n there > /shared/from-guest
            touch /fixed/from-guest",
        )
        .run()?;
    assert_eq!(outcome.text(), "herehere");
    assert_ne!(outcome.code, 0, "read-only");
    assert_eq!(fs::read_to_string(shared.join("from-guest")).expect("read"), "there");
    assert!(!fixed.join("from-guest").exists());
    Ok(())
}

#[test]
fn the_user_network_reaches_this_machine_and_forwards_ports() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let here = listener.local_addr().expect("an address").port();
    let answer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("read");
        stream.write_all(b"from here\n").expect("write");
        line
    });
    // Free a moment ago: nobody else here asks for ports by number.
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let forwarded = free.local_addr().expect("an address").port();
    drop(free);

    let mut guest = Guest::builder()
        .network(Network::user().forward(forwarded, 5000))
        .script(
            "exec 2>&1
            exec 3<>/dev/tcp/10.0.2.2/$1; echo from there >&3; head -n 1 <&3
            cat /sys/class/net/eth0/speed /sys/class/net/eth0/duplex
            echo hello | ncat -4 -v -l 5000",
        )
        .argument(here.to_string())
        .spawn()?;
    guest.wait_for_output("Listening on", PATIENCE)?;
    let mut stream = TcpStream::connect(("127.0.0.1", forwarded)).expect("connect");
    let mut text = String::new();
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello\n");
    drop(stream);
    let outcome = guest.wait()?.success()?;
    assert!(outcome.text().starts_with("from here\n10000\nfull\n"), "{}", outcome.text());
    assert_eq!(answer.join().expect("the answer"), "from there\n");
    Ok(())
}

#[test]
fn guests_talk_over_unix_sockets_until_the_cable_is_unplugged() -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let script = "ip addr add 10.1.0.$1/24 dev eth0; ip addr add 10.2.0.$1/24 dev eth1
        ip link set eth0 up; ip link set eth1 up
        echo up; read -r _
        ping -q -c 1 -W 60 10.1.0.$2 > /dev/null && ping -q -c 1 -W 60 10.2.0.$2 > /dev/null && echo pong
        read -r _
        cat /sys/class/net/eth0/carrier /sys/class/net/eth1/carrier";
    let mut left = Guest::builder()
        .network(Network::stream_listener(path("stream")))
        .network(Network::datagram(path("left"), path("right")))
        .stdin()
        .script(script)
        .argument("1")
        .argument("2")
        .spawn()?;
    // Its QEMU has made the sockets by then.
    left.wait_for_output("up\n", PATIENCE)?;
    let mut right = Guest::builder()
        .network(Network::stream(path("stream")))
        .network(Network::datagram(path("right"), path("left")))
        .stdin()
        .script(script)
        .argument("2")
        .argument("1")
        .spawn()?;
    assert_ne!(left.name(), right.name());
    right.wait_for_output("up\n", PATIENCE)?;
    left.send("go\n")?;
    left.wait_for_output("pong\n", PATIENCE)?;
    left.set_link(0, false)?;
    left.send("go\n")?;
    assert_eq!(left.wait()?.success()?.text(), "up\npong\n0\n1\n");
    assert!(matches!(right.set_link(7, false), Err(Error::Monitor { .. })));
    Ok(())
}

#[test]
fn a_paused_guest_stands_still() -> Result<(), Error> {
    let mut guest = Guest::builder()
        .no_network()
        .stdin()
        .script("echo ready; read -r line; echo \"$line\"")
        .spawn()?;
    guest.wait_for_output("ready\n", PATIENCE)?;
    guest.pause()?;
    guest.send("on\n")?;
    match guest.wait_for_output("on\n", Duration::from_secs(1)) {
        Err(Error::Timeout { .. }) => {}
        other => panic!("{other:?}"),
    }
    guest.resume()?;
    assert_eq!(guest.wait()?.success()?.text(), "ready\non\n");
    Ok(())
}

#[test]
fn a_guest_ends_with_the_process_that_started_it() -> Result<(), Error> {
    const IS_CHILD: &str = "HOLM_GUEST_TEST_CHILD";
    if env::var_os(IS_CHILD).is_some() {
        let spawn = || Guest::builder().no_network().script("sleep infinity").spawn();
        // The thread that asked for it is gone long before the process is.
        let guest = thread::spawn(spawn).join().expect("no panic")?;
        println!("QEMU {}", guest.process());
        io::stdin().read_line(&mut String::new()).expect("read");
        process::abort();
    }
    let mut child = process::Command::new(env::current_exe().expect("a name"))
        .args(["a_guest_ends_with_the_process_that_started_it", "--exact", "--nocapture"])
        .env(IS_CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run this program");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let process = lines
        .map(|line| line.expect("read"))
        .find_map(|line| line.split_once("QEMU ")?.1.parse().ok())
        .and_then(Pid::from_raw)
        .expect("the number of a process");
    let qemu = pidfd_open(process, PidfdFlags::empty()).expect("it runs");
    let ended = |within: Duration| {
        let timeout = within.try_into().expect("a time");
        poll(&mut [PollFd::new(&qemu, PollFlags::IN)], Some(&timeout)).expect("poll") == 1
    };
    assert!(!ended(Duration::from_secs(1)), "it does not end with the thread");
    child.stdin.take().expect("piped").write_all(b"\n").expect("write");
    assert!(!child.wait().expect("wait").success(), "it aborted");
    assert!(ended(PATIENCE));
    Ok(())
}

#[test]
fn nonsense_is_refused_before_anything_starts() {
    let refused = [
        Guest::builder().name("not a name"),
        Guest::builder().share(Share::new("/nonexistent", "/mnt")),
        Guest::builder().share(Share::new("/tmp", "relative")),
        Guest::builder().disk(Disk::temporary(16).format("fat")),
        Guest::builder().disk(Disk::temporary(16).at("/a b")),
    ];
    for builder in refused {
        let result = builder.clone().spawn();
        assert!(matches!(result, Err(Error::Invalid(_))), "{builder:?}: {result:?}");
    }
    let no_file = Guest::builder().script_file("/nonexistent").spawn();
    assert!(matches!(no_file, Err(Error::Io { .. })), "{no_file:?}");
}

#[test]
fn a_cached_disk_keeps_what_was_flushed_and_loses_what_was_not() -> Result<(), Error> {
    // With this one, nothing survives that was not flushed.
    const SEED: u64 = 0;
    let disk = CachedDisk::new(64)?;
    let guest = || Guest::builder().no_network().disk(Disk::cached(&disk));
    let mut first = guest()
        .script(
            "set -e
            echo a > /scratch/a
            sync /scratch/a /scratch
            echo b > /scratch/b
            echo written
            sleep infinity",
        )
        .spawn()?;
    first.wait_for_output("written", PATIENCE)?;
    first.power_loss()?;
    let loss = disk.lose_power(SEED)?;
    assert!(loss.flushes > 0, "{loss:?}");
    let outcome = guest().script("cat /scratch/a; ls /scratch").run()?.success()?;
    assert_eq!(outcome.text(), "a\na\nlost+found\n");
    Ok(())
}
