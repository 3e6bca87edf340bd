//! What is wrong with a configuration, and where.

use super::lines::Lines;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Unreadable(String),
    Mistakes(Vec<Mistake>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong, and what to do about it.
    pub why: String,
}

impl ConfigError {
    pub(super) fn new(path: &Path, mistakes: Vec<Mistake>) -> Self {
        Self { path: path.to_owned(), reason: Reason::Mistakes(mistakes) }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self { path: path.to_owned(), reason: Reason::Unreadable(error.to_string()) }
    }

    /// Each thing that is wrong, in a line of its own.
    pub fn lines(&self) -> Vec<String> {
        let path = self.path.display();
        match &self.reason {
            Reason::Unreadable(error) => {
                let hint = "name the file that is meant, and let the user who runs holm read it";
                vec![format!("{path}: could not be read: {error}: {hint}")]
            }
            Reason::Mistakes(mistakes) => {
                mistakes.iter().map(|mistake| format!("{path}:{mistake}")).collect()
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.why)
    }
}

/// What was found so far, by the bytes of the text that it is about.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<(usize, String)>);

impl Mistakes {
    pub(super) fn add(&mut self, span: Range<usize>, why: impl Into<String>) {
        self.0.push((span.start, why.into()));
    }

    /// In the order of the text.
    pub(super) fn locate(mut self, lines: &Lines<'_>) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        let locate = |(at, why)| Mistake { line: lines.line(at), column: lines.column(at), why };
        self.0.into_iter().map(locate).collect()
    }
}
