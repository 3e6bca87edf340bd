//! `holm cat`.

use super::ahead;
use super::connect::Connect;
use super::outcome::{Failure, Trouble, say};
use holm_localio::{Access, Url};
use std::io::{self, Write};

/// Show files on stdout, one after the other
///
/// Ends quietly when nobody reads any more. A file that can't be read is named on stderr, the others are
/// shown, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Which files: nfs://HOST[:PORT]/PATH
    #[arg(required = true, value_name = "URL")]
    urls: Vec<Url>,
    #[command(flatten)]
    connect: Connect,
}

pub fn run(Arguments { urls, connect }: &Arguments) -> Result<(), Failure> {
    let mut failed = false;
    for url in urls {
        match show(url, *connect) {
            Err(Failure::Failed(trouble)) if !trouble.is_unreachable() => {
                say(trouble);
                failed = true;
            }
            shown => shown?,
        }
    }
    if failed { Err(Failure::Partly) } else { Ok(()) }
}

fn show(url: &Url, connect: Connect) -> Result<(), Failure> {
    let mount = connect.mount(url, AHEAD)?;
    let file = mount.open("", Access::Read)?;
    // Nothing is gained by holding lines back: what comes is large.
    let mut out = io::stdout().lock();
    let read = |buffer: &mut [u8], offset| file.read_at(buffer, offset).map_err(Trouble::from);
    ahead::read(AHEAD, read, |data| Ok::<_, Failure>(out.write_all(data)?))?;
    Ok(out.flush()?)
}

/// Reads that are under way at a time.
const AHEAD: usize = 4;
