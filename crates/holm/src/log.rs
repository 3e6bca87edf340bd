//! What the program says of itself, on stderr: for people on a terminal, JSON anywhere else.

use std::io::IsTerminal;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log what is worth an operator's while.
pub fn begin() {
    // What can't be written is not complained of: that would go the same way, and panic.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_max_level(LevelFilter::INFO);
    if std::io::stderr().is_terminal() {
        log.with_target(false).compact().init();
    } else {
        log.json().init();
    }
}
