//! `holm cp`.

use super::connect::Connect;
use super::outcome::{Failure, Result, Trouble, say};
use super::place::Place;
use super::transfer::local::LocalDirectory;
use super::transfer::remote::RemoteDirectory;
use super::transfer::{self, Item, Options, Spot, Summary, Watch};
use crate::output::print;
use holm_localio::wire::{FileType, Status};
use holm_localio::{Mount, Url};
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Copy from, to and between NFS servers
///
/// Either side is nfs://HOST[:PORT]/PATH or a path of this machine. Modes and times are kept, symbolic links
/// stay links, and holes in files stay holes.
///
/// A copy that was interrupted, by whatever, goes on where it was when the same command is given again: what
/// is there with the source's size and time is not copied again, and large files go on in the middle. Until a
/// file is complete and on stable storage its target stays as it was. What can't be copied is named on stderr,
/// the rest is copied, and the exit code is 1; it is 3 if the server is gone.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to copy
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<Place>,
    /// Where to: a directory that is there gets the copies, anything else becomes the copy
    #[arg(value_name = "DST")]
    target: Place,
    /// Copy directories with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// Keep owner, group, set-uid and set-gid as well, as far as we may
    #[arg(short, long)]
    preserve: bool,
    /// Copy also what is there already with the same size and time
    #[arg(long)]
    again: bool,
    /// Copy so many files at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    files: u16,
    /// Say what was done
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    connect: Connect,
}

pub fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let Arguments { sources, target, recursive, .. } = arguments;
    if *recursive && let Some(source) = sources.iter().find(|source| lies_in(target, source)) {
        return Err(Trouble::new(format!(
            "could not copy {source} into itself: {target} lies in it"
        ))
        .into());
    }
    raise_limit();
    let sides = Sides { connect: arguments.connect, threads: usize::from(arguments.files) };
    let items = sides.items(sources, target)?;
    let options = Options {
        recursive: *recursive,
        owner: arguments.preserve,
        again: arguments.again,
        files: arguments.files.into(),
        pieces: PIECES,
    };
    let progress = Progress::new();
    let summary = transfer::copy(&items, options, &progress);
    progress.bar.finish_and_clear();
    if arguments.verbose {
        print(line(&summary));
    }
    match summary {
        Summary { unreachable: true, .. } => {
            let why = "the server is gone; the same command goes on where this one was";
            Err(Trouble::unreachable(why).into())
        }
        Summary { failed: 0, .. } => Ok(()),
        _ => Err(Failure::Partly),
    }
}

fn line(summary: &Summary) -> String {
    let files = |count: u64| if count == 1 { "1 file".into() } else { format!("{count} files") };
    let Summary { copied, same, bytes, resumed, failed, .. } = *summary;
    let mut line = format!("copied {}, wrote {}", files(copied), BinaryBytes(bytes));
    if same > 0 {
        line += &format!("; {} there already", files(same));
    }
    if resumed > 0 {
        line += &format!("; went on in the middle of {}", files(resumed));
    }
    if failed > 0 {
        line += &format!("; {failed} failed");
    }
    line
}

/// Opens what the command line names.
struct Sides {
    connect: Connect,
    threads: usize,
}

/// What a target is.
struct Target {
    spot: Spot,
    /// It is a directory that was there.
    into: bool,
}

impl Sides {
    fn items(&self, sources: &[Place], target: &Place) -> std::result::Result<Vec<Item>, Failure> {
        let Target { spot, into } = self.target(target)?;
        if sources.len() > 1 && !into {
            let why = format!("could not copy several sources to {target}: it is no directory");
            return Err(Failure::Usage(why));
        }
        let mut names = HashSet::new();
        let mut items = Vec::new();
        for place in sources {
            let name = if into { place.name().map(OsStr::to_owned) } else { spot.name.clone() };
            if into && name.is_some() && !names.insert(name.clone()) {
                let why = format!("could not copy {place}: another source has the same name");
                return Err(Failure::Usage(why));
            }
            let target = Spot { directory: spot.directory.clone(), name };
            items.push(Item { source: self.source(place)?, target, into });
        }
        Ok(items)
    }

    fn source(&self, place: &Place) -> Result<Spot> {
        match place {
            Place::Local(path) => match place.name() {
                Some(name) if !place.is_directory() => within(path, name),
                _ => Ok(Spot { directory: LocalDirectory::open(path)?, name: None }),
            },
            Place::Remote { url, slash } => {
                let mount = self.mount(url)?;
                match url.path().file_name() {
                    // An export may lie where nothing above it can be reached.
                    Some(name) if !slash && mount.export() != url.path() => {
                        self.within(url, name, &mount)
                    }
                    _ => Ok(Spot { directory: RemoteDirectory::mounted(mount)?, name: None }),
                }
            }
        }
    }

