//! holm: a multi-tenant NFS server.

#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use holm::config::ConfigError;
use holm::output::complain;
use holm::{check, cli, files, log, serve};
use std::process::ExitCode;

/// A multi-tenant NFS server: one process, many tenants
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: cli::Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    #[command(flatten)]
    Ask(cli::Command),
    #[command(flatten)]
    Files(files::Command),
    Check(check::Arguments),
}

fn main() -> ExitCode {
    let Arguments { options, command } = Arguments::parse();
    let outcome = match command {
        Command::Serve(arguments) => {
            holm_lifetime::prepare();
            log::begin();
            serve::run(&arguments, options.admin.as_deref())
        }
        Command::Ask(command) => return cli::run(&options, &command),
        Command::Files(command) => return files::run(&options, &command),
        Command::Check(arguments) => return check::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<ConfigError>() {
                // Each line says where.
                Some(error) => complain(error),
                None => complain(format_args!("holm: {error:#}")),
            }
            ExitCode::FAILURE
        }
    }
}
