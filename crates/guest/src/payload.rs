//! What a guest gets to read when it starts: a tar file, given to it as a disk.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use crate::{Disk, Error, Share, recipe::quote};

/// The init of a guest's root. It is no part of the image, so a change to it needs no new image.
const INIT: &str = include_str!("../scripts/init.sh");

/// A tar file in the making.
pub(crate) struct Payload {
    tar: tar::Builder<BufWriter<File>>,
}

/// What the guest's init is to set up.
pub(crate) struct Settings<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a [String],
    pub(crate) environment: &'a [(String, String)],
    /// For each interface the first three octets of its subnet, or `-`.
    pub(crate) subnets: &'a [String],
    pub(crate) hosts: &'a [String],
    pub(crate) modules: &'a [String],
    pub(crate) shares: &'a [Share],
    pub(crate) disks: &'a [Disk],
    pub(crate) stdin: bool,
}

impl Payload {
    pub(crate) fn new() -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(Error::io("create a file for the guest"))?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        tar.follow_symlinks(false);
        Ok(Self { tar })
    }

    /// Adds init, its settings and the script.
    pub(crate) fn system(&mut self, script: &[u8], settings: &Settings<'_>) -> Result<(), Error> {
        let script = if script.starts_with(b"#!") || script.starts_with(b"\x7fELF") {
            script.to_vec()
        } else {
            [b"#!/bin/bash\n", script, b"\n"].concat()
        };
        self.append("guest/init", INIT.as_bytes())?;
        self.append("guest/settings", settings.text().as_bytes())?;
        self.append("guest/script", &script)?;
        ["guest/out", "guest/err", "guest/idle"].iter().try_for_each(|path| self.fifo(path))
    }

    fn fifo(&mut self, path: &str) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Fifo);
        header.set_size(0);
        header.set_mode(0o600);
        self.tar
            .append_data(&mut header, path, [].as_slice())
            .map_err(Error::io(format!("write {path} for the guest")))
    }

    fn append(&mut self, path: &str, data: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        self.tar
            .append_data(&mut header, path, data)
            .map_err(Error::io(format!("write {path} for the guest")))
    }

    /// Adds a file or a directory.
    pub(crate) fn add(&mut self, from: &Path, to: &str) -> Result<(), Error> {
        let name = to.trim_start_matches('/');
        let added = if from.is_dir() {
            self.tar.append_dir_all(name, from)
        } else {
            // The file itself, when it is named by a link.
            File::open(from).and_then(|mut file| self.tar.append_file(name, &mut file))
        };
        added.map_err(Error::io(format!("copy {} to the guest", from.display())))
    }

    /// The file, as whole sectors.
    pub(crate) fn finish(self) -> Result<File, Error> {
        let finish = || {
            let mut file = self.tar.into_inner()?;
            file.flush()?;
            let mut file = file.into_inner()?;
            let end = file.seek(SeekFrom::End(0))?;
            file.set_len(end.next_multiple_of(4096))?;
            Ok(file)
        };
        finish().map_err(Error::io("write what the guest gets"))
    }
}

impl Settings<'_> {
    /// As text that bash reads.
    fn text(&self) -> String {
        let array = |name: &str, words: Vec<String>| {
            let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
            format!("{name}=({})\n", words.join(" "))
        };
        let disk = |disk: &Disk| {
            let lifetime = if disk.is_kept() { "kept" } else { "temporary" };
            format!("{} {} {lifetime}", disk.format, disk.directory)
        };
        let mut text = format!(
            "export guest_name={}\nguest_stdin={}\n",
            quote(self.name),
            if self.stdin { "1" } else { "" }
        );
        text += &array("guest_arguments", self.arguments.to_vec());
        text += &array("guest_networks", self.subnets.to_vec());
        text += &array("guest_hosts", self.hosts.to_vec());
        text += &array("guest_modules", self.modules.to_vec());
        text += &array("guest_shares", self.shares.iter().map(|s| s.guest.clone()).collect());
        text += &array("guest_disks", self.disks.iter().map(disk).collect());
        for (name, value) in self.environment {
            text += &format!("export {name}={}\n", quote(value));
        }
        text
    }
}
