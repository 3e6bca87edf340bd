//! `holm -n NS addr …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, query, say, show_json};
use crate::model::{AddrSpec, AddrView};
use clap::{Args, Subcommand};

/// The addresses of a namespace's interfaces.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give an interface one address more: CIDR dev NAME
    #[command(override_usage = "holm -n NS addr add CIDR dev NAME")]
    Add(Address),
    /// Take an address from an interface: CIDR dev NAME
    #[command(override_usage = "holm -n NS addr del CIDR dev NAME")]
    Del(Address),
    /// Show them
    Show(Format),
}

/// An address, and of which interface.
#[derive(Debug, Args)]
pub struct Address {
    /// With the length of its network's prefix, as 10.0.0.1/24
    cidr: String,
    #[arg(value_name = "dev", value_parser = ["dev"], hide_possible_values = true)]
    dev: String,
    /// Of which interface
    name: String,
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let addresses = format!("{uri}/addresses");
    match command {
        Command::Add(address) => {
            let Address { cidr, name, .. } = address;
            let spec = AddrSpec { cidr: cidr.clone(), dev: name.clone() };
            let _: serde_json::Value = client.post(&addresses, &spec).await?;
            say(format_args!("{name}: has {cidr}"))
        }
        Command::Del(Address { cidr, name, .. }) => {
            let which = query(&[("cidr", cidr), ("dev", name)]);
            let () = client.delete(&format!("{addresses}?{which}")).await?;
            say(format_args!("{name}: has {cidr} no more"))
        }
        Command::Show(format) => {
            let all: Vec<AddrView> = client.get(&addresses).await?;
            if format.json { show_json(&all) } else { Ok(list(&all)?) }
        }
    }
}

fn list(all: &[AddrView]) -> std::io::Result<()> {
    let mut columns = Columns::new(["ADDRESS", "DEV", "NOTE"]);
    for AddrView { spec, automatic } in all {
        let note = if *automatic { "automatic" } else { "" };
        columns.row([spec.cidr.clone(), spec.dev.clone(), note.into()]);
    }
    columns.show()
}
