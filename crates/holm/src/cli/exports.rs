//! `holm -n NS export …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, query, say, show_json};
use crate::model::{ExportSpec, ExportView, HandleKind, Squash};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What a namespace exports.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Export a directory
    Add(Box<Add>),
    /// Export a directory no more
    Del {
        /// What clients call it
        path: String,
        /// For how long to wait until nothing of it is open
        #[arg(long, value_name = "SECS", default_value_t = 30)]
        wait: u32,
    },
    /// Show what is exported
    List(Format),
}

/// An export to be.
#[derive(Debug, Args)]
pub struct Add {
    /// What clients call it: / or /NAME…
    path: String,
    /// The directory that they see
    dir: PathBuf,
    /// Let nobody change anything
    #[arg(long)]
    read_only: bool,
    /// Which callers become the anonymous user
    #[arg(long, value_enum, default_value = "root")]
    squash: SquashArgument,
    /// Which clients it is for: an address, or a network as 10.0.0.0/8; can be given again
    /// [default: this machine]
    #[arg(long = "client", value_name = "CIDR")]
    clients: Vec<String>,
    /// The user that squashed callers become
    #[arg(long, value_name = "UID")]
    anon_uid: Option<u32>,
    /// The group that squashed callers become
    #[arg(long, value_name = "GID")]
    anon_gid: Option<u32>,
    /// Only for calls from ports below 1024
    #[arg(long)]
    privileged_port: bool,
    /// File systems that are mounted below the directory belong to it
    #[arg(long)]
    cross_mounts: bool,
    /// Most bytes of a READ: a multiple of 4096 up to 1048576
    #[arg(long, value_name = "BYTES")]
    max_read: Option<u32>,
    /// Most bytes of a WRITE: a multiple of 4096 up to 1048576
    #[arg(long, value_name = "BYTES")]
    max_write: Option<u32>,
    /// Answer changes of directories before they are on the disk
    #[arg(long)]
    lose_changes_on_power_failure: bool,
}

/// Who is squashed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SquashArgument {
    /// User 0 and group 0
    Root,
    /// Everybody
    All,
    /// Nobody: clients are taken at their word
    None,
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let exports = format!("{uri}/exports");
    match command {
        Command::Add(add) => {
            let export: ExportView = client.post(&exports, &add.spec()).await?;
            let spec = &export.spec;
            say(format_args!("{}: exported from {}{}", spec.path, spec.dir.display(), how(&export)))
        }
        Command::Del { path, wait } => {
            let which = query(&[("path", path.as_str()), ("wait", &wait.to_string())]);
            let () = client.delete(&format!("{exports}?{which}")).await?;
            say(format_args!("{path}: exported no more"))
        }
        Command::List(format) => {
            let all: Vec<ExportView> = client.get(&exports).await?;
            if format.json { show_json(&all) } else { Ok(list(&all)?) }
        }
    }
}

impl Add {
    fn spec(&self) -> ExportSpec {
        // Relative to where we are, not to where the server is.
        let dir = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let mut spec = ExportSpec::new(&self.path, dir);
        spec.read_only = self.read_only;
        spec.squash = match self.squash {
            SquashArgument::Root => Squash::Root,
            SquashArgument::All => Squash::All,
            SquashArgument::None => Squash::None,
        };
        if !self.clients.is_empty() {
            spec.clients.clone_from(&self.clients);
        }
        spec.anon_uid = self.anon_uid.unwrap_or(spec.anon_uid);
        spec.anon_gid = self.anon_gid.unwrap_or(spec.anon_gid);
        spec.privileged_port = self.privileged_port;
        spec.cross_mounts = self.cross_mounts;
        spec.max_read = self.max_read.unwrap_or(spec.max_read);
        spec.max_write = self.max_write.unwrap_or(spec.max_write);
        spec.lose_changes_on_power_failure = self.lose_changes_on_power_failure;
        spec
    }
}

fn list(all: &[ExportView]) -> std::io::Result<()> {
    let mut columns = Columns::new(["PATH", "DIR", "ACCESS", "SQUASH", "CLIENTS", "HANDLES"]);
    for ExportView { spec, handles, .. } in all {
        columns.row([
            spec.path.clone(),
            spec.dir.display().to_string(),
            if spec.read_only { "ro" } else { "rw" }.into(),
            match spec.squash {
                Squash::Root => "root",
                Squash::All => "all",
                Squash::None => "none",
            }
            .into(),
            spec.clients.join(","),
            match handles {
                HandleKind::Kernel => "kernel",
                HandleKind::Paths => "paths",
            }
            .into(),
        ]);
    }
    columns.show()
}

fn how(export: &ExportView) -> String {
    match &export.why_paths {
        Some(why) => format!(" (file handles are remembered paths: {why})"),
        None => String::new(),
    }
}
