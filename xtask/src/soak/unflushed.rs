//! A program whose flushes do nothing: what shows that a crash test can fail.

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(clap::Args)]
pub struct Unflushed {
    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the command, for which fsync(2) and its like succeed at once, and writes that flush
/// (`RWF_SYNC`, `RWF_DSYNC`) are not supported.
pub fn run(arguments: &Unflushed) -> Result<()> {
    let filter = |action, rules: Vec<(libc::c_long, Vec<SeccompRule>)>| -> Result<BpfProgram> {
        let architecture = std::env::consts::ARCH.try_into()?;
        let rules = rules.into_iter().collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?;
        Ok(filter.try_into()?)
    };
    let flushes = [
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_syncfs,
        libc::SYS_sync,
        libc::SYS_sync_file_range,
        libc::SYS_msync,
    ];
    let flushes = flushes.map(|call| (call, Vec::new())).to_vec();
    let flags = [libc::RWF_SYNC, libc::RWF_DSYNC].map(|flag| {
        let flag = flag as u64;
        let set = SeccompCmpOp::MaskedEq(flag);
        let condition = SeccompCondition::new(5, SeccompCmpArgLen::Dword, set, flag)?;
        SeccompRule::new(vec![condition])
    });
    let flags = flags.into_iter().collect::<Result<Vec<_>, _>>().context("a rule")?;
    // "Error 0" is success.
    let silent = filter(SeccompAction::Errno(0), flushes).context("a filter")?;
    let refused = SeccompAction::Errno(libc::EOPNOTSUPP as u32);
    let refused = filter(refused, vec![(libc::SYS_pwritev2, flags)]).context("a filter")?;
    for filter in [silent, refused] {
        seccompiler::apply_filter(&filter).context("could not install a filter")?;
    }
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("could not start {program}"))
}
