//! The configuration of a running server, which may be read again.

use super::{Config, Settings, difference};
use crate::model::Happened;
use crate::server::{Change, Server};
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
        server.apply(all).map_err(|errors| in_words(path, &errors))?;
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
            let path = self.path.display();
            return Err(fixed.iter().map(|key| format!("{path}: {key} {why}")).collect());
        }
        if let Ok(Some(missing)) = wanted.needs().missing() {
            let path = self.path.display();
            let why = "were given up when the server started: start it anew";
            return Err(vec![format!("{path}: it takes privileges ({missing}) that {why}")]);
        }
        let changes = difference(&server.namespaces(), &self.config, &wanted);
        let said = changes.iter().map(ToString::to_string).collect();
        if !changes.is_empty() {
            server.apply(changes).map_err(|errors| in_words(&self.path, &errors))?;
        }
        self.config = wanted;
        Ok(said)
    }
}

fn in_words(path: &Path, errors: &[crate::server::Error]) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {error}", path.display())).collect()
}
