//! `cargo xtask bench`.

use crate::cargo::{cargo, output, root, run as run_command};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use std::fs;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// References, gates, look-ups, the life of a namespace; against std and the kernel
    Core {
        /// Print JSON in place of a table
        #[arg(long)]
        json: bool,
        /// Put the table into docs/benchmarks.md
        #[arg(long, conflicts_with = "json")]
        write: bool,
    },
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let What::Core { json, write } = arguments.what;
    let mut call =
        vec!["bench", "--quiet", "--locked", "-p", "holm-netns", "--bench", "core", "--"];
    if json {
        call.push("--json");
    }
    if !write {
        return run_command(cargo(call));
    }
    let table = output(cargo(call))?;
    print!("{table}");
    write_section("core", &table)
}

/// Puts `text` between the marks of `section` in docs/benchmarks.md.
fn write_section(section: &str, text: &str) -> Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let (begin, end) = (format!("<!-- {section} -->\n"), format!("<!-- /{section} -->"));
    let marks = page.find(&begin).zip(page.find(&end));
    let Some((from, to)) = marks.filter(|(from, to)| from < to) else {
        bail!("{} has no marks {} and {end}", path.display(), begin.trim_end());
    };
    let page = format!("{}{begin}{}\n{}", &page[..from], text.trim_end(), &page[to..]);
    fs::write(&path, page).with_context(|| format!("could not write {}", path.display()))
}
