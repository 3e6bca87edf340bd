//! From text to specs, and what is wrong on the way.

use super::errors::{Mistake, Mistakes};
use super::lines::Lines;
use super::{Config, Settings};
use crate::fields;
use crate::model::{LimitsSpec, LinkSpec, ListenSpec, NamespaceSpec};
use crate::spec::{Addresses, Checked, Problem, Step, network_problems, overlapping};
use crate::spelling::nearest;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

/// Reads a configuration.
pub(super) fn read(text: &str) -> Result<Config, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { lines: Lines::of(text), mistakes: Mistakes::default() };
    for error in &errors {
        reader.mistakes.add(error.span().unwrap_or_default(), error.message());
    }
    if !errors.is_empty() {
        // What was recovered would only raise doubts about what is right.
        return Err(reader.mistakes.locate(&reader.lines));
    }
    let config = reader.config(table.into_inner());
    let mistakes = reader.mistakes.locate(&reader.lines);
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

struct Reader<'t> {
    lines: Lines<'t>,
    mistakes: Mistakes,
}

/// A namespace as it was read, and where its parts stand.
struct Read<'t> {
    spec: NamespaceSpec,
    /// Which elements of the lists could be read.
    exports: Vec<usize>,
    listens: Vec<usize>,
    links: Vec<usize>,
    addrs: Vec<usize>,
    routes: Vec<usize>,
    name: Range<usize>,
    table: Spanned<DeValue<'t>>,
}

impl Read<'_> {
    /// Where a place of the spec is written.
    fn span(&self, place: &[Step]) -> Range<usize> {
        if place == [Step::Field("name")] {
            return self.name.clone();
        }
        let mut place = place.to_vec();
        if let [Step::Field(field), Step::Element(index), ..] = &mut place[..] {
            let read = match *field {
                "export" => &self.exports,
                "listen" => &self.listens,
                "link" => &self.links,
                "addr" => &self.addrs,
                _ => &self.routes,
            };
            *index = read.get(*index).copied().unwrap_or(*index);
        }
        span_of(&self.table, &place)
    }
}

