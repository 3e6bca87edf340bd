//! `holm top`: what the tenants do, from one reading of the counters to the next.

mod plain;
mod rates;
mod screen;

use super::Format;
use super::client::Client;
use super::outcome::Failure;
use crate::metrics::Statistics;
use clap::Args;
use rates::{Column, Rates};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// What is shown, and how often.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Seconds between two tables
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// End after this many tables
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// What to sort by, the most first
    #[arg(long, value_enum, default_value = "ops")]
    sort: Column,
    #[command(flatten)]
    format: Format,
}

/// Shows tables: on a terminal one over the other with keys to sort and to quit, else one after the
/// other.
pub async fn carry_out(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    if io::stdout().is_terminal() && !arguments.format.json {
        screen::show(client, arguments).await
    } else {
        plain::show(client, arguments).await
    }
}

/// Readings of the counters, one each interval.
struct Readings<'a> {
    client: &'a Client,
    last: Statistics,
    ticks: tokio::time::Interval,
    left: Option<u64>,
}

impl<'a> Readings<'a> {
    async fn begin(client: &'a Client, arguments: &Arguments) -> Result<Self, Failure> {
        let mut ticks = tokio::time::interval(arguments.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        Ok(Self { client, last: read(client).await?, ticks, left: arguments.count })
    }

    /// What has happened since the last one, when the time has come; `None` when it is enough.
    async fn next(&mut self) -> Result<Option<Rates>, Failure> {
        match &mut self.left {
            Some(0) => return Ok(None),
            Some(left) => *left -= 1,
            None => {}
        }
        self.ticks.tick().await;
        let now = read(self.client).await?;
        let rates = Rates::between(&self.last, &now);
        self.last = now;
        Ok(Some(rates))
    }
}

async fn read(client: &Client) -> Result<Statistics, Failure> {
    client.get("/statistics").await
}

fn interval(seconds: &str) -> Result<Duration, String> {
    let seconds: f64 = seconds.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 0.1 to 3600 seconds".into())
    }
}
