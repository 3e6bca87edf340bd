//! holm: a multi-tenant NFS server.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use holm::config::ConfigError;
use holm::{check, log, serve};
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
    Check(check::Arguments),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let outcome = match command {
        Command::Serve(arguments) => {
            holm_lifetime::prepare();
            log::begin();
            serve::run(&arguments, None)
        }
        Command::Check(arguments) => return check::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<ConfigError>() {
                // Each line says where.
                Some(error) => eprintln!("{error}"),
                None => eprintln!("holm: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}
