//! What is done to the project: `cargo xtask …`.

mod bench;
mod cargo;
mod fuzz;
mod guest;
mod soak;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What is done to the project", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the tests: all of them, or the kinds named
    Test(test::Arguments),
    /// Measure, against what else could be used
    Bench(bench::Arguments),
    /// Do everything at random, for as long as you like, and see whether anything is left
    Soak(soak::Arguments),
    /// Try every decoder on input that is searched for, a minute each
    Fuzz(fuzz::Arguments),
    /// Run a command whose flushes do nothing (for `soak crash`)
    #[command(hide = true)]
    Unflushed(soak::Unflushed),
    Guest(Box<guest::Command>),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments)?,
        Task::Bench(arguments) => bench::run(&arguments)?,
        Task::Soak(arguments) => soak::run(&arguments)?,
        Task::Fuzz(arguments) => fuzz::run(&arguments)?,
        Task::Unflushed(arguments) => soak::run_unflushed(&arguments)?,
        Task::Guest(command) => return guest::run(*command),
    }
    Ok(ExitCode::SUCCESS)
}
