//! The commands of a client: `holm ls`, `cat`, `cp` and `bench`. They ask any NFSv3 server by its URL, and
//! need no server of ours, no mount and no root.
//!
//! - [`place`]: `nfs://host:port/path`, or a path of this machine.
//! - [`transfer`]: copies between those, whatever interrupts it.
//! - [`ahead`]: reads of one file, some of them ahead.
//! - [`quote`]: names that a terminal may show.
//! - [`outcome`]: what went wrong, and what the shell is told.

pub mod ahead;
mod bench;
mod cat;
mod connect;
mod cp;
mod ls;
pub mod outcome;
pub mod place;
pub mod quote;
pub mod transfer;

use crate::cli::Options;
use clap::Subcommand;
use outcome::Failure;
use std::process::ExitCode;

/// Everything that is asked of an NFS server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what is at a URL
    Ls(ls::Arguments),
    /// Show files on stdout
    Cat(cat::Arguments),
    /// Copy from, to and between NFS servers
    Cp(cp::Arguments),
    /// Measure what an export can do from here
    Bench(bench::Arguments),
}

/// Carries out a command.
pub fn run(options: &Options, command: &Command) -> ExitCode {
    if options.ns.is_some() || options.admin.is_some() {
        let why =
            "-n and --admin do not go with ls, cat, cp and bench: those are told where by a URL";
        return Failure::Usage(why.into()).report();
    }
    let outcome = match command {
        Command::Ls(arguments) => ls::run(arguments),
        Command::Cat(arguments) => cat::run(arguments),
        Command::Cp(arguments) => cp::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
