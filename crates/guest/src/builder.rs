//! How a guest is described, and started.

use std::{
    env, fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{
    Disk, Error, Guest, Image, Network, Output, Share,
    accelerator::Accelerator,
    devices::comma,
    guest::Parts,
    host,
    monitor::Monitor,
    payload::{Payload, Settings},
    process::Launch,
    streams::{Stream, Streams},
};

/// A guest that is being described. Everything but the script has a default: one processor, 512 MiB,
/// one [user network](Network::user), no disk, output captured, half an hour.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is asked to spawn or run"]
pub struct Builder {
    script: Script,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    name: Option<String>,
    memory: u64,
    processors: usize,
    networks: Option<Vec<Network>>,
    hosts: Vec<String>,
    disks: Vec<Disk>,
    shares: Vec<Share>,
    files: Vec<(PathBuf, String)>,
    modules: Vec<String>,
    kernel_parameters: Vec<String>,
    qemu_arguments: Vec<String>,
    timeout: Option<Duration>,
    output: Output,
    stdin: bool,
}

#[derive(Debug, Clone)]
enum Script {
    Text(Vec<u8>),
    File(PathBuf),
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            script: Script::Text(Vec::new()),
            arguments: Vec::new(),
            environment: Vec::new(),
            name: None,
            memory: 512,
            processors: 1,
            networks: None,
            hosts: Vec::new(),
            disks: Vec::new(),
            shares: Vec::new(),
            files: Vec::new(),
            modules: Vec::new(),
            kernel_parameters: Vec::new(),
            qemu_arguments: Vec::new(),
            timeout: Some(Duration::from_secs(1800)),
            output: Output::Capture,
            stdin: false,
        }
    }

    /// The script, as text. It runs as root in bash, unless it names another interpreter (`#!`).
    pub fn script(mut self, text: impl Into<String>) -> Self {
        self.script = Script::Text(text.into().into_bytes());
        self
    }

    /// The script, as a file of this machine; a program for x86-64 Linux will do.
    pub fn script_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.script = Script::File(path.into());
        self
    }

    /// An argument for the script.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A variable for the script.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Its host name and NFSv4 client id; the hardware addresses of its interfaces derive from it.
    /// Guests that know each other or use the same server need different names, and by default
    /// those of one process have them.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Its memory. Whatever it writes outside its disks is there, too.
    pub fn memory(mut self, mebibytes: u64) -> Self {
        self.memory = mebibytes;
        self
    }

    /// How many processors it has.
    pub fn processors(mut self, count: usize) -> Self {
        self.processors = count;
        self
    }

    /// One more network interface, instead of the one user network that is the default.
    pub fn network(mut self, network: Network) -> Self {
        self.networks.get_or_insert_default().push(network);
        self
    }

    /// No network interface but `lo`.
    pub fn no_network(mut self) -> Self {
        self.networks = Some(Vec::new());
        self
    }

    /// A line for its `/etc/hosts`.
    pub fn host(mut self, line: impl Into<String>) -> Self {
        self.hosts.push(line.into());
        self
    }

    /// One more disk.
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// One more shared directory.
    pub fn share(mut self, share: Share) -> Self {
        self.shares.push(share);
        self
    }

    /// Copies a file or directory of this machine to this path of the guest.
    pub fn file(mut self, from: impl Into<PathBuf>, to: impl Into<String>) -> Self {
        self.files.push((from.into(), to.into()));
        self
    }

    /// A kernel module to load.
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.modules.push(name.into());
        self
    }

    /// A parameter for the kernel's command line.
    pub fn kernel_parameter(mut self, parameter: impl Into<String>) -> Self {
        self.kernel_parameters.push(parameter.into());
        self
    }

    /// An argument for QEMU.
    pub fn qemu_argument(mut self, argument: impl Into<String>) -> Self {
        self.qemu_arguments.push(argument.into());
        self
    }

    /// How long all of it may take, from power-on.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// It may take for ever.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Where the script's output goes.
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Connects the script's standard input to [`Guest::send`]; it is empty otherwise.
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Runs the script to its end.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn) and [`Guest::wait`].
    pub fn run(self) -> Result<crate::Outcome, Error> {
        self.spawn()?.wait()
    }

    /// Powers the guest on; builds the [image](Image::ready) first if there is none.
    ///
    /// # Errors
    ///
    /// There is no image, what the builder was told makes no sense, or QEMU does not start. That
    /// QEMU starts and refuses something is seen by those who wait for the guest.
    pub fn spawn(self) -> Result<Guest, Error> {
        let image = Image::ready()?;
        let accelerator = Accelerator::choose(&image)?;
        self.spawn_with(&image, accelerator)
    }

    /// Powers the guest on in this way.
    pub(crate) fn spawn_with(
        self,
        image: &Image,
        accelerator: Accelerator,
    ) -> Result<Guest, Error> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                static COUNT: AtomicUsize = AtomicUsize::new(1);
                format!("guest{}", COUNT.fetch_add(1, Ordering::Relaxed))
            }
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::Invalid(format!("{name:?} is no host name")));
        }
        let begin = Instant::now();
        let mut launch = Launch::new(host::QEMU.command());
        machine(&mut launch.command, image, accelerator, self.memory, self.processors);
        launch.command.arg("-append").arg(self.kernel_command_line(&name));

        let mut streams = Streams::new(self.output);
        streams.read(Stream::Console, channel(&mut launch, "console")?);
        launch.command.args(["-serial", "chardev:console"]);
        let control = channel(&mut launch, "control")?;
        port(&mut launch.command, "control");
        streams.read(Stream::Stdout, channel(&mut launch, "out")?);
        port(&mut launch.command, "out");
        streams.read(Stream::Stderr, channel(&mut launch, "err")?);
        port(&mut launch.command, "err");
        let stdin = if self.stdin {
            let stream = channel(&mut launch, "in")?;
            port(&mut launch.command, "in");
            Some(stream)
        } else {
            None
        };
        let monitor = channel(&mut launch, "monitor")?;
        launch.command.args(["-mon", "chardev=monitor,mode=control"]);
        let monitor = Monitor::new(monitor).map_err(Error::io("set up QEMU's monitor"))?;

        let subnets = self.add_networks(&mut launch.command, &name);
        let payload = self.payload(&name, subnets)?;
        let payload = launch.inherit(payload);
        disk(&mut launch.command, "payload", &inherited(payload), "read-only=on");
        self.add_disks(&mut launch)?;
        self.add_shares(&mut launch.command)?;
        launch.command.args(&self.qemu_arguments);

        launch.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = launch.spawn().map_err(Error::io("run QEMU"))?;
        streams.read(Stream::Qemu, child.stderr.take().expect("piped"));
        streams.read(Stream::Control, control);
        let deadline = self.timeout.map(|timeout| begin + timeout);
        Ok(Guest::new(Parts {
            name,
            child,
            streams,
            stdin,
            monitor,
            begin,
            timeout: self.timeout,
            deadline,
        }))
    }

    fn kernel_command_line(&self, name: &str) -> String {
        let mut words = vec![
            "console=ttyS0".into(),
            "quiet".into(),
            // A guest that is broken ends, and says so.
            "panic=-1".into(),
            "oops=panic".into(),
            "mitigations=off".into(),
            "random.trust_cpu=on".into(),
            // Tests of the processor's features and clocks, which nobody needs here.
            "cryptomgr.notests".into(),
            "tsc=reliable".into(),
            // Nor is one whether the timer ticks: an emulated one does not while the host is busy.
            "no_timer_check".into(),
            format!("nfs.nfs4_unique_id={name}"),
        ];
        words.extend(self.kernel_parameters.iter().cloned());
        words.join(" ")
    }

    /// Adds the interfaces; returns what the guest is to configure of each.
    fn add_networks(&self, command: &mut Command, name: &str) -> Vec<String> {
        let default = [Network::user()];
        let networks = self.networks.as_deref().unwrap_or(&default);
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let [.., high, middle, low] = hash.to_be_bytes();
        let mut subnets = Vec::new();
        for (index, network) in networks.iter().enumerate() {
            let users = subnets.iter().filter(|&subnet| subnet != "-").count();
            let (backend, subnet) = network.backend(&format!("net{index}"), users);
            let mac = format!("52:54:{high:02x}:{middle:02x}:{low:02x}:{index:02x}");
            command.args(["-netdev", &backend]).arg("-device").arg(format!(
                "virtio-net-pci,netdev=net{index},id=eth{index},mac={mac},romfile=,\
                 speed=10000,duplex=full"
            ));
            subnets.push(subnet.unwrap_or_else(|| "-".into()));
        }
        subnets
    }

    fn payload(&self, name: &str, subnets: Vec<String>) -> Result<fs::File, Error> {
        let script = match &self.script {
            Script::Text(text) => text.clone(),
            Script::File(path) => fs::read(path).map_err(Error::path("read", path))?,
        };
        let mut payload = Payload::new()?;
        payload.system(
            &script,
            &Settings {
                name,
                arguments: &self.arguments,
                environment: &self.environment,
                subnets: &subnets,
                hosts: &self.hosts,
                modules: &self.modules,
                shares: &self.shares,
                disks: &self.disks,
                stdin: self.stdin,
            },
        )?;
        for (from, to) in &self.files {
            payload.add(from, to)?;
        }
        payload.finish()
    }

    fn add_disks(&self, launch: &mut Launch) -> Result<(), Error> {
        for (index, wanted) in self.disks.iter().enumerate() {
            wanted.check()?;
            if let Some(cached) = &wanted.cached {
                let number = launch.inherit(cached.connect()?);
                cached_disk(&mut launch.command, &format!("disk{index}"), number);
                continue;
            }
            let (path, file) = match &wanted.file {
                Some(path) => {
                    let file = fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .create(true)
                        .truncate(false)
                        .open(path)
                        .map_err(Error::path("open", path))?;
                    (path.clone(), file)
                }
                None => {
                    let file = tempfile::tempfile().map_err(Error::io("create a disk"))?;
                    let copy = file.try_clone().map_err(Error::io("clone a file"))?;
                    (inherited(launch.inherit(copy)), file)
                }
            };
            let attempt = || Error::path("set the size of", &path);
            if file.metadata().map_err(attempt())?.len() == 0 {
                file.set_len(wanted.mebibytes << 20).map_err(attempt())?;
            }
            // The guest's power may fail; the host's does not.
            let options = "discard=unmap,cache.no-flush=on";
            disk(&mut launch.command, &format!("disk{index}"), &path, options);
        }
        Ok(())
    }

    fn add_shares(&self, command: &mut Command) -> Result<(), Error> {
        for (index, share) in self.shares.iter().enumerate() {
            share.check()?;
            let path = comma(&share.host.to_string_lossy());
            let read_only = if share.read_only { ",readonly=on" } else { "" };
            command
                .arg("-fsdev")
                .arg(format!(
                    "local,id=share{index},path={path},security_model=none,multidevs=remap{read_only}"
                ))
                .arg("-device")
                .arg(format!("virtio-9p-pci,fsdev=share{index},mount_tag=share{index}"));
        }
        Ok(())
    }
}

