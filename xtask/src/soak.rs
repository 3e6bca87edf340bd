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
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let What::Core { seconds } = arguments.what;
    let seconds = seconds.to_string();
    run_command(cargo([
        "test",
        "--quiet",
        "--locked",
        "--profile",
        "checked",
        "-p",
        "holm-netns",
        "--test",
        "soak",
        "--",
        "--seconds",
        &seconds,
    ]))
}
