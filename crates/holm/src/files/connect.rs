//! Mounts, as the options of a command have them.

use holm_localio::{Local, Mount, Options, Result, Url};

/// How servers are asked.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Connect {
    /// Ask the server by the network, also where it is on this machine and would lend its files
    #[arg(long)]
    pub no_local: bool,
}

impl Connect {
    /// Mounts, for so many threads.
    pub fn mount(self, url: &Url, threads: usize) -> Result<Mount> {
        let mut options = Options::default();
        options.connections = threads;
        options.local = if self.no_local { Local::Never } else { Local::Automatic };
        Mount::new(url, &options)
    }
}
