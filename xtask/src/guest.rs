//! `cargo xtask guest`: scripts in a throw-away virtual machine.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use holm_guest::{Disk, Error, Guest, Image, Network, Output, Share, parse_variable};

/// Run scripts in a throw-away virtual machine with a real Linux kernel
///
/// `guest -- COMMAND…` runs a command in a new guest; `guest run` takes options and scripts.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the image, unless the cache has it
    Build {
        /// Make it again, with the packages that the archive has now
        #[arg(long)]
        force: bool,
    },
    /// Run a script or a command in a new guest; its exit code becomes ours
    ///
    /// 124 means that the time was over, 125 that the guest ended before the script did.
    Run(Box<Run>),
}

#[derive(Debug, Args)]
struct Run {
    /// A file here, or the text of a bash script
    script: Option<String>,
    /// Its arguments
    #[arg(requires = "script")]
    arguments: Vec<String>,
    /// A command and its arguments; after a script, more arguments for it
    #[arg(last = true)]
    command: Vec<String>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECS")]
    timeout: Option<f64>,
    /// Host name and NFSv4 client id; guests that know each other need different ones
    #[arg(long)]
    name: Option<String>,
    /// Memory
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    memory: u64,
    /// Processors
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    processors: usize,
    /// A network interface; may be repeated
    ///
    /// One of: user, with ",tcp=HOST:GUEST" or ",udp=HOST:GUEST" after it for each port of this
    /// machine's loopback that reaches one of the guest; tap:NAME; stream:PATH and
    /// stream-listen:PATH, a unix socket with each frame after its length;
    /// datagram:LOCAL,REMOTE, unix sockets with a frame in each datagram; netdev:TEXT, any other
    /// of QEMU's; or none. Without this option there is one "user", where this machine's loopback
    /// is 10.0.2.2.
    #[arg(long = "net", value_name = "NETWORK")]
    networks: Vec<String>,
    /// A disk, mounted on /scratch, that is kept in this file
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Size of the disk, when it is made; without --disk it goes with the guest
    #[arg(long, value_name = "MIB")]
    disk_size: Option<u64>,
    /// File system of the disk
    #[arg(long, value_name = "TYPE", default_value = "ext4")]
    disk_format: String,
    /// Directory of this machine that the guest sees as well; may be repeated
    #[arg(long = "share", value_name = "DIR:GUEST-DIR[:ro]")]
    shares: Vec<String>,
    /// Copy a file or directory into the guest; may be repeated
    #[arg(long = "file", value_name = "PATH:GUEST-PATH")]
    files: Vec<String>,
    /// A variable for the script; may be repeated
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<String>,
    /// A kernel module to load; may be repeated
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// A parameter for the kernel; may be repeated
    #[arg(long = "kernel", value_name = "PARAMETER")]
    kernel_parameters: Vec<String>,
    /// An argument for QEMU; may be repeated
    #[arg(long = "qemu", value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu_arguments: Vec<String>,
    /// Say how long it took
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the subcommand.
pub fn run(command: Command) -> Result<ExitCode> {
    match command.action {
        Some(Action::Build { force }) => {
            let image = if force { Image::rebuild() } else { Image::ready() }?;
            println!("{}", image.directory().display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Action::Run(options)) => options.run(),
        None => command.run.run(),
    }
}

impl Run {
    fn run(&self) -> Result<ExitCode> {
        let mut builder =
            Guest::builder().memory(self.memory).processors(self.processors).output(Output::Stream);
        builder = match self.timeout {
            Some(seconds) => builder.timeout(
                Duration::try_from_secs_f64(seconds).context("--timeout is a number of seconds")?,
            ),
            None => builder.no_timeout(),
        };
        builder = match &self.script {
            None if self.command.is_empty() => bail!("neither a script nor a command to run"),
            None => builder.script("exec \"$@\""),
            Some(script) if Path::new(script).is_file() => builder.script_file(script),
            Some(script) if script.contains('/') && !script.contains(char::is_whitespace) => {
                bail!("there is no file {script}")
            }
            Some(script) => builder.script(script),
        };
        for argument in self.arguments.iter().chain(&self.command) {
            builder = builder.argument(argument);
        }
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if self.networks == ["none"] {
            builder = builder.no_network();
        } else {
            for network in &self.networks {
                builder = builder.network(Network::parse(network)?);
            }
        }
        let disk = match (&self.disk, self.disk_size) {
            (Some(file), size) => Some(Disk::kept(file, size.unwrap_or(1024))),
            (None, Some(size)) => Some(Disk::temporary(size)),
            (None, None) => None,
        };
        if let Some(disk) = disk {
            builder = builder.disk(disk.format(&self.disk_format));
        }
        for share in &self.shares {
            builder = builder.share(parse_share(share)?);
        }
        for file in &self.files {
            let (from, to) = file.split_once(':').context("--file takes PATH:GUEST-PATH")?;
            builder = builder.file(from, to);
        }
        for variable in &self.variables {
            let (name, value) = parse_variable(variable)?;
            builder = builder.variable(name, value);
        }
        builder = self.modules.iter().fold(builder, |builder, name| builder.module(name));
        builder = self.kernel_parameters.iter().fold(builder, |b, word| b.kernel_parameter(word));
        builder = self.qemu_arguments.iter().fold(builder, |b, word| b.qemu_argument(word));
        match builder.run() {
            Ok(outcome) => {
                if self.verbose {
                    eprintln!(
                        "guest: script started after {:.2} s, ended after {:.2} s with {}",
                        outcome.boot.as_secs_f64(),
                        outcome.total.as_secs_f64(),
                        outcome.code
                    );
                }
                // An exit code has eight bits in the guest, too.
                Ok(ExitCode::from(u8::try_from(outcome.code).unwrap_or(125)))
            }
            Err(error @ Error::Timeout { .. }) => {
                eprintln!("guest: {error}");
                Ok(ExitCode::from(124))
            }
            Err(error @ Error::Died { .. }) => {
                eprintln!("guest: {error}");
                Ok(ExitCode::from(125))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads `DIR:GUEST-DIR[:ro]`.
fn parse_share(text: &str) -> Result<Share> {
    let (text, read_only) = match text.strip_suffix(":ro") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (host, guest) = text.split_once(':').context("--share takes DIR:GUEST-DIR[:ro]")?;
    let share = Share::new(host, guest);
    Ok(if read_only { share.read_only() } else { share })
}
