//! `holm ns del`: asks for the removal, and says meanwhile what it waits for.

use super::super::client::Client;
use super::super::outcome::Failure;
use super::super::{NsSpec, say};
use super::show::holder;
use crate::model::NamespaceView;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Before anything is said of the waiting.
const PATIENCE: Duration = Duration::from_millis(300);

/// Removes a namespace and waits `wait` seconds at most until nothing is left of it.
pub async fn carry_out(client: &Client, name: &NsSpec, wait: u32) -> Result<(), Failure> {
    let found: NamespaceView = client.get(&format!("/namespaces/{}", name.0)).await?;
    let this = format!("{}@{}", found.name, found.id);
    let uri = format!("/namespaces/{this}");
    let removal = format!("{uri}?wait={wait}");
    let removal = client.delete::<()>(&removal);
    if io::stderr().is_terminal() {
        tokio::select! {
            removed = removal => {
                Progress::clear();
                removed?;
            }
            never = Progress::of(client, &uri, &this, wait) => never,
        }
    } else {
        removal.await?;
    }
    say(format_args!("{this}: gone"))
}

/// A line on the terminal that says what is waited for.
struct Progress;

impl Progress {
    /// Keeps the line up to date, for ever.
    async fn of(client: &Client, uri: &str, this: &str, wait: u32) -> ! {
        let began = Instant::now();
        loop {
            tokio::time::sleep(PATIENCE).await;
            let held = match client.get::<NamespaceView>(uri).await {
                Ok(ns) => ns.held,
                Err(_) => continue,
            };
            let what = match (held.holders.first(), held.exiting) {
                (_, Some(exiting)) => format!("{exiting} is closing what was in it"),
                (Some(oldest), _) => format!("{} in use; {}", held.count, holder(oldest)),
                (None, _) => format!("{} in use", held.count),
            };
            let seconds = began.elapsed().as_secs();
            let line = format!("{this}: draining for {seconds} s of {wait} s: {what}");
            // What is longer than a line could not be taken back.
            let line: String = line.chars().take(width().saturating_sub(1)).collect();
            let _ = write!(io::stderr(), "\r\x1b[K{line}");
        }
    }

    fn clear() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

/// Columns of the terminal, if it knows how many it has.
fn width() -> usize {
    match ratatui::crossterm::terminal::size() {
        Ok((columns @ 1.., _)) => columns.into(),
        _ => 80,
    }
}
