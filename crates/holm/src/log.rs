//! What the program says of itself, on stderr: for people on a terminal, JSON anywhere else.

use std::io::IsTerminal;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log what is worth an operator's while.
pub fn begin() {
    let log =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(LevelFilter::INFO);
    if std::io::stderr().is_terminal() {
        log.with_target(false).compact().init();
    } else {
        log.json().init();
    }
}
