//! The load: a process of its own, so that nothing of it is counted with the server.

use holm_nfs_proto::mount::{self, MountRes};
use holm_nfs_proto::nfs3::{self, Outcome};
use holm_sunrpc::AuthSys;
use holm_sunrpc::auth::Groups;
use holm_sunrpc::client::{CallError, Client, Procedure};
use holm_xdr::{Decode, Opaque};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

/// How many there are: each third reads, writes or lists.
pub const CONNECTIONS: usize = 64;

/// A process with the clients.
pub struct Clients(Child);

impl Clients {
    /// Starts it, and returns when every client has had a few answers.
    pub fn start(address: SocketAddr) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--clients", &address.to_string()]).stdout(Stdio::piped());
        let starting = crate::starting();
        let mut child = command.spawn().expect("the clients");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut expect = |text| assert_eq!(lines.next().expect("a line").expect("text"), text);
        expect("started");
        drop(starting);
        expect("under load");
        Self(child)
    }

    /// Waits until all have seen the end of their connections, and nothing else amiss.
    pub fn join(mut self) {
        assert!(self.0.wait().expect("the clients").success(), "a client saw something amiss");
    }
}

/// The clients themselves.
pub fn run(address: SocketAddr) {
    let say = |text| {
        println!("{text}");
        std::io::stdout().flush().expect("the server's side reads it");
    };
    say("started");
    let loaded = Barrier::new(CONNECTIONS + 1);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let loaded = &loaded;
                scope.spawn(move || client(address, number, loaded))
            })
            .collect();
        loaded.wait();
        say("under load");
        for client in clients {
            client.join().expect("a client saw something amiss");
        }
    });
}

fn client(address: SocketAddr, number: usize, loaded: &Barrier) {
    let mut client = connect(address);
    let path = Opaque::new(b"/").expect("short");
    let mounted: MountRes<'_> =
        client.call(mount_procedure(), &mount::Call::Mnt(path)).expect("MNT of the export");
    let MountRes::Ok(mounted) = mounted else { panic!("MNT: {mounted:?}") };
    let root = mounted.handle.to_vec();
    let name = if number % 3 == 1 { format!("own-{number}") } else { "file".into() };
    let file = file(&mut client, &root, name.as_bytes());

    let data = vec![number as u8; 32 << 10];
    for round in 0_u64.. {
        if round == 5 {
            loaded.wait();
        }
        let ended = match number % 3 {
            0 => {
                let (offset, count) = ((round * 61 % 64) << 16, 64 << 10);
                let args = nfs3::ReadArgs { file: handle(&file), offset, count };
                call::<nfs3::ReadRes<'_>>(&mut client, &nfs3::Call::Read(args))
            }
            1 => {
                let args = nfs3::WriteArgs {
                    file: handle(&file),
                    offset: (round % 8) << 15,
                    count: data.len() as u32,
                    stable: nfs3::StableHow::Unstable,
                    data: Opaque::new(&data).expect("short"),
                };
                call::<nfs3::WriteRes>(&mut client, &nfs3::Call::Write(args))
            }
            _ => {
                let args = nfs3::ReadDirPlusArgs {
                    dir: handle(&root),
                    cookie: 0,
                    cookie_verifier: [0; 8],
                    dir_count: 16 << 10,
                    max_count: 32 << 10,
                };
                call::<nfs3::ReadDirPlusRes<'_>>(&mut client, &nfs3::Call::ReadDirPlus(args))
            }
        };
        if ended {
            assert!(round >= 5, "the server was gone too soon");
            return;
        }
    }
}

/// Whether that was the end of the connection. Whatever is answered is what the protocol says.
fn call<'c, R: Decode<'c>>(client: &'c mut Client<TcpStream>, call: &nfs3::Call<'_>) -> bool {
    let procedure = call.procedure().number();
    let procedure = Procedure { program: nfs3::PROGRAM, version: nfs3::VERSION, number: procedure };
    match client.call::<R>(procedure, call) {
        Ok(_) => false,
        Err(CallError::Io(_) | CallError::Closed) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Another transaction than those of the others begin with: to the server they come from one address.
fn connect(address: SocketAddr) -> Client<TcpStream> {
    let xid = RandomState::new().hash_one(address) as u32;
    let user = AuthSys {
        stamp: 0,
        machine_name: Opaque::new(b"soak").expect("short"),
        uid: 0,
        gid: 0,
        gids: Groups::default(),
    };
    Client::connect(address, Some(Duration::from_secs(120)))
        .expect("a server")
        .with_user(&user)
        .with_xid(xid)
}

fn mount_procedure() -> Procedure {
    let number = mount::Procedure::Mnt.number();
    Procedure { program: mount::PROGRAM, version: mount::VERSION, number }
}

fn file(client: &mut Client<TcpStream>, root: &[u8], name: &[u8]) -> Vec<u8> {
    let attributes = nfs3::SetAttributes { mode: Some(0o644), ..Default::default() };
    let place = nfs3::DirOpArgs { dir: handle(root), name: Opaque::new(name).expect("short") };
    let how = nfs3::CreateHow::Unchecked(attributes);
    let args = nfs3::Call::Create(nfs3::CreateArgs { place, how });
    let create = nfs3::Procedure::Create.number();
    let create = Procedure { program: nfs3::PROGRAM, version: nfs3::VERSION, number: create };
    let made: nfs3::CreateRes<'_> = client.call(create, &args).expect("CREATE");
    match made {
        Outcome::Ok(ok) => ok.object.expect("a handle").to_vec(),
        Outcome::Failed(error, _) => panic!("CREATE: {error}"),
    }
}

fn handle(bytes: &[u8]) -> nfs3::FileHandle<'_> {
    Opaque::new(bytes).expect("at most 64 bytes")
}