impl Reader<'_> {
    fn config(&mut self, mut table: DeTable<'_>) -> Config {
        let namespaces = table.remove("ns");
        let keys = table.keys().map(|key| (key.get_ref().to_string(), key.span()));
        let mut spans: Vec<_> = keys.collect();
        let whole = Spanned::new(0..0, DeValue::Table(table));
        let settings: Settings = self.read(&whole, &["ns"]).unwrap_or_default();
        for problem in settings.limits.problems() {
            let span = span_of(&whole, &[&[Step::Field("limits")][..], &problem.place].concat());
            self.mistakes.add(span, problem.why);
        }
        let namespaces = namespaces.map(|table| self.namespaces(&table)).unwrap_or_default();
        self.check(&namespaces, &settings.limits);
        let named = |read: &Read<'_>| (format!("ns.{}", read.spec.name), read.name.clone());
        spans.extend(namespaces.iter().map(named));
        let line = |(key, span): (String, Range<usize>)| (key, self.lines.line(span.start));
        let lines = spans.into_iter().map(line).collect();
        let namespaces = namespaces.into_iter().map(|read| read.spec).collect();
        Config { settings, namespaces, lines }
    }

    fn namespaces<'t>(&mut self, tables: &Spanned<DeValue<'t>>) -> Vec<Read<'t>> {
        let DeValue::Table(namespaces) = tables.get_ref() else {
            self.mistakes.add(tables.span(), "ns holds a table for each namespace: [ns.NAME]");
            return Vec::new();
        };
        let mut read = Vec::new();
        for (name, table) in namespaces {
            read.push(self.namespace(name, table));
        }
        read.sort_by_key(|read| read.name.start);
        read
    }

    fn namespace<'t>(
        &mut self,
        name: &Spanned<DeString<'t>>,
        value: &Spanned<DeValue<'t>>,
    ) -> Read<'t> {
        let spec = NamespaceSpec { name: name.get_ref().to_string(), ..NamespaceSpec::default() };
        let mut read = Read {
            spec,
            exports: Vec::new(),
            listens: Vec::new(),
            links: Vec::new(),
            addrs: Vec::new(),
            routes: Vec::new(),
            name: name.span(),
            table: value.clone(),
        };
        let DeValue::Table(table) = value.get_ref() else {
            let name = name.get_ref();
            let why = format!("namespace {name} has to be a table: [ns.{name}]");
            self.mistakes.add(value.span(), why);
            return read;
        };
        // All of them but the name, which is the table's own.
        let known = fields::of::<NamespaceSpec>().iter().filter(|field| **field != "name");
        let known: Vec<&str> = known.copied().collect();
        for (key, value) in table {
            match &**key.get_ref() {
                "export" => (read.exports, read.spec.export) = self.list(value, EXPORT),
                "listen" => (read.listens, read.spec.listen) = self.list(value, LISTEN),
                "limits" => read.spec.limits = self.read(value, &[]).unwrap_or_default(),
                "local" => read.spec.local = self.read(value, &[]).unwrap_or_default(),
                "link" => (read.links, read.spec.link) = self.list(value, LINK),
                "addr" => (read.addrs, read.spec.addr) = self.list(value, ADDR),
                "route" => (read.routes, read.spec.route) = self.list(value, ROUTE),
                unknown => self.unknown(key.span(), unknown, known.iter().copied()),
            }
        }
        read
    }

    /// The elements of a list that can be read, and which ones they are.
    fn list<T: DeserializeOwned>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        example: &str,
    ) -> (Vec<usize>, Vec<T>) {
        let DeValue::Array(elements) = value.get_ref() else {
            let found = value.get_ref().type_str();
            self.mistakes.add(value.span(), format!("found {found}, expected a list: {example}"));
            return Default::default();
        };
        let mut read = (Vec::new(), Vec::new());
        for (index, element) in elements.iter().enumerate() {
            if element.get_ref().is_table() {
                read.extend(self.read(element, &[]).map(|element| (index, element)));
            } else {
                let found = element.get_ref().type_str();
                let why = format!("found {found}, expected a table: {example}");
                self.mistakes.add(element.span(), why);
            }
        }
        read
    }

    /// Reads a table. What is wrong with one of its keys does not keep others from being read. `beside` are keys that somebody else reads.
    fn read<T: DeserializeOwned>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        beside: &[&'static str],
    ) -> Option<T> {
        let DeValue::Table(written) = value.get_ref() else {
            let why = format!("found {}, expected a table", value.get_ref().type_str());
            self.mistakes.add(value.span(), why);
            return None;
        };
        let known = fields::of::<T>();
        let mut table = written.clone();
        let mut wrong = Vec::new();
        for (key, _) in written {
            if !known.contains(&&**key.get_ref()) {
                let all = known.iter().chain(beside).copied();
                self.unknown(key.span(), key.get_ref(), all);
                table.remove(&**key.get_ref());
                wrong.push(key.get_ref().to_string());
            }
        }
        loop {
            let rest = Spanned::new(value.span(), DeValue::Table(table.clone()));
            let error = match T::deserialize(ValueDeserializer::from(rest)) {
                // What is wrong is as if it had not been said: the rest can be checked.
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let at = error.span().map_or(0, |span| span.start);
            let culprit = table.iter().find(|(_, value)| value.span().contains(&at));
            let Some((key, _)) = culprit else {
                // Something is missing; not, if it is there and wrong.
                let missing = |key: &&str| error.message() == format!("missing field `{key}`");
                match known.iter().copied().find(missing) {
                    Some(key) if wrong.iter().any(|wrong| wrong == key) => {}
                    Some(key) => {
                        let why = format!("{key} is missing: {}", example(key, known));
                        self.mistakes.add(value.span(), why);
                    }
                    None => self.mistakes.add(value.span(), error.message()),
                }
                return None;
            };
            let key = key.get_ref().to_string();
            self.mistakes
                .add(error.span().unwrap_or_default(), reason(&key, error.message(), known));
            table.remove(key.as_str());
            wrong.push(key);
        }
    }

    fn unknown<'k>(
        &mut self,
        span: Range<usize>,
        key: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let why = match nearest(key, known.clone()) {
            Some(near) => format!("unknown key {key}: did you mean {near}?"),
            None => {
                let known: Vec<&str> = known.collect();
                format!("unknown key {key}: known are {}", known.join(", "))
            }
        };
        self.mistakes.add(span, why);
    }

    fn where_other(&self, span: Range<usize>) -> String {
        format!(" (the other is in line {})", self.lines.line(span.start))
    }

    /// Finds what does not go together, and what is not there.
    fn check(&mut self, namespaces: &[Read<'_>], limits: &LimitsSpec) {
        let mut addresses = Addresses::default();
        let mut places = HashMap::new();
        let mut doors = HashMap::new();
        let mut listeners: Vec<(&str, &ListenSpec, Range<usize>)> = Vec::new();
        for read in namespaces {
            let spec = &read.spec;
            let effective = NamespaceSpec { limits: spec.limits.or(limits), ..spec.clone() };
            let here = |link: &&LinkSpec| link.peer_ns.as_deref() == Some(&spec.name);
            let all = namespaces.iter().flat_map(|read| &read.spec.link);
            let far: Vec<&str> = all.filter(here).filter_map(|link| link.peer.as_deref()).collect();
            let problems = effective.problems().into_iter();
            for Problem { place, why, other } in problems.chain(network_problems(&effective, &far))
            {
                let other = other.map(|other| self.where_other(read.span(&other)));
                let why = format!("{why}{}", other.unwrap_or_default());
                self.mistakes.add(read.span(&place), why);
            }
            for (index, export) in spec.export.iter().enumerate() {
                let place = [Step::Field("export"), Step::Element(index), Step::Field("dir")];
                if let Some(why) = missing(&export.dir) {
                    self.mistakes.add(read.span(&place), why);
                }
            }
            for (index, link) in spec.link.iter().enumerate() {
                self.check_link(read, index, link, namespaces, &mut places);
            }
            if let Some(path) = spec.local.socket.as_deref() {
                let at = read.span(&[Step::Field("local"), Step::Field("socket")]);
                if let Some(first) = doors.insert(path, at.clone()) {
                    let other = self.where_other(first);
                    let why = "is the door of two namespaces: each needs its own";
                    self.mistakes.add(at, format!("{} {why}{other}", path.display()));
                }
            }
            for (index, listen) in spec.listen.iter().enumerate() {
                let (addr, netns) = (listen.addr, listen.netns.as_ref());
                let place = [Step::Field("listen"), Step::Element(index), Step::Field("addr")];
                let span = read.span(&place);
                if let Some((other, of)) = addresses.overlapping(addr, netns)
                    && of != spec.name
                {
                    let mut before = listeners.iter();
                    let first = before.find(|(by, it, _)| *by == of && it.overlaps(listen));
                    let first = first.map(|(.., span)| self.where_other(span.clone()));
                    let why = overlapping(format_args!("{other} of namespace {of}"));
                    self.mistakes.add(span.clone(), format!("{why}{}", first.unwrap_or_default()));
                }
                listeners.push((&spec.name, listen, span));
                addresses.add(addr, netns, &spec.name);
            }
        }
    }

    /// Finds what links of different namespaces have both, and ends of pairs that would be nowhere.
    fn check_link<'r>(
        &mut self,
        read: &Read<'_>,
        index: usize,
        link: &'r LinkSpec,
        namespaces: &[Read<'_>],
        places: &mut HashMap<&'r Path, Range<usize>>,
    ) {
        let at =
            |field| read.span(&[Step::Field("link"), Step::Element(index), Step::Field(field)]);
        if let Some(path) = link.path.as_deref()
            && let Some(first) = places.insert(path, at("path"))
        {
            let other = self.where_other(first);
            let why = format!("{} is the socket of two links: each needs its own", path.display());
            self.mistakes.add(at("path"), format!("{why}{other}"));
        }
        if let Some(ns) = &link.peer_ns
            && !namespaces.iter().any(|read| read.spec.name == *ns)
        {
            let known = namespaces.iter().map(|read| read.spec.name.as_str());
            let why = match nearest(ns, known) {
                Some(near) => format!("there is no namespace {ns}: did you mean {near}?"),
                None => format!("there is no namespace {ns}: add it, or name one that is there"),
            };
            self.mistakes.add(at("peer-ns"), why);
        }
    }
}

