//! `holm ls`.

use super::connect::Connect;
use super::outcome::{Failure, Trouble, say};
use super::quote::Quoted;
use holm_localio::wire::{Attributes, FileType, Time};
use holm_localio::{Entry, Mount, Url};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// List what is at a URL
///
/// Names that could harm a terminal are shown there as $'…'; elsewhere they come as they are. Times are UTC.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to list: nfs://HOST[:PORT]/PATH
    url: Url,
    /// Show mode, links, owner, group, size and time as well
    #[arg(short)]
    long: bool,
    /// List directories within directories, too
    #[arg(short = 'R')]
    recursive: bool,
    /// Show names that begin with a dot as well
    #[arg(short)]
    all: bool,
    /// Show JSON: an array of everything that is known of each file
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // No data is read.
    let mount = Connect { no_local: true }.mount(&arguments.url, 1)?;
    let node = mount.lookup("")?;
    let out = BufWriter::new(io::stdout().lock());
    let mut listing = Listing { mount, arguments, out, shown: 0, failed: false };
    if arguments.json {
        write!(listing.out, "[")?;
    }
    if node.attributes.file_type == FileType::Directory {
        listing.tree()?;
    } else {
        let name = arguments.url.path().file_name().unwrap_or_default().to_owned();
        let entry = Entry { name, handle: node.handle, attributes: node.attributes };
        listing.page(None, vec![entry])?;
    }
    if arguments.json {
        writeln!(listing.out, "{}]", if listing.shown > 0 { "\n" } else { "" })?;
    }
    listing.out.flush()?;
    if listing.failed { Err(Failure::Partly) } else { Ok(()) }
}

struct Listing<'a, W> {
    mount: Mount,
    arguments: &'a Arguments,
    out: W,
    shown: usize,
    failed: bool,
}

