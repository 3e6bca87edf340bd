//! A file system of one's own.

use crate::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An ext4 as `mkfs.ext4` makes it, with a journal, in a file that takes the space that is used. It is
/// gone when this is dropped.
///
/// An ext4 without a journal does not use an inode again for a while after it was deleted, and looks at
/// each of those for every new file: there, who makes and removes files pays for what was removed before,
/// the more the faster it goes.
#[derive(Debug)]
pub struct Disk {
    mounted: PathBuf,
    _folder: TempDir,
}

impl Disk {
    /// Makes and mounts one, whose file lies below `parent`.
    ///
    /// # Errors
    ///
    /// If it can't be made or mounted: that takes root.
    pub fn below(parent: &Path) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("nfsload-disk-").tempdir_in(parent);
        let folder =
            folder.map_err(Error::io(format!("make a directory in {}", parent.display())))?;
        let (image, mounted) = (folder.path().join("ext4"), folder.path().join("mounted"));
        let made = File::create(&image).and_then(|file| file.set_len(BYTES));
        made.and_then(|()| std::fs::create_dir(&mounted))
            .map_err(Error::io(format!("make {}", image.display())))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mounted))?;
        Ok(Self { mounted, _folder: folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who uses it still keeps it until they end; nothing else of it is in the way.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.mounted));
    }
}

fn run(command: &mut Command) -> Result<(), Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::io(format!("run {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Unavailable(format!("a file system of its own: {name}: {}", said.trim())))
}

const BYTES: u64 = 8 << 30;