/// The directory that is nearest to one that is missing, or that it has to be made.
fn instead_of(missing: &Path) -> String {
    match neighbour(missing) {
        Some(near) => format!("did you mean {near}?"),
        None => "make it, or name the directory that is meant".into(),
    }
}

/// Where a place is written; if it is not, where it would be.
fn span_of(value: &Spanned<DeValue<'_>>, place: &[Step]) -> Range<usize> {
    let mut at = value;
    for step in place {
        let next = match (step, at.get_ref()) {
            (Step::Field(field), DeValue::Table(table)) => table.get(*field),
            (Step::Element(index), DeValue::Array(array)) => array.get(*index),
            _ => None,
        };
        let Some(next) = next else { break };
        at = next;
    }
    at.span()
}

/// What is wrong with a value, in words that help.
fn reason(key: &str, message: &str, known: &[&str]) -> String {
    if matches!(key, "addr" | "metrics" | "netns" | "via") {
        return format!("{key} is not right: {}", example(key, known));
    }
    let plain = message.replace('`', "");
    if let Some((variant, known)) = plain
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once(", expected one of "))
    {
        return match nearest(variant, known.split(", ")) {
            Some(near) => format!("{key} cannot be {variant:?}: did you mean {near:?}?"),
            None => format!("{key} cannot be {variant:?}: it is one of {known}"),
        };
    }
    let expected = plain.rsplit("expected ").next().unwrap_or_default();
    let hint = match expected {
        _ if matches!(key, "path" | "dir" | "clients" | "socket" | "users") => example(key, known),
        "a sequence" => "write a list, in brackets",
        "u32" | "u16" => "write a number without quotes, as 64",
        "a boolean" => "write true or false, without quotes",
        "a string" | "path string" => "write a text in quotes",
        _ => "see what the guide says of it",
    };
    format!("{key} is not right: {plain}: {hint}")
}

