//! The memory of code that only starting needed.
#![allow(unsafe_code)]

use rustix::mm::{Advice, madvise};
use std::ffi::c_void;
use std::fs;
use std::ptr::with_exposed_provenance_mut;

/// Lets go of the program's code as far as it is in memory, which after the start is mostly what will
/// not run again: reading arguments and configuration, printing, setting up. What runs on is mapped
/// again from where the kernel keeps files, one fault for 64 KiB. Of 7 MiB that an idle server has
/// resident, more than 4 are code.
///
/// Does nothing where the kernel does not tell what is mapped where.
pub fn let_go() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = fs::read_link("/proc/self/exe") else { return };
    let program = program.to_string_lossy();
    for (start, length) in maps.lines().filter_map(|line| code_of(&program, line)) {
        let start = with_exposed_provenance_mut::<c_void>(start);
        // SAFETY: the range is a mapping of the program's file that nobody can write. Its pages are
        // those of the file, which a program that runs keeps from being written, so what is mapped
        // again later is what was there before.
        let advised = unsafe { madvise(start, length, Advice::LinuxDontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "code that is not needed any more stays in memory");
        }
    }
}

/// Where the mapping of a line lies and how long it is, if it is the program's code (proc_pid_maps(5)).
fn code_of(program: &str, line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let is_code = rest.starts_with("r-xp ") && rest.ends_with(&format!(" {program}"));
    let (start, end) = range.split_once('-').filter(|_| is_code)?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_readable_executable_mapping_of_the_program() {
        let of = |rights: &str, file: &str| {
            code_of("/bin/holm", &format!("55d0-55f0 {rights} 00001000 fe:00 42          {file}"))
        };
        assert_eq!(of("r-xp", "/bin/holm"), Some((0x55d0, 0x20)));
        assert_eq!(of("rwxp", "/bin/holm"), None, "somebody can write it");
        assert_eq!(of("r--p", "/bin/holm"), None);
        assert_eq!(of("r-xp", "/lib/libc.so.6"), None);
        assert_eq!(of("r-xp", "/bin/holm (deleted)"), None);
    }

    #[test]
    fn code_that_was_let_go_runs_on() {
        let before = resident();
        let_go();
        // Tests beside this one run code that comes back.
        while resident() >= before {
            let_go();
        }
    }

    /// KiB of the program's code.
    fn resident() -> usize {
        let program = fs::read_link("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines();
        lines.find(|line| code_of(&program.to_string_lossy(), line).is_some()).unwrap();
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
