//! How far the copy of a large file is, in a file of its own that only grows.
//!
//! The first line says which file it is about and how large that will be, each further one up to where
//! everything of it is durable. A line is written after the commit that makes it true, and counts only if
//! it is whole. So whatever part of the record survives a crash, what it says is true.

use super::side::Content;
use crate::files::outcome::Result;

/// A record that is being written.
pub struct Record {
    file: Box<dyn Content>,
    /// Where the next line goes.
    end: u64,
    durable: u64,
}

impl Record {
    /// Reads what the record says of the file with this token, and goes on with it; one that is about
    /// another file, or says nothing, begins anew.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn open(file: Box<dyn Content>, token: &str, size: u64) -> Result<Self> {
        let length = file.facts()?.size;
        let mut text = vec![0; usize::try_from(length.min(LENGTH_MAX)).unwrap_or(0)];
        let count = file.read_at(&mut text, 0)?;
        let first = format!("holm-part 1 {token} {size}\n");
        if let Some(Said { durable, end }) =
            read(text.get(..count).unwrap_or_default(), &first, size)
        {
            return Ok(Self { file, end, durable });
        }
        // Lines of what was there before must not follow: only whole ones count, so that one of NULs ends
        // them for as long as the old ones were.
        let mut whole = first.clone().into_bytes();
        whole.resize(whole.len().max(count), 0);
        file.write_at(&whole, 0)?;
        file.commit()?;
        Ok(Self { file, end: first.len() as u64, durable: 0 })
    }

    /// Up to where the file is durable.
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// The file is durable up to here.
    ///
    /// # Errors
    /// If that can't be written. It is then as it was.
    pub fn note(&mut self, durable: u64) -> Result<()> {
        let line = format!("{durable}\n");
        let end = self.end.saturating_add(line.len() as u64);
        // A copy of more than that begins at the last line that fits.
        if durable <= self.durable || end > LENGTH_MAX {
            return Ok(());
        }
        self.file.write_at(line.as_bytes(), self.end)?;
        self.file.commit()?;
        (self.end, self.durable) = (end, durable);
        Ok(())
    }
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    durable: u64,
    /// Of its whole lines.
    end: u64,
}

/// `None` if it is about something else.
fn read(text: &[u8], first: &str, size: u64) -> Option<Said> {
    let mut rest = text.strip_prefix(first.as_bytes())?;
    let mut said = Said { durable: 0, end: first.len() as u64 };
    while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(length);
        let number = std::str::from_utf8(line).ok().and_then(|line| line.parse::<u64>().ok());
        let Some(durable) = number.filter(|number| (said.durable..=size).contains(number)) else {
            break;
        };
        said.durable = durable;
        said.end += length as u64 + 1;
        rest = after.get(1..).unwrap_or_default();
    }
    Some(said)
}

/// Most bytes of a record.
const LENGTH_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "holm-part 1 t 1000\n";

    fn durable(lines: &str) -> Option<u64> {
        read(lines.as_bytes(), FIRST, 1000).map(|said| said.durable)
    }

    #[test]
    fn only_whole_lines_count() {
        assert_eq!(durable("holm-part 1 t 1000\n"), Some(0));
        assert_eq!(durable("holm-part 1 t 1000\n100\n200\n"), Some(200));
        assert_eq!(durable("holm-part 1 t 1000\n100\n20"), Some(100));
        assert_eq!(durable("holm-part 1 t 1000\n100\n\0\0\x300\n400\n"), Some(100));
        // Not of this file, or not of this size.
        assert_eq!(durable("holm-part 1 u 1000\n100\n"), None);
        assert_eq!(durable("holm-part 1 t 10000\n100\n"), None);
        assert_eq!(durable("holm-part 1 t 10"), None);
        assert_eq!(durable(""), None);
        // What can't be.
        assert_eq!(durable("holm-part 1 t 1000\n100\n1001\n"), Some(100));
        assert_eq!(durable("holm-part 1 t 1000\n100\n50\n"), Some(100));
    }

    /// Every prefix of a record, with anything behind it, says no more than was written up to there.
    #[test]
    fn no_torn_record_says_too_much() {
        let whole = format!("{FIRST}100\n250\n999\n1000\n");
        for cut in 0..=whole.len() {
            for noise in ["", "\0\0\0\0\0\0", "\u{1}\n", "\0\n999\n"] {
                let torn = [&whole.as_bytes()[..cut], noise.as_bytes()].concat();
                let said = read(&torn, FIRST, 1000).map_or(0, |said| said.durable);
                let lines = whole[..cut].matches('\n').count();
                let written = [0, 0, 100, 250, 999, 1000][lines];
                assert!(said <= written, "{cut} {noise:?}: {said} of {written}");
            }
        }
    }
}
