//! What is printed by who goes on all the same.
//!
//! Whoever read may have gone, as `head` does, and with a closed pipe `println!` and `eprintln!` panic. A server
//! has more to do than to be read; and a command that could say no more has still done what it did.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints a line on stdout, if somebody reads it.
pub fn print(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line on stderr, if somebody reads it.
pub fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
