//! `cargo xtask soak crash`: nothing acknowledged is lost when the power fails.
//!
//! A guest runs the server, on ext4, on a disk with a write cache. Clients here write down what was
//! acknowledged: blocks that are FILE_SYNC or covered by a COMMIT, and names that were made, removed
//! and renamed. At a random moment the guest is killed, and its disk forgets what was not flushed.
//! The next guest finds the disk, and the server has to have everything.
//!
//! As a control, the same with a server whose flushes do nothing: that has to lose something.

use super::server::{built, free_port};
use crate::cargo::{root, run as run_command};
use anyhow::{Context, Result, bail, ensure};
use holm_guest::{CachedDisk, Disk, Guest, Network};
use holm_nfsload::{Loss, Promise, Target, Verdict, Witness, WitnessOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[derive(clap::Args)]
pub struct Arguments {
    /// How often the power fails
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// How often it fails a server whose flushes do nothing
    #[arg(long, default_value_t = 5)]
    control_rounds: u64,
    /// An optimised server
    #[arg(long)]
    release: bool,
    /// Repeats the choices of another run: how long clients write, what the disk forgets
    #[arg(long)]
    seed: Option<u64>,
}

/// A few rounds, as part of the tests.
pub fn run_some() -> Result<()> {
    run(&Arguments { rounds: 3, control_rounds: 1, release: false, seed: None })
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("seed {seed}");
    let machine = Machine::new(arguments.release)?;
    let by_path = arguments.rounds / 2;
    for (export, rounds) in [(WHOLE, arguments.rounds - by_path), (BELOW, by_path)] {
        fail(&machine, export, true, rounds, seed ^ export.len() as u64)?;
        println!("{rounds} rounds, {export}: nothing that was acknowledged is missing");
    }
    if arguments.control_rounds == 0 {
        return Ok(());
    }
    let lossy = fail(&machine, WHOLE, false, arguments.control_rounds, !seed)?;
    println!("without flushes: {lossy} of {} rounds lost something", arguments.control_rounds);
    ensure!(lossy > 0, "a server that flushes nothing lost nothing: the check is worth nothing");
    Ok(())
}

/// Lets the power fail so often; says after how many of them something was missing. A server that
/// flushes must not lose anything.
fn fail(machine: &Machine, export: &str, flushes: bool, rounds: u64, seed: u64) -> Result<u64> {
    let disks = [CachedDisk::new(DISK_MIB)?, CachedDisk::new(STATE_MIB)?];
    let mut lossy_rounds = 0;
    let mut witness: Option<Witness> = None;
    for round in 0..=rounds {
        let began = Instant::now();
        let (guest, target) = machine.start(&disks, export, flushes)?;
        let booted = began.elapsed();
        if let Some(witness) = &witness {
            let verdict = witness.check(&target, Promise::Durable)?;
            report(&verdict);
            let lossy = verdict.damaged > 0;
            lossy_rounds += u64::from(lossy);
            ensure!(
                !(lossy && flushes),
                "round {round}: {} blocks and names are not as they were acknowledged (--seed {seed}); \
                 the journal is {}",
                verdict.damaged,
                machine.keep_journals().display(),
            );
        }
        if round == rounds {
            break;
        }
        // After a loss everything is compared with what was never there.
        let witness = match &mut witness {
            Some(witness) if flushes => witness,
            other => other.insert(machine.witness(&target)?),
        };
        let random = random(seed, round);
        let before = witness.testimony().calls.values().sum::<u64>();
        let calls = 50 + random % 700;
        std::thread::scope(|scope| {
            let clients = scope.spawn(|| witness.run(&target, Loss::Ends));
            let enough = witness.wait_for_calls(before + calls, PATIENCE);
            guest.power_loss()?;
            clients.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            ensure!(enough, "clients did not get {calls} answers in {PATIENCE:?}");
            anyhow::Ok(())
        })?;
        let [loss, _] = disks.each_ref().map(|disk| disk.lose_power(random));
        let loss = loss?;
        witness.power_lost()?;
        let testimony = witness.testimony();
        if !testimony.errors.is_empty() {
            bail!("round {round} (--seed {seed}): {:?}", testimony.errors);
        }
        let answered = testimony.calls.values().sum::<u64>() - before;
        println!(
            "{}round {round}: up after {:.1} s, {answered} calls, {} flushes; of blocks not flushed {} \
             lost, {} kept",
            if flushes { "" } else { "without flushes, " },
            booted.as_secs_f64(),
            loss.flushes,
            loss.lost,
            loss.kept,
        );
    }
    Ok(lossy_rounds)
}

fn report(verdict: &Verdict) {
    const SHOWN: usize = 5;
    verdict.damage.iter().take(SHOWN).for_each(|damage| println!("  {damage}"));
    if verdict.damaged > SHOWN as u64 {
        println!("  and so on: {} blocks and names", verdict.damaged);
    }
}

/// What is the same in all rounds.
struct Machine {
    server: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Machine {
    fn new(release: bool) -> Result<Self> {
        let program = built(release)?;
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        // A guest has little memory, and what it is given lies there.
        let stripped = |name: &str, from: PathBuf| {
            let to = folder.path().join(name);
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(&to).arg(from);
            run_command(strip).map(|()| to)
        };
        let server = stripped("holm", program)?;
        stripped("xtask", std::env::current_exe().context("find this program")?)?;
        let port = free_port()?;
        Ok(Self { server, port, folder })
    }

    /// A guest with the server, ready.
    fn start(
        &self,
        [disk, state]: &[CachedDisk; 2],
        export: &str,
        flushes: bool,
    ) -> Result<(Guest, Target)> {
        let unflushed = if flushes { "" } else { "/usr/local/bin/xtask unflushed -- " };
        let mut guest = Guest::builder()
            .disk(Disk::cached(disk))
            .disk(Disk::cached(state).at("/state"))
            .variable("EXPORT", export)
            .network(Network::user().forward(self.port, PORT))
            .file(&self.server, "/usr/local/bin/holm")
            .timeout(PATIENCE)
            .script(SCRIPT.replace("UNFLUSHED ", unflushed));
        if !flushes {
            guest = guest.file(self.folder.path().join("xtask"), "/usr/local/bin/xtask");
        }
        let mut guest = guest.spawn()?;
        guest.wait_for_output("serving", PATIENCE)?;
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        Ok((guest, Target::new(address, "/")))
    }

    /// New files, and a new journal.
    fn witness(&self, target: &Target) -> Result<Witness> {
        let mut names = (0..).map(|n| self.folder.path().join(format!("journal-{n}")));
        let journal = names.find(|path| !path.exists()).context("a free name")?;
        // All of it is read back every time, through an emulated processor.
        let options = WitnessOptions { blocks: 16, names: 6, ..WitnessOptions::default() };
        Ok(Witness::new(&options, target, &journal)?)
    }

    /// Where the journals are, for somebody to look at.
    fn keep_journals(&self) -> PathBuf {
        let kept = root().join("target/crash");
        let _ = std::fs::create_dir_all(&kept);
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("journal") {
                let _ = std::fs::copy(entry.path(), kept.join(entry.file_name()));
            }
        }
        kept
    }
}

/// A whole file system: handles are the kernel's.
const WHOLE: &str = "/scratch";
/// A directory in one: this kernel does not confine handles to it, and they are remembered paths.
const BELOW: &str = "/scratch/export";

/// What is written reaches the disk soon, to be lost or to be kept there. The server serves its own
/// machine only, and its clients come from outside.
const SCRIPT: &str = r#"
set -e
echo 5 > /proc/sys/vm/dirty_writeback_centisecs
echo 10 > /proc/sys/vm/dirty_expire_centisecs
mkdir -p "$EXPORT"
chmod 777 "$EXPORT"
echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
nft -f - <<END
table ip relay {
    chain outside { type nat hook prerouting priority -100; iifname eth0 tcp dport 2049 dnat to 127.0.0.1; }
    chain inside { type nat hook input priority 100; tcp dport 2049 snat to 127.0.0.1; }
}
END
exec UNFLUSHED /usr/local/bin/holm serve "$EXPORT" --state-dir /state
"#;

const PORT: u16 = 2049;
const DISK_MIB: u64 = 256;
const STATE_MIB: u64 = 32;
/// What a round may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(300);

/// Numbers that need only look random, and are the same for the same seed and round.
fn random(seed: u64, round: u64) -> u64 {
    let mixed =
        (seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}
