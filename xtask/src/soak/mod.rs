//! `cargo xtask soak`: everything at random, and then a look at what is left.

mod crash;
mod kill;
mod server;
mod unflushed;

use crate::cargo::{cargo, run as run_command};
use anyhow::Result;
use clap::Subcommand;

pub use unflushed::{Unflushed, run as run_unflushed};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Namespaces and subsystems come and go while threads enter them
    Core {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Linux in guests works in what it mounted, and goes on while the server is killed
    Clients,
    /// The server's machine loses its power under clients that write down what was acknowledged
    Crash(crash::Arguments),
    /// The server is killed, and its clients go on
    Kill(kill::Arguments),
    /// Interfaces of every kind come, are used by TCP, and go in fifty namespaces (taps as root)
    Links {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Files of clients of the same machine, while namespaces are removed and the server is killed under
    /// them (as root)
    Local {
        /// For how long
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
    /// Tenants come and go under load, each with a file system of its own (as root)
    Serve {
        /// Four tenants at a time, for so long
        #[arg(long, conflicts_with = "rounds")]
        seconds: Option<u64>,
        /// One tenant at a time, so often, and a look at what is left after each
        #[arg(long, default_value_t = 1000)]
        rounds: u64,
    },
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Core { seconds } => {
            let seconds = seconds.to_string();
            run_command(cargo(tests("holm-netns", "soak", &["--seconds", &seconds])))
        }
        What::Clients => {
            let which = ["linux::", "--ignored", "--nocapture", "--test-threads=1"];
            run_command(cargo(tests("holm", "program", &which)))
        }
        What::Crash(arguments) => crash::run(arguments),
        What::Kill(arguments) => kill::run(arguments),
        What::Links { seconds } => {
            let seconds = seconds.to_string();
            run_command(cargo(tests("holm-ifnet", "soak", &["--seconds", &seconds])))
        }
        What::Local { seconds } => {
            let seconds = seconds.to_string();
            run_command(cargo(tests("holm", "local", &["--seconds", &seconds])))
        }
        What::Serve { seconds, rounds } => {
            let (kind, number) = match seconds {
                Some(seconds) => ("--seconds", seconds.to_string()),
                None => ("--rounds", rounds.to_string()),
            };
            run_command(cargo(tests("holm", "soak", &[kind, &number])))
        }
    }
}

/// A little of those that are quick, as part of the tests.
pub fn run_some() -> Result<()> {
    kill::run_some()?;
    crash::run_some()
}

/// A test of a package, optimised and with the assertions on.
fn tests<'a>(package: &'a str, test: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let call =
        ["test", "--quiet", "--locked", "--profile", "checked", "-p", package, "--test", test];
    [&call[..], &["--"], arguments].concat()
}
