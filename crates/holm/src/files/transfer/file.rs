//! One file or link: written under a name of its own, renamed when it is complete and durable.

use super::names::Names;
use super::record::Record;
use super::side::{Directory, Facts, Kind};
use super::{Run, add, pieces};
use crate::files::outcome::{Result, Trouble};
use std::ffi::OsStr;

/// What has a name in a directory and is no directory.
pub struct Source<'a> {
    pub directory: &'a dyn Directory,
    pub name: &'a OsStr,
    pub facts: Facts,
}

/// Copies it, unless it is there already.
pub fn copy(
    run: &Run<'_>,
    source: &Source<'_>,
    target: &dyn Directory,
    name: &OsStr,
) -> Result<()> {
    let could_not = |why: &str| {
        let (from, to) = (source.place(), target.place(Some(name)));
        Err(Trouble::new(format!("could not copy {from} to {to}: {why}")))
    };
    let there = target.look(name)?;
    if let Some(there) = &there {
        if there.identity == source.facts.identity {
            return could_not("they are the same file");
        }
        if there.kind == Kind::Directory {
            return could_not("there is a directory of that name");
        }
    }
    let counts = &run.counts;
    let copied = match source.facts.kind {
        Kind::Regular => copy_content(run, source, target, name, there.as_ref())?,
        Kind::SymLink => copy_link(run, source, target, name, there.as_ref())?,
        Kind::Directory => return could_not("it has become a directory"),
        Kind::Other => return could_not("it is a device, a socket or a pipe, and has no content"),
    };
    add(if copied { &counts.copied } else { &counts.same }, 1);
    Ok(())
}

fn copy_content(
    run: &Run<'_>,
    source: &Source<'_>,
    target: &dyn Directory,
    name: &OsStr,
    there: Option<&Facts>,
) -> Result<bool> {
    let facts = &source.facts;
    let names = Names::new(facts, name);
    let is_large = facts.size >= LARGE;
    if !run.options.again && there.is_some_and(|there| facts.is_copied_by(there)) {
        if is_large {
            // Of a copy that ended between its last two steps.
            remove(target, &names.record)?;
        }
        run.watch.moved(facts.size);
        return Ok(false);
    }
    let from = source.directory.open(source.name, facts)?;
    let to = target.own(&names.part)?;
    let (record, durable) = if is_large {
        let record = Record::open(target.own(&names.record)?, &to.token()?, facts.size)?;
        let durable = record.durable();
        (Some(record), durable)
    } else {
        (None, 0)
    };
    if durable > 0 {
        add(&run.counts.resumed, 1);
        run.watch.moved(durable);
    }
    let range = durable..facts.size;
    let complete = pieces::copy(run, &*from, &*to, range, record)?;
    if complete {
        to.finish(facts, run.options.owner)?;
    } else if run.is_over() {
        return Err(Trouble::new(format!("could not copy {}: given up", source.place())));
    }
    let now = from.facts()?;
    if !complete || (now.size, now.modified) != (facts.size, facts.modified) {
        remove(target, &names.part)?;
        remove(target, &names.record)?;
        let place = source.place();
        return Err(Trouble::new(format!(
            "could not copy {place}: it was changed meanwhile; copy it again when it is at rest"
        )));
    }
    target.rename(&names.part, name)?;
    if is_large {
        remove(target, &names.record)?;
    }
    Ok(true)
}

fn copy_link(
    run: &Run<'_>,
    source: &Source<'_>,
    target: &dyn Directory,
    name: &OsStr,
    there: Option<&Facts>,
) -> Result<bool> {
    let facts = &source.facts;
    let link = source.directory.read_link(source.name, facts)?;
    if let Some(there) = there
        && there.kind == Kind::SymLink
        && target.read_link(name, there)? == link
    {
        return Ok(false);
    }
    let owner = run.options.owner;
    if there.is_none() {
        target.make_link(name, &link, facts, owner)?;
        return Ok(true);
    }
    let names = Names::new(facts, name);
    // Of a copy that was interrupted here.
    remove(target, &names.part)?;
    target.make_link(&names.part, &link, facts, owner)?;
    target.rename(&names.part, name)?;
    Ok(true)
}

/// Removes what may be there.
fn remove(directory: &dyn Directory, name: &OsStr) -> Result<()> {
    match directory.remove(name) {
        Err(trouble) if trouble.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Source<'_> {
    fn place(&self) -> String {
        self.directory.place(Some(self.name))
    }
}

/// From this size on it is recorded how far a copy is.
const LARGE: u64 = 32 << 20;