/// The machine without what this guest alone has.
pub(crate) fn machine(
    command: &mut Command,
    image: &Image,
    accelerator: Accelerator,
    memory: u64,
    processors: usize,
) {
    command
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-machine", "q35", "-cpu", "max", "-rtc", "base=utc"])
        .args(["-accel", accelerator.option()])
        .args(["-smp", &processors.to_string(), "-m", &format!("{memory}M")])
        .arg("-kernel")
        .arg(image.kernel())
        .arg("-initrd")
        .arg(image.initrd())
        .args(["-device", "virtio-serial-pci"]);
    disk(command, "root", &image.root(), "read-only=on");
}

/// Adds a disk that the guest knows by the serial number `name`.
fn disk(command: &mut Command, name: &str, path: &Path, options: &str) {
    let path = comma(&path.to_string_lossy());
    command
        .arg("-blockdev")
        .arg(format!("raw,node-name={name},{options},file.driver=file,file.filename={path}"))
        .arg("-device")
        .arg(format!("virtio-blk-pci,drive={name},serial={name}"));
}

/// Adds a disk that we serve on the stream of this number. Its cache is told to the guest, and a
/// write of a block is a whole one for both.
fn cached_disk(command: &mut Command, name: &str, number: i32) {
    command
        .arg("-blockdev")
        .arg(format!("nbd,node-name={name},server.type=fd,server.str={number}"))
        .arg("-device")
        .arg(format!(
            "virtio-blk-pci,drive={name},serial={name},write-cache=on,\
             logical_block_size=4096,physical_block_size=4096"
        ));
}

/// The path under which QEMU opens a file that it inherits.
fn inherited(number: i32) -> PathBuf {
    format!("/proc/self/fd/{number}").into()
}

/// Connects a character device of QEMU with us; returns our end.
fn channel(launch: &mut Launch, name: &str) -> Result<UnixStream, Error> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::io("create a socket pair"))?;
    let number = launch.inherit(theirs);
    launch.command.arg("-chardev").arg(format!("socket,id={name},fd={number}"));
    Ok(ours)
}

/// Makes a character device a virtio port of the guest.
fn port(command: &mut Command, name: &str) {
    command.arg("-device").arg(format!("virtserialport,chardev={name},name=guest.{name}"));
}

/// The variable of this process that is passed on by `NAME`, or set by `NAME=VALUE`.
///
/// # Errors
///
/// There is no name in it, or no such variable.
pub fn parse_variable(text: &str) -> Result<(String, String), Error> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let value =
                env::var(text).map_err(|error| Error::Invalid(format!("{text}: {error}")))?;
            (text, value)
        }
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Error::Invalid(format!("{name:?} is no name of a variable")));
    }
    Ok((name.into(), value))
}
