//! The kernel's ELF file inside a `bzImage`. QEMU enters an ELF kernel directly (PVH); left to
//! itself, the kernel would unpack itself at every boot, on an emulated processor.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::{Error, host};

/// Unpacks the kernel at `from` to an ELF file at `to`.
pub(crate) fn unpack(from: &Path, to: &Path) -> Result<(), Error> {
    let image = fs::read(from).map_err(Error::path("read", from))?;
    let packed = payload(&image)
        .ok_or_else(|| Error::Unsupported(format!("{} is no bzImage", from.display())))?;
    let mut command = match packed {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            let mut command = host::XZ.command();
            command.args(["--single-stream", "-dc"]);
            command
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut command = Command::new("zstd");
            command.args(["-q", "-dc"]);
            command
        }
        [0x1f, 0x8b, ..] => {
            let mut command = Command::new("gzip");
            command.arg("-dc");
            command
        }
        _ => {
            let what = format!("{}: packed in an unknown way", from.display());
            return Err(Error::Unsupported(what));
        }
    };
    let output = File::create(to).map_err(Error::path("create", to))?;
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io(format!("run {name}")))?;
    // Its status says nothing: the payload ends in the kernel's own words.
    let mut stdin = child.stdin.take().expect("piped");
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(packed));
        child.wait().map_err(Error::io(format!("wait for {name}")))
    })?;
    let elf = fs::read(to).map_err(Error::path("read", to))?;
    if !elf.starts_with(b"\x7fELF") {
        let what = format!("{name} made no ELF file of {}", from.display());
        return Err(Error::Unsupported(what));
    }
    Ok(())
}

/// The packed kernel, found by the boot protocol's header (version 2.08 and later).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        image.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    };
    if image.get(0x202..0x206)? != b"HdrS" || word(0x206)? & 0xffff < 0x0208 {
        return None;
    }
    let setup_sectors = match image[0x1f1] {
        0 => 4,
        count => usize::from(count),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)? as usize;
    image.get(start..start + word(0x24c)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 4096];
        image[0x1f1] = 2;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&100_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&3_u32.to_le_bytes());
        image[1636..1639].copy_from_slice(b"abc");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..100]), None);
        image[0x202] = 0;
        assert_eq!(payload(&image), None);
    }
}