impl<W: Write> Listing<'_, W> {
    fn tree(&mut self) -> Result<(), Failure> {
        let mut waiting = vec![PathBuf::new()];
        let mut is_first = true;
        while let Some(path) = waiting.pop() {
            if self.arguments.recursive && !self.arguments.json {
                let blank = if is_first { "" } else { "\n" };
                let heading = self.mount.url().join(&path);
                let heading = heading.map_err(|error| Trouble::new(error.to_string()))?;
                writeln!(self.out, "{blank}{heading}:")?;
            }
            match self.directory(&path, &mut waiting) {
                // The others are shown all the same.
                Err(Failure::Failed(trouble)) if !is_first && !trouble.is_unreachable() => {
                    self.fail(&trouble)?;
                }
                listed => listed?,
            }
            is_first = false;
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, waiting: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let all = self.arguments.all;
        let is_hidden = |entry: &Entry| !all && entry.name.as_bytes().starts_with(b".");
        let mut entries = self.mount.list(path)?;
        loop {
            let mut page = Vec::new();
            let mut failed = None;
            for entry in entries.by_ref() {
                match entry {
                    Ok(entry) if is_hidden(&entry) => {}
                    Ok(entry) => page.push(entry),
                    Err(error) => failed = Some(error),
                }
                if page.len() == PAGE {
                    break;
                }
            }
            let is_last = page.len() < PAGE;
            page.sort_by(|one, other| one.name.cmp(&other.name));
            if self.arguments.recursive {
                self.descend(path, &page, waiting)?;
            }
            self.page(Some(path), page)?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Notes the directories of a page, the first one last, since it comes next.
    fn descend(
        &mut self,
        path: &Path,
        page: &[Entry],
        waiting: &mut Vec<PathBuf>,
    ) -> Result<(), Failure> {
        let is_directory = |entry: &&Entry| entry.attributes.file_type == FileType::Directory;
        let beneath = page.iter().rev().filter(is_directory).map(|entry| path.join(&entry.name));
        let depth = path.components().count() + 1;
        if depth >= DEPTH_MAX {
            for path in beneath {
                let place = Quoted(path.as_os_str());
                let why = format!("{place} is not listed: it lies {depth} directories deep");
                self.fail(&Trouble::new(why))?;
            }
        } else {
            waiting.extend(beneath);
        }
        Ok(())
    }

    fn page(&mut self, path: Option<&Path>, page: Vec<Entry>) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for entry in page {
            let place = path.map(|path| path.join(&entry.name)).unwrap_or_default();
            let is_link = entry.attributes.file_type == FileType::SymLink;
            let target = if is_link && (self.arguments.long || self.arguments.json) {
                match self.mount.nfs().read_link(&entry.handle) {
                    Ok(target) => Some(target),
                    Err(error) => {
                        let name = self.mount.url().to_string();
                        self.fail(&error.on(|| format!("{} of {name}", place.display())).into())?;
                        None
                    }
                }
            } else {
                None
            };
            rows.push(Row { entry, place, target });
        }
        if self.arguments.json {
            for row in rows {
                let comma = if self.shown > 0 { "," } else { "" };
                write!(self.out, "{comma}\n  ")?;
                let json = row.json(self.mount.url(), path.is_none());
                serde_json::to_writer(&mut self.out, &json).map_err(io::Error::from)?;
                self.shown += 1;
            }
            return Ok(());
        }
        let quoted = io::stdout().is_terminal();
        let widths = if self.arguments.long { Widths::of(&rows) } else { Widths::default() };
        for row in rows {
            if self.arguments.long {
                row.details(&mut self.out, &widths)?;
            }
            write_name(&mut self.out, &row.entry.name, quoted)?;
            if let Some(target) = &row.target {
                write!(self.out, " -> ")?;
                write_name(&mut self.out, target, quoted)?;
            }
            writeln!(self.out)?;
            self.shown += 1;
        }
        Ok(())
    }

    fn fail(&mut self, trouble: &Trouble) -> io::Result<()> {
        self.failed = true;
        // In the order in which it happens, where both go to one place.
        self.out.flush()?;
        say(trouble);
        Ok(())
    }
}

/// A file that is shown.
struct Row {
    entry: Entry,
    /// Beneath the URL.
    place: PathBuf,
    /// Of a symbolic link.
    target: Option<OsString>,
}

/// As wide as the columns of numbers are.
#[derive(Default)]
struct Widths([usize; 4]);

/// A file as JSON.
#[derive(Serialize)]
struct Json {
    /// Beneath the URL; what is no UTF-8 in it is replaced.
    name: String,
    /// With all bytes of the name.
    url: String,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    size: u64,
    used: u64,
    accessed: String,
    modified: String,
    changed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl Row {
    fn details(
        &self,
        out: &mut impl Write,
        Widths([links, uid, gid, size]): &Widths,
    ) -> io::Result<()> {
        let Attributes { mode, nlink, uid: u, gid: g, size: s, mtime, .. } = self.entry.attributes;
        let mode = mode_text(self.entry.attributes.file_type, mode);
        let time = humantime::format_rfc3339_seconds(system_time(mtime));
        write!(out, "{mode} {nlink:>links$} {u:>uid$} {g:>gid$} {s:>size$} {time} ")
    }

    fn json(&self, url: &Url, is_itself: bool) -> Json {
        let attributes = &self.entry.attributes;
        let time = |time| humantime::format_rfc3339_nanos(system_time(time)).to_string();
        let name = if is_itself { Path::new(&self.entry.name) } else { &self.place };
        Json {
            name: name.to_string_lossy().into_owned(),
            url: url.join(&self.place).map(|url| url.to_string()).unwrap_or_default(),
            kind: kind(attributes.file_type).1,
            mode: format!("{:04o}", attributes.mode & 0o7777),
            links: attributes.nlink,
            uid: attributes.uid,
            gid: attributes.gid,
            size: attributes.size,
            used: attributes.used,
            accessed: time(attributes.atime),
            modified: time(attributes.mtime),
            changed: time(attributes.ctime),
            target: self.target.as_ref().map(|target| target.to_string_lossy().into_owned()),
        }
    }
}

impl Widths {
    fn of(rows: &[Row]) -> Self {
        let mut widest = [0_u64; 4];
        for Row { entry, .. } in rows {
            let Attributes { nlink, uid, gid, size, .. } = entry.attributes;
            let numbers = [nlink.into(), uid.into(), gid.into(), size];
            for (widest, number) in widest.iter_mut().zip(numbers) {
                *widest = number.max(*widest);
            }
        }
        Self(widest.map(|number| number.to_string().len()))
    }
}

fn write_name(out: &mut impl Write, name: &std::ffi::OsStr, quoted: bool) -> io::Result<()> {
    if quoted { write!(out, "{}", Quoted(name)) } else { out.write_all(name.as_bytes()) }
}

/// The letter in a mode, and the word.
const fn kind(of: FileType) -> (char, &'static str) {
    match of {
        FileType::Regular => ('-', "file"),
        FileType::Directory => ('d', "directory"),
        FileType::SymLink => ('l', "symlink"),
        FileType::Block => ('b', "block-device"),
        FileType::Character => ('c', "character-device"),
        FileType::Socket => ('s', "socket"),
        FileType::Fifo => ('p', "fifo"),
    }
}

/// As `ls -l` has it.
fn mode_text(file_type: FileType, mode: u32) -> String {
    let mut text = String::from(kind(file_type).0);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn system_time(time: Time) -> SystemTime {
    // Nobody has checked the nanoseconds.
    SystemTime::UNIX_EPOCH
        + Duration::from_secs(time.seconds.into())
        + Duration::from_nanos(time.nanoseconds.min(999_999_999).into())
}

/// Entries that are sorted at a time: a directory may have any number of them.
const PAGE: usize = 1 << 16;
/// Whatever a server says, no tree is deeper.
const DEPTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        for (file_type, mode, text) in [
            (FileType::Regular, 0o644, "-rw-r--r--"),
            (FileType::Directory, 0o1777, "drwxrwxrwt"),
            (FileType::Directory, 0o1776, "drwxrwxrwT"),
            (FileType::Regular, 0o4755, "-rwsr-xr-x"),
            (FileType::Regular, 0o6644, "-rwSr-Sr--"),
            (FileType::SymLink, 0o777, "lrwxrwxrwx"),
            (FileType::Fifo, 0, "p---------"),
        ] {
            assert_eq!(mode_text(file_type, mode), text);
        }
    }
}
