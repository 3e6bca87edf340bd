//! `holm -n NS local …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, say, show_json};
use crate::model::{LocalClientView, LocalPatch, LocalView};
use crate::output::complain;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Whose programs on this machine may open files past the network.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let programs of these users open files
    Add(Add),
    /// Let programs of these users open files no more, and ask for those that they have
    Del {
        /// Numbers of users
        #[arg(required = true, value_name = "UID")]
        users: Vec<u32>,
    },
    /// Show who may, and who has
    Show(Format),
}

/// Who may, and how.
#[derive(Debug, Args)]
pub struct Add {
    /// Numbers of users
    #[arg(required = true, value_name = "UID")]
    users: Vec<u32>,
    /// The unix socket to come by [default: local/NS.sock beside the admin socket]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How long programs have to give back their files when they are asked to, before they are cut off
    #[arg(long, value_name = "SECS")]
    recall_time: Option<u32>,
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    let local = format!("{uri}/local");
    match command {
        Command::Add(Add { users, socket, recall_time }) => {
            // Relative to where we are, not to where the server is.
            let absolute =
                |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let patch = LocalPatch {
                add_users: users.iter().copied().collect(),
                socket: socket.as_ref().map(absolute),
                recall_time: *recall_time,
                ..LocalPatch::default()
            };
            let view = client.patch(&local, &patch).await?;
            say(who(&view))?;
            lacking(&view);
            Ok(())
        }
        Command::Del { users } => {
            let del_users = users.iter().copied().collect();
            let patch = LocalPatch { del_users, ..LocalPatch::default() };
            say(who(&client.patch(&local, &patch).await?))
        }
        Command::Show(format) => {
            let view: LocalView = client.get(&local).await?;
            if format.json { show_json(&view) } else { show(&view) }
        }
    }
}

fn show(view: &LocalView) -> Result<(), Failure> {
    say(who(view))?;
    lacking(view);
    if view.clients.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::new([">PID", ">UID", "ADDRESS", ">FILES", ">OLDEST", ">RECALLED"]);
    for client in &view.clients {
        let seconds = |time: Option<f64>| time.map_or_else(String::new, |it| format!("{it:.0} s"));
        columns.row([
            client.pid.map_or_else(String::new, |pid| pid.to_string()),
            client.uid.to_string(),
            client.address.clone().unwrap_or_default(),
            client.files.to_string(),
            seconds(client.oldest),
            seconds(client.recalled),
        ]);
    }
    Ok(columns.show()?)
}

/// Beside what was asked for.
fn lacking(view: &LocalView) {
    if let Some(lacks) = &view.lacks {
        complain(format_args!("holm: {lacks}"));
    }
}

/// Whose programs may, and by which door.
pub(super) fn who(view: &LocalView) -> String {
    let users: Vec<String> = view.spec.users.iter().map(ToString::to_string).collect();
    let users = match &users[..] {
        [] => "nobody".into(),
        [one] => format!("user {one}"),
        _ => format!("users {}", users.join(", ")),
    };
    match &view.door {
        Some(door) => format!("{users} may open files past the network by {}", door.display()),
        None => format!("{users} may open files past the network"),
    }
}

/// A program that has come, in a line.
pub(super) fn client_text(client: &LocalClientView) -> String {
    let pid = client.pid.map_or_else(|| "a process".into(), |pid| format!("process {pid}"));
    let from = match &client.address {
        Some(address) => format!(" at {address}"),
        None => ", which has not proved to be here".into(),
    };
    let oldest =
        client.oldest.map_or_else(String::new, |age| format!(", the oldest since {age:.1} s"));
    let recalled = match client.recalled {
        Some(age) => format!(", asked to give them back {age:.1} s ago"),
        None => String::new(),
    };
    format!("{pid} of user {}{from}: {} files open{oldest}{recalled}", client.uid, client.files)
}
