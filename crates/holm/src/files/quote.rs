//! Names that a terminal may show. A name can have any byte but `/` and NUL, and who made it may mean ill:
//! control characters can move the cursor, change the title, or type for the user.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// A name as a shell would be told it: as it is, if that can do no harm, else as `$'…'`.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'n>(pub &'n OsStr);

impl Quoted<'_> {
    /// The same text with what can do harm written as in `$'…'`, and no quotes around it: for sentences
    /// that have names in them.
    pub fn plain(self) -> String {
        let mut text = String::new();
        // A String takes all.
        let _ = self.escape(&mut text, false);
        text
    }

    fn is_harmless(self) -> bool {
        !self.0.is_empty()
            && self
                .0
                .to_str()
                .is_some_and(|name| !name.starts_with("$'") && !name.contains(is_harmful))
    }

    fn escape(self, to: &mut impl Write, in_quotes: bool) -> fmt::Result {
        for chunk in self.0.as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' => to.write_str("\\n")?,
                    '\t' => to.write_str("\\t")?,
                    '\r' => to.write_str("\\r")?,
                    '\\' | '\'' if in_quotes => write!(to, "\\{character}")?,
                    _ if is_harmful(character) => {
                        let mut bytes = [0; 4];
                        for byte in character.encode_utf8(&mut bytes).bytes() {
                            write!(to, "\\x{byte:02x}")?;
                        }
                    }
                    _ => to.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(to, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_harmless() {
            return f.write_str(&self.0.to_string_lossy());
        }
        f.write_str("$'")?;
        self.escape(f, true)?;
        f.write_str("'")
    }
}

/// Control characters, and those that turn the direction of what follows or can't be seen.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_do_no_harm_stays_as_it_is() {
        for name in ["a", "a b", "größe", "it's", "日本", "-rf", "a\\b", "$HOME"] {
            assert_eq!(Quoted(OsStr::new(name)).to_string(), name);
        }
    }

    #[test]
    fn what_can_is_quoted() {
        for (name, quoted) in [
            (&b"a\nb"[..], "$'a\\nb'"),
            (b"\x1b]0;owned\x07", "$'\\x1b]0;owned\\x07'"),
            (b"\xff\xfea", "$'\\xff\\xfea'"),
            (b"it's\t\\", "$'it\\'s\\t\\\\'"),
            ("\u{202e}txt.exe".as_bytes(), "$'\\xe2\\x80\\xaetxt.exe'"),
            ("\u{9b}31m".as_bytes(), "$'\\xc2\\x9b31m'"),
            (b"$'a'", "$'$\\'a\\''"),
            (b"", "$''"),
        ] {
            assert_eq!(Quoted(OsStr::from_bytes(name)).to_string(), quoted);
        }
    }

    /// A shell that knows `$'…'` reads the same name out of it.
    #[test]
    fn shells_read_the_name_back() {
        let mut name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        name.extend("\u{202e}é\u{feff}".bytes());
        let quoted = Quoted(OsStr::from_bytes(&name)).to_string();
        let command = format!("printf %s {quoted}");
        let said = std::process::Command::new("bash").args(["-c", &command]).output();
        // Not on every machine.
        if let Ok(said) = said {
            assert_eq!(said.stdout, name);
        }
    }
}
