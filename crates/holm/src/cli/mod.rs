//! The command line's side of the admin API: each command is a request or two, and what is said of the
//! answer.
//!
//! What is asked for goes to stdout, what went wrong to stderr. [`outcome::Failure`] says with which
//! code a command ends.

mod addresses;
pub mod client;
pub(crate) mod columns;
mod exports;
mod limits;
mod links;
mod listeners;
mod local;
mod monitor;
mod namespaces;
pub mod outcome;
mod routes;
mod top;

use crate::admin::socket;
use clap::{Args, CommandFactory, Subcommand};
use client::Client;
use outcome::Failure;
use serde::Serialize;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// What is said before the command.
#[derive(Debug, Args)]
pub struct Options {
    /// The socket of the server's admin API [default: $XDG_RUNTIME_DIR/holm/admin.sock, for root
    /// /run/holm/admin.sock]
    #[arg(long, global = true, value_name = "SOCK")]
    pub admin: Option<PathBuf>,
    /// The namespace that an `export`, `listen`, `limit`, `local`, `link`, `addr` or `route` command is about
    #[arg(short = 'n', long = "ns", global = true, value_name = "NS")]
    pub ns: Option<NsSpec>,
}

/// Everything that is asked of a running server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Namespaces: one for each tenant
    #[command(subcommand)]
    Ns(namespaces::Command),
    /// What a namespace exports; needs -n NS
    #[command(subcommand)]
    Export(exports::Command),
    /// Where a namespace listens; needs -n NS
    #[command(subcommand)]
    Listen(listeners::Command),
    /// What the clients of a namespace may take together; needs -n NS
    #[command(subcommand)]
    Limit(limits::Command),
    /// Whose programs on this machine may open files past the network; needs -n NS
    #[command(subcommand)]
    Local(local::Command),
    /// The interfaces of a namespace's own network; needs -n NS
    #[command(subcommand)]
    Link(links::Command),
    /// The addresses of those; needs -n NS
    #[command(subcommand)]
    Addr(addresses::Command),
    /// Where that network leads; needs -n NS
    #[command(subcommand)]
    Route(routes::Command),
    /// Show every event, as it happens
    Monitor(Format),
    /// Show what the tenants do, live
    Top(top::Arguments),
}

/// How something is shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Show JSON
    #[arg(long)]
    json: bool,
}

/// Names a namespace: `NAME`, or `NAME@ID` for one that may be draining.
#[derive(Debug, Clone)]
pub struct NsSpec(String);

impl FromStr for NsSpec {
    type Err = String;

    fn from_str(spec: &str) -> Result<Self, String> {
        let (name, id) = spec.split_once('@').unwrap_or((spec, "0"));
        name.parse::<holm_netns::NsName>().map_err(|error| error.to_string())?;
        id.parse::<u64>().map_err(|_| format!("{id:?} is not the number of a namespace"))?;
        Ok(Self(spec.into()))
    }
}

impl Display for NsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Carries out a command, in a runtime of its own.
pub fn run(options: &Options, command: &Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(options, command)),
        Err(error) => Err(Failure::Unreachable(format!("could not make a runtime: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn carry_out(options: &Options, command: &Command) -> Result<(), Failure> {
    let socket = match &options.admin {
        Some(socket) => socket.clone(),
        None => socket::default_path().map_err(|error| Failure::Unreachable(error.to_string()))?,
    };
    let client = Client::new(socket);
    let of_namespace = || match &options.ns {
        Some(ns) => Ok(format!("/namespaces/{}", ns.0)),
        None => Err(usage("this needs a namespace: holm -n NS …")),
    };
    match command {
        Command::Ns(_) | Command::Monitor(_) | Command::Top(_) if options.ns.is_some() => {
            Err(usage("-n goes with export, listen, limit, local, link, addr and route"))
        }
        Command::Ns(command) => namespaces::carry_out(&client, command).await,
        Command::Export(command) => exports::carry_out(&client, &of_namespace()?, command).await,
        Command::Listen(command) => listeners::carry_out(&client, &of_namespace()?, command).await,
        Command::Limit(command) => limits::carry_out(&client, &of_namespace()?, command).await,
        Command::Local(command) => local::carry_out(&client, &of_namespace()?, command).await,
        Command::Link(command) => links::carry_out(&client, &of_namespace()?, command).await,
        Command::Addr(command) => addresses::carry_out(&client, &of_namespace()?, command).await,
        Command::Route(command) => routes::carry_out(&client, &of_namespace()?, command).await,
        Command::Monitor(format) => monitor::carry_out(&client, *format).await,
        Command::Top(arguments) => top::carry_out(&client, arguments).await,
    }
}

/// The command makes no sense.
fn usage(why: &str) -> Failure {
    #[derive(clap::Parser)]
    #[command(name = "holm")]
    struct Whole {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        command: Command,
    }
    Failure::Usage(Whole::command().error(clap::error::ErrorKind::MissingRequiredArgument, why))
}

/// Shows JSON, laid out for people who read it all the same.
fn show_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Shows one line.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// A query of a URI.
fn query(of: &impl Serialize) -> String {
    serde_urlencoded::to_string(of).unwrap_or_default()
}
