//! `cargo xtask soak kill`: the server is killed, and its clients go on.
//!
//! Its machine keeps running, so everything that was acknowledged has to be there at once, UNSTABLE
//! writes too; the write verifier has to be another one, and the file handles that clients have must
//! still be good. Half of the rounds run as root, with the kernel's handles, half as an ordinary user,
//! with remembered paths.

use super::server::{Server, built};
use anyhow::{Context, Result, bail, ensure};
use holm_nfs_proto::nfs3;
use holm_nfsload::{Client, Loss, Promise, Target, Witness, WitnessOptions};
use holm_sunrpc::client::{CallError, Client as RpcClient, Procedure};
use holm_xdr::Opaque;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// How often the server is killed
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// An optimised server
    #[arg(long)]
    release: bool,
}

/// A few rounds, as part of the tests.
pub fn run_some() -> Result<()> {
    run(&Arguments { rounds: 10, release: false })
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let program = built(arguments.release)?;
    let ordinary = arguments.rounds / 2;
    for (user, rounds) in [(None, arguments.rounds - ordinary), (Some(NOBODY), ordinary)] {
        kill(&program, user, rounds)?;
    }
    Ok(())
}

fn kill(program: &Path, user: Option<u32>, rounds: u64) -> Result<()> {
    let mut server = Server::new(program, user)?;
    let target = server.start()?;
    let journal = server.folder().join("journal");
    let witness = Witness::new(&WitnessOptions::default(), &target, &journal)?;
    let root = Client::mount(&target)?;
    let (ended, random) = (AtomicBool::new(false), RandomState::new());
    let mut calls = 0;
    std::thread::scope(|scope| {
        let mut round = 0;
        let keeper = scope.spawn(|| keep_a_handle(&target, &root, &ended));
        let result = loop {
            let batch = BATCH.min(rounds - round);
            if batch == 0 {
                break Ok(());
            }
            let clients = scope.spawn(|| witness.run(&target, Loss::IsSatOut));
            let killed = (round..round + batch).try_for_each(|round| {
                calls += 20 + random.hash_one(round) % 400;
                let errors = || witness.testimony().errors;
                let go_on = witness.wait_for_calls(calls, PATIENCE);
                ensure!(go_on, "round {round}: clients don't go on: {:?}", errors());
                server.kill()?;
                let notice = witness.all_are_without(PATIENCE);
                ensure!(notice, "round {round}: clients don't notice: {:?}", errors());
                witness.restarted()?;
                server.start().map(drop)
            });
            witness.stop();
            if let Err(error) = killed.and_then(|()| {
                clients.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
                check(&witness, &target)
            }) {
                // Clients sit out whatever happened to the server.
                let _ = server.start();
                break Err(error);
            }
            round += batch;
            calls = witness.testimony().calls.values().sum();
            println!("{round} rounds: nothing is missing");
        };
        ended.store(true, Ordering::Relaxed);
        let kept = keeper.join().map_err(|_| anyhow::anyhow!("the keeper of a handle panicked"))?;
        result?;
        let (answers, lost) = kept?;
        println!("one handle: {answers} answers, {lost} connections");
        anyhow::Ok(())
    })?;
    let testimony = witness.testimony();
    let who = if user.is_some() { "an ordinary user" } else { "root" };
    println!(
        "as {who}, killed {rounds} times: {} calls; {} connections lost; {} blocks written again for a \
         new verifier; {} calls that were sent again had been carried out",
        testimony.calls.values().sum::<u64>(),
        testimony.lost,
        testimony.rewritten,
        testimony.done_already,
    );
    Ok(())
}

/// All is there, and nothing went wrong.
fn check(witness: &Witness, target: &Target) -> Result<()> {
    let verdict = witness.check(target, Promise::Acknowledged)?;
    if verdict.damaged > 0 {
        bail!("{} blocks and names are wrong: {}", verdict.damaged, verdict.damage.join("; "));
    }
    let errors = witness.testimony().errors;
    ensure!(errors.is_empty(), "{errors:?}");
    Ok(())
}

/// A client that keeps the handle it has, through all lives of the server.
fn keep_a_handle(target: &Target, root: &[u8], ended: &AtomicBool) -> Result<(u64, u64)> {
    let getattr = Procedure {
        program: nfs3::PROGRAM,
        version: nfs3::VERSION,
        number: nfs3::Procedure::GetAttr.number(),
    };
    let call = nfs3::Call::GetAttr(nfs3::GetAttrArgs {
        object: Opaque::new(root).context("a handle of at most 64 bytes")?,
    });
    let (mut answers, mut lost, mut first) = (0, 0, None);
    'connected: loop {
        let mut client = loop {
            if ended.load(Ordering::Relaxed) {
                break 'connected;
            }
            match RpcClient::connect(target.address, Some(PATIENCE)) {
                Ok(client) => break client,
                Err(_) => std::thread::sleep(RETRY),
            }
        };
        while !ended.load(Ordering::Relaxed) {
            match client.call::<nfs3::GetAttrRes>(getattr, &call) {
                Ok(nfs3::Outcome::Ok(ok)) => {
                    let fileid = ok.attributes.fileid;
                    ensure!(*first.get_or_insert(fileid) == fileid, "the handle became another's");
                    answers += 1;
                }
                Ok(nfs3::Outcome::Failed(error, ())) => bail!("the handle of the root: {error}"),
                Err(CallError::Io(_) | CallError::Closed) => {
                    lost += 1;
                    continue 'connected;
                }
                Err(error) => return Err(error).context("GETATTR of the root"),
            }
        }
    }
    Ok((answers, lost))
}

/// Rounds after which everything is read back.
const BATCH: u64 = 25;
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(60);
/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(5);
