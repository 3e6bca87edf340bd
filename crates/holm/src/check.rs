//! `holm check`: is a configuration right, and if not, where and why.

use crate::config::Config;
use crate::output::{complain, print};
use std::path::PathBuf;
use std::process::ExitCode;

/// Say whether a configuration is right, and if not, where and why
#[derive(clap::Args)]
pub struct Arguments {
    /// Which file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks it: a line on stdout if it is right, or all that is wrong on stderr.
pub fn run(Arguments { file }: &Arguments) -> ExitCode {
    match Config::load(file) {
        Ok(config) => {
            print(format_args!("{}: {}", file.display(), config.summary()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}
