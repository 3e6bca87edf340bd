//! The configuration of a running server, which may be read again.

use super::{Config, Settings, difference};
use crate::model::Happened;
use crate::server::{Change, Refused, Server};
use std::path::{Path, PathBuf};

/// A configuration file and what of it is in force.
#[derive(Debug)]
pub struct Configured {
    path: PathBuf,
    config: Config,
}

impl Configured {
    /// Serves what a file says, all of it or nothing.
    ///
    /// # Errors
    ///
    /// All that is wrong, a line each.
    pub fn begin(path: &Path, config: Config, server: &Server) -> Result<Self, Vec<String>> {
        let all = config.namespaces.iter().cloned().map(Change::Add).collect();
        server.apply(all).map_err(|refused| in_words(path, &config, &refused))?;
        Ok(Self { path: path.to_owned(), config })
    }

    /// What of it is in force that is not about one namespace.
    pub fn settings(&self) -> &Settings {
        &self.config.settings
    }

    /// Reads the file again and applies the difference, or refuses it whole. Either is logged, and
    /// told to whoever listens to events. What has changed, in words.
    ///
    /// # Errors
    ///
    /// All that is wrong, a line each; then everything is as it was.
    pub fn reload(&mut self, server: &Server) -> Result<Vec<String>, Vec<String>> {
        let outcome = self.try_reload(server);
        match &outcome {
            Ok(changes) => {
                tracing::info!(?changes, path = %self.path.display(), "configuration applied");
                server.say(Happened::ConfigApplied { changes: changes.clone() });
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!("configuration refused: {error}");
                }
                server.say(Happened::ConfigRefused { errors: errors.clone() });
            }
        }
        outcome
    }

    fn try_reload(&mut self, server: &Server) -> Result<Vec<String>, Vec<String>> {
        let wanted = Config::load(&self.path).map_err(|error| error.lines())?;
        let fixed = self.config.settings.differing(&wanted.settings);
        if !fixed.is_empty() {
            let why = "is read at the start only: start the server anew, or leave it as it was";
            let place = |key| place(&self.path, &wanted, key);
            return Err(fixed.iter().map(|key| format!("{}: {key} {why}", place(key))).collect());
        }
        if let Ok(Some(missing)) = wanted.needs().missing() {
            let path = self.path.display();
            let why = "were given up when the server started: start it anew";
            return Err(vec![format!("{path}: it takes privileges ({missing}) that {why}")]);
        }
        let changes = difference(&server.namespaces(), &self.config, &wanted);
        let said = changes.iter().map(ToString::to_string).collect();
        if !changes.is_empty() {
            server.apply(changes).map_err(|refused| in_words(&self.path, &wanted, &refused))?;
        }
        self.config = wanted;
        Ok(said)
    }
}

/// Each with the line of the namespace that it is about.
fn in_words(path: &Path, config: &Config, refused: &[Refused]) -> Vec<String> {
    let line = |refused: &Refused| {
        let of = refused.ns.as_ref().map(|name| format!("ns.{name}")).unwrap_or_default();
        format!("{}: {refused}", place(path, config, &of))
    };
    refused.iter().map(line).collect()
}

/// Where a setting or a namespace is written; the file if it is not.
fn place(path: &Path, config: &Config, key: &str) -> String {
    match config.lines.get(key) {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}
