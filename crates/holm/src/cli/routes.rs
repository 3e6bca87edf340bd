//! `holm -n NS route …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, query, say, show_json};
use crate::model::{RouteSpec, RouteView};
use clap::{Args, Subcommand};
use std::net::IpAddr;

/// Where a namespace's own network leads.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add a route: CIDR|default via ADDR
    #[command(override_usage = "holm -n NS route add CIDR|default via ADDR")]
    Add(Route),
    /// Remove a route: CIDR|default via ADDR
    #[command(override_usage = "holm -n NS route del CIDR|default via ADDR")]
    Del(Route),
    /// Show them
    Show(Format),
}

/// A route.
#[derive(Debug, Args)]
pub struct Route {
    /// To which network, as 10.1.0.0/16; `default`: to all that no other route leads to
    #[arg(value_name = "CIDR|default")]
    to: String,
    #[arg(value_name = "via", value_parser = ["via"], hide_possible_values = true)]
    word: String,
    /// Who forwards: an address in the network of one of the interfaces
    #[arg(value_name = "ADDR")]
    via: IpAddr,
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let routes = format!("{uri}/routes");
    match command {
        Command::Add(Route { to, via, .. }) => {
            let spec = RouteSpec { to: to.clone(), via: *via };
            let _: serde_json::Value = client.post(&routes, &spec).await?;
            say(format_args!("{to}: via {via}"))
        }
        Command::Del(Route { to, via, .. }) => {
            let which = query(&[("to", to), ("via", &via.to_string())]);
            let () = client.delete(&format!("{routes}?{which}")).await?;
            say(format_args!("{to}: via {via} no more"))
        }
        Command::Show(format) => {
            let all: Vec<RouteView> = client.get(&routes).await?;
            if format.json { show_json(&all) } else { Ok(list(&all)?) }
        }
    }
}

fn list(all: &[RouteView]) -> std::io::Result<()> {
    let mut columns = Columns::new(["TO", "VIA", "DEV"]);
    for RouteView { spec, dev } in all {
        columns.row([spec.to.clone(), spec.via.to_string(), dev.clone().unwrap_or_default()]);
    }
    columns.show()
}