    fn target(&self, place: &Place) -> Result<Target> {
        let beneath = |spot| Ok(Target { spot, into: false });
        let itself = |directory| Ok(Target { spot: Spot { directory, name: None }, into: true });
        match place {
            Place::Local(path) => match place.name() {
                _ if fs::metadata(path).is_ok_and(|there| there.is_dir()) => {
                    itself(LocalDirectory::open(path)?)
                }
                Some(name) => beneath(within(path, name)?),
                // It says why it can't.
                None => itself(LocalDirectory::open(path)?),
            },
            Place::Remote { url, .. } => {
                let mount = self.mount(url)?;
                let is_directory = match mount.lookup("") {
                    Ok(node) => node.attributes.file_type == FileType::Directory,
                    Err(error) if error.status() == Some(Status::NoEnt) => false,
                    Err(error) => return Err(error.into()),
                };
                match url.path().file_name() {
                    Some(name) if !is_directory => beneath(self.within(url, name, &mount)?),
                    _ => itself(RemoteDirectory::mounted(mount)?),
                }
            }
        }
    }

    /// A name in its directory at a server.
    fn within(&self, url: &Url, name: &OsStr, mount: &Mount) -> Result<Spot> {
        let above = url.path().parent().unwrap_or(Path::new("/"));
        let above = url.at(above);
        let above = above.map_err(|error| Trouble::new(error.to_string()))?;
        if !above.path().starts_with(mount.export()) {
            return Err(Trouble::new(format!("{url} is an export, and has no other name")));
        }
        let directory = RemoteDirectory::mounted(self.mount(&above)?)?;
        Ok(Spot { directory, name: Some(name.to_owned()) })
    }

    fn mount(&self, url: &Url) -> Result<Mount> {
        Ok(self.connect.mount(url, self.threads)?)
    }
}

/// A name in its directory of this machine.
fn within(path: &Path, name: &OsStr) -> Result<Spot> {
    let above = path.parent().unwrap_or(Path::new(""));
    Ok(Spot { directory: LocalDirectory::open(above)?, name: Some(name.to_owned()) })
}

/// Whether a place lies in another, as far as names tell; the copying itself finds out the rest.
fn lies_in(target: &Place, source: &Place) -> bool {
    match (target, source) {
        (Place::Local(target), Place::Local(source)) => {
            let Ok(source) = fs::canonicalize(source) else { return false };
            let target = fs::canonicalize(target).or_else(|_| {
                let above = target.parent().filter(|above| !above.as_os_str().is_empty());
                let above = fs::canonicalize(above.unwrap_or(Path::new(".")))?;
                Ok::<PathBuf, std::io::Error>(above.join(target.file_name().unwrap_or_default()))
            });
            source.is_dir() && target.is_ok_and(|target| target.starts_with(source))
        }
        (Place::Remote { url: target, .. }, Place::Remote { url: source, .. }) => {
            (target.host(), target.port()) == (source.host(), source.port())
                && target.path().starts_with(source.path())
        }
        _ => false,
    }
}

/// Directories are held while they are filled.
fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // As many as there were have to do, if it is refused.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// A bar on a terminal, and nothing elsewhere.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // The template is right: a test makes it.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }
}

impl Watch for Progress {
    fn found(&self, _: u64, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    fn moved(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn failed(&self, trouble: &Trouble) {
        self.bar.suspend(|| say(trouble));
    }
}

/// Pieces of one file that are copied at a time.
const PIECES: usize = 4;
const TEMPLATE: &str = "{elapsed_precise} [{bar:40}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} eta {eta}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }

    #[test]
    fn trees_are_not_copied_into_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let directory = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            Place::Local(path)
        };
        let (a, b, ab) = (directory("a"), directory("b"), directory("a/b"));
        let missing = Place::Local(folder.path().join("a/missing"));
        assert!(lies_in(&a, &a) && lies_in(&ab, &a) && lies_in(&missing, &a));
        assert!(!lies_in(&a, &ab) && !lies_in(&b, &a));
        std::os::unix::fs::symlink("../a/b", folder.path().join("b/link")).unwrap();
        assert!(lies_in(&Place::Local(folder.path().join("b/link/new")), &a));
        let place = |text: &str| Place::new(OsStr::new(text)).unwrap();
        assert!(lies_in(&place("nfs://h/a/b"), &place("nfs://h/a")));
        assert!(!lies_in(&place("nfs://h/ab"), &place("nfs://h/a")));
        assert!(!lies_in(&place("nfs://i/a/b"), &place("nfs://h/a")));
    }
}
