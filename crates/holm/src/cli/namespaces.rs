//! `holm ns …`

mod removal;
pub mod show;

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, NsSpec, say, show_json};
use crate::model::{NamespaceSpec, NamespaceState, NamespaceView};
use clap::Subcommand;

/// Namespaces.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a namespace, which serves nothing yet
    Add {
        /// Its name: 1 to 63 of a-z, 0-9 and -
        name: NsSpec,
    },
    /// Remove a namespace: when this succeeds, nothing of it is left
    Del {
        /// Its name, or NAME@ID for one that is draining
        name: NsSpec,
        /// For how long to wait until nothing is left of it
        #[arg(long, value_name = "SECS", default_value_t = 30)]
        wait: u32,
    },
    /// Show all namespaces
    List(Format),
    /// Show one: what it exports, where it listens, what goes on in it
    Show {
        /// Its name, or NAME@ID for one that is draining
        name: NsSpec,
        #[command(flatten)]
        format: Format,
    },
}

/// Carries out a command.
pub async fn carry_out(client: &Client, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Add { name } => {
            let spec = NamespaceSpec { name: name.0.clone(), ..NamespaceSpec::default() };
            let made: NamespaceView = client.post("/namespaces", &spec).await?;
            say(format_args!("{}@{}: created", made.name, made.id))
        }
        Command::Del { name, wait } => removal::carry_out(client, name, *wait).await,
        Command::List(format) => {
            let all: Vec<NamespaceView> = client.get("/namespaces").await?;
            if format.json { show_json(&all) } else { Ok(list(&all)?) }
        }
        Command::Show { name, format } => {
            let one: NamespaceView = client.get(&format!("/namespaces/{}", name.0)).await?;
            if format.json { show_json(&one) } else { Ok(show::show(&one)?) }
        }
    }
}

fn list(all: &[NamespaceView]) -> std::io::Result<()> {
    let mut columns =
        Columns::new(["NAME", ">ID", "STATE", "EXPORTS", "LISTENS AT", ">CONNECTIONS", ">IN USE"]);
    for ns in all {
        let counters = ns.counters.unwrap_or_default();
        columns.row([
            ns.name.clone(),
            ns.id.to_string(),
            match ns.state {
                NamespaceState::Live => "live",
                NamespaceState::Draining => "draining",
            }
            .into(),
            some(ns.exports.iter().map(|export| export.spec.path.clone())),
            some(ns.listeners.iter().map(|listener| listener.local.to_string())),
            counters.connections.to_string(),
            ns.held.count.to_string(),
        ]);
    }
    columns.show()
}

/// The first few.
fn some(mut all: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let more = all.len().saturating_sub(SHOWN);
    let mut some: Vec<String> = all.by_ref().take(SHOWN).collect();
    if more > 0 {
        some.push(format!("+{more}"));
    }
    some.join(",")
}
