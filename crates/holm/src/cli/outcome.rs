//! How a command can end, and what the shell is told.

use super::namespaces::show;
use crate::model::ErrorBody;
use crate::output::complain;
use std::process::ExitCode;

/// Why a command has not done what it was to do.
#[derive(Debug)]
pub enum Failure {
    /// The server says no.
    Refused(ErrorBody),
    /// There is no server, or it does not answer.
    Unreachable(String),
    /// The command makes no sense.
    Usage(clap::Error),
    /// What was to be written could not be.
    Output(std::io::Error),
}

impl Failure {
    /// Says on stderr what went wrong.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Refused(refusal) => {
                complain(format_args!("holm: {}", refusal.message));
                for holder in refusal.held.iter().flat_map(|held| &held.holders) {
                    complain(format_args!("  {}", show::holder(holder)));
                }
                ExitCode::from(1)
            }
            Failure::Unreachable(why) => {
                complain(format_args!("holm: {why}"));
                ExitCode::from(3)
            }
            Failure::Usage(error) => {
                let _ = error.print();
                ExitCode::from(2)
            }
            // Who reads has gone, as `head` does.
            Failure::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Failure::Output(error) => {
                complain(format_args!("holm: could not write: {error}"));
                ExitCode::from(1)
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Output(error)
    }
}
