//! holm: a multi-tenant NFS server.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use holm::{log, serve};
use std::process::ExitCode;

/// A multi-tenant NFS server: one process, many tenants
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    log::begin();
    let Command::Serve(arguments) = command;
    match serve::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