/// How a key is written, in a table with such keys.
fn example(key: &str, known: &[&str]) -> &'static str {
    match key {
        "path" if known.contains(&"connect") => {
            "write where the unix socket is, as \"/run/vm7/net0.sock\""
        }
        "addr" if known.contains(&"connect") => "write a list, as [\"10.0.0.1/24\"]",
        "addr" | "metrics" => "write an address and a port, as \"127.0.0.1:2049\"",
        "netns" => "write a path, as \"/run/netns/blue\", or the number of a process",
        "path" => "write what clients call the export, as \"/\"",
        "name" => "write what the link is called, as \"p0\"",
        "type" => "write lo, pair, tap, packet, stream, dgram or lagg",
        "cidr" => "write an address and the bits of its network, as \"10.0.0.1/24\"",
        "dev" => "write whose address it is, as \"p0\"",
        "to" => "write a network, as \"10.1.0.0/16\", or \"default\"",
        "via" => "write the address of who forwards, as \"10.0.0.254\"",
        "socket" => "write where the unix socket is to be, as \"/run/holm/local/blue.sock\"",
        "users" => "write a list of the numbers of users, as [0, 1000]",
        "dir" => "write which directory it is, as \"/srv/blue\"",
        "clients" => "write a list of networks, as [\"10.0.0.0/8\"]",
        _ => "see what the guide says of it",
    }
}

/// What is wrong with the directory of an export, if anything is.
fn missing(directory: &Path) -> Option<String> {
    // Otherwise something else is said of it.
    if !directory.is_absolute() {
        return None;
    }
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => {
            let parent = directory.parent().unwrap_or(directory).display();
            Some(format!("{shown} is no directory: name one, such as {parent}, which it is in"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("there is no directory {shown}: {}", instead_of(directory)))
        }
        Err(error) => Some(format!(
            "could not look at {shown}: {error}: let the user who runs holm reach it, or name another \
             directory"
        )),
    }
}

/// The directory beside one that is missing whose name is nearest.
fn neighbour(missing: &Path) -> Option<String> {
    let (parent, name) = (missing.parent()?, missing.file_name()?.to_str()?);
    let entries = std::fs::read_dir(parent).ok()?.flatten();
    let directories = entries.filter(|entry| entry.path().is_dir());
    let names: Vec<String> = directories
        .take(MOST_LISTED)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(parent.join(near).display().to_string())
}

const EXPORT: &str = "export = [{ path = \"/\", dir = \"/srv/blue\" }]";
const LISTEN: &str = "listen = [{ addr = \"127.0.0.1:2049\" }]";
const LINK: &str = "link = [{ name = \"p0\", type = \"tap\", addr = [\"10.0.0.1/24\"] }]";
const ADDR: &str = "addr = [{ cidr = \"10.0.0.1/24\", dev = \"p0\" }]";
const ROUTE: &str = "route = [{ to = \"default\", via = \"10.0.0.254\" }]";
/// So many entries of a directory are looked at to find what was meant.
const MOST_LISTED: usize = 10_000;
