//! `cargo xtask soak`.

use crate::cargo::{cargo, run as run_command};
use anyhow::Result;
use clap::Subcommand;

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
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match arguments.what {
        What::Core { seconds } => {
            let seconds = seconds.to_string();
            run_command(cargo(tests("holm-netns", "soak", &["--seconds", &seconds])))
        }
        What::Clients => {
            let which = ["linux::", "--ignored", "--nocapture", "--test-threads=1"];
            run_command(cargo(tests("holm", "program", &which)))
        }
    }
}

/// A test of a package, optimised and with the assertions on.
fn tests<'a>(package: &'a str, test: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let call =
        ["test", "--quiet", "--locked", "--profile", "checked", "-p", package, "--test", test];
    [&call[..], &["--"], arguments].concat()
}
