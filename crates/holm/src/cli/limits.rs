//! `holm -n NS limit …`

use super::client::Client;
use super::columns::Columns;
use super::outcome::Failure;
use super::{Format, say, show_json, usage};
use crate::fields;
use crate::model::{LimitsSpec, NamespaceView};
use crate::spelling::nearest;
use clap::Subcommand;
use serde_json::{Map, Value};

/// What the clients of a namespace may take together.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set limits; those that are not named stay
    Set {
        /// Names of limits, each with a number, or with `default` for the server's
        #[arg(required = true, value_names = ["KEY", "VALUE"], num_args = 2..)]
        pairs: Vec<String>,
    },
    /// Show them
    Show(Format),
}

/// Carries out a command on the namespace that `uri` names.
pub async fn carry_out(client: &Client, uri: &str, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Set { pairs } => {
            let changes = parse(pairs).map_err(|why| usage(&why))?;
            let limits = changed(&limits(client, uri).await?, changes)?;
            let () = client.put(&format!("{uri}/limits"), &limits).await?;
            say("limits set: of connections for those that come, the others at once")
        }
        Command::Show(format) => {
            let limits = limits(client, uri).await?;
            if format.json { show_json(&limits) } else { list(&limits) }
        }
    }
}

async fn limits(client: &Client, uri: &str) -> Result<LimitsSpec, Failure> {
    let ns: NamespaceView = client.get(uri).await?;
    Ok(ns.limits)
}

/// What each named limit becomes; null where it is the server's.
fn parse(pairs: &[String]) -> Result<Map<String, Value>, String> {
    let known = fields::of::<LimitsSpec>();
    let mut changes = Map::new();
    for pair in pairs.chunks(2) {
        let [key, value] = pair else {
            let missing = pair.first().map_or("", String::as_str);
            return Err(format!("{missing} needs a value: limit set KEY VALUE…"));
        };
        if !known.contains(&key.as_str()) {
            return Err(match nearest(key, known.iter().copied()) {
                Some(near) => format!("there is no limit {key}: did you mean {near}?"),
                None => format!("there is no limit {key}: there are {}", known.join(", ")),
            });
        }
        let number = match value.as_str() {
            DEFAULT => Value::Null,
            number => number
                .parse::<u32>()
                .map_err(|_| format!("{key} cannot be {number:?}: write a number, or {DEFAULT}"))?
                .into(),
        };
        changes.insert(key.clone(), number);
    }
    Ok(changes)
}

fn changed(limits: &LimitsSpec, changes: Map<String, Value>) -> Result<LimitsSpec, Failure> {
    let mut all = as_map(limits)?;
    all.extend(changes);
    Ok(serde_json::from_value(Value::Object(all)).map_err(std::io::Error::from)?)
}

fn as_map(limits: &LimitsSpec) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(limits).map_err(std::io::Error::from)? {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

fn list(limits: &LimitsSpec) -> Result<(), Failure> {
    let set = as_map(limits)?;
    let mut columns = Columns::new(["LIMIT", ">VALUE"]);
    for key in fields::of::<LimitsSpec>() {
        let value = set.get(*key).map_or(DEFAULT.to_owned(), Value::to_string);
        columns.row([(*key).to_owned(), value]);
    }
    Ok(columns.show()?)
}

/// What the server says for all.
const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_named_stay() {
        let before =
            LimitsSpec { connections: Some(5), open_files: Some(6), ..LimitsSpec::default() };
        let words = ["idle-time", "60", "open-files", "default"].map(str::to_owned);
        let Ok(after) = changed(&before, parse(&words).unwrap()) else { panic!("no limits") };
        let expected =
            LimitsSpec { connections: Some(5), idle_time: Some(60), ..LimitsSpec::default() };
        assert_eq!(after, expected);
        for (words, expected) in [
            (&["idle"][..], "idle needs a value"),
            (&["idletime", "1"], "did you mean idle-time?"),
            (&["wholly-unknown", "1"], "there are connections, "),
            (&["idle-time", "-1"], "write a number, or default"),
        ] {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let why = parse(&words).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
