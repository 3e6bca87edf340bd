//! Names that come and go: what directories are held to.
//!
//! A name stands for something that is a file, a directory, or not there, in one of four places: two
//! directories, with two spellings in each. CREATE, MKDIR, REMOVE, RMDIR and RENAME take it from one
//! [`State`] into another; after a crash it must be in the last one that was acknowledged, or in the
//! one that it was on its way into.

use crate::client::{Client, Handle};
use crate::driver::Random;
use crate::xdr::Encode;
use crate::{Error, nfs};
use std::fmt;

/// What a name is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Nowhere.
    #[default]
    Absent,
    /// A file in this place.
    File(Place),
    /// A directory in this place.
    Directory(Place),
}

/// A directory and a spelling: 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u8);

const PLACES: u8 = 4;

impl State {
    /// As it is written down.
    pub fn number(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::File(Place(place)) => 1 + place,
            Self::Directory(Place(place)) => 1 + PLACES + place,
        }
    }

    /// What was written down.
    pub fn from_number(number: u64) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        Some(match number.checked_sub(1) {
            None => Self::Absent,
            Some(place) if place < PLACES => Self::File(Place(place)),
            Some(place) if place < 2 * PLACES => Self::Directory(Place(place - PLACES)),
            Some(_) => return None,
        })
    }

    /// One of the states that one call leads to.
    pub fn next(self, random: &mut Random) -> Self {
        let place = Place(random.below(PLACES.into()) as u8);
        let goes = random.below(2) == 0;
        match self {
            Self::Absent if goes => Self::File(place),
            Self::Absent => Self::Directory(place),
            Self::File(here) | Self::Directory(here) if goes || place == here => Self::Absent,
            Self::File(_) => Self::File(place),
            Self::Directory(_) => Self::Directory(place),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::File(place) => write!(f, "a file in place {}", place.0),
            Self::Directory(place) => write!(f, "a directory in place {}", place.0),
        }
    }
}

/// The two directories that names are in.
#[derive(Debug)]
pub struct Directories([Handle; 2]);

impl Directories {
    /// Finds them below `parent`, or makes them.
    pub fn find(client: &mut Client, parent: &[u8]) -> Result<Self, Error> {
        Ok(Self([client.directory(parent, "names-0")?, client.directory(parent, "names-1")?]))
    }

    /// The call that takes a name from one state into another.
    pub fn change(
        &self,
        client: &mut Client,
        name: usize,
        from: State,
        to: State,
    ) -> Result<(), Error> {
        use State::{Absent, Directory, File};
        match (from, to) {
            (Absent, File(place)) => self.make(client, name, place, nfs::CREATE),
            (Absent, Directory(place)) => self.make(client, name, place, nfs::MKDIR),
            (File(place), Absent) => self.remove(client, name, place, nfs::REMOVE),
            (Directory(place), Absent) => self.remove(client, name, place, nfs::RMDIR),
            (File(from), File(to)) | (Directory(from), Directory(to)) => {
                client.call_once(&format!("RENAME of name {name}"), nfs::RENAME, |arguments| {
                    self.put(arguments, name, from);
                    self.put(arguments, name, to);
                })
            }
            (Absent, Absent) | (File(_), Directory(_)) | (Directory(_), File(_)) => {
                Err(Error::Invalid(format!("no call makes of name {name}, which is {from}, {to}")))
            }
        }
    }

    /// The states in which a name is found; more than one, or none but [`State::Absent`].
    pub fn look(&self, client: &mut Client, name: usize) -> Result<Vec<State>, Error> {
        let mut found = Vec::new();
        for place in (0..PLACES).map(Place) {
            let (directory, spelling) = self.place(name, place);
            if let Some((handle, _)) = client.lookup(directory, &spelling)? {
                let is_directory = client.getattr(&handle)?.0;
                found.push(if is_directory { State::Directory(place) } else { State::File(place) });
            }
        }
        if found.is_empty() {
            found.push(State::Absent);
        }
        Ok(found)
    }

    fn make(
        &self,
        client: &mut Client,
        name: usize,
        place: Place,
        procedure: u32,
    ) -> Result<(), Error> {
        let operation = format!("{} of name {name}", nfs::procedure_name(procedure));
        client.call_once(&operation, procedure, |arguments| {
            self.put(arguments, name, place);
            if procedure == nfs::CREATE {
                arguments.uint(1); // GUARDED
            }
            nfs::put_mode(arguments, 0o755);
        })
    }

    fn remove(
        &self,
        client: &mut Client,
        name: usize,
        place: Place,
        procedure: u32,
    ) -> Result<(), Error> {
        let operation = format!("{} of name {name}", nfs::procedure_name(procedure));
        client.call_once(&operation, procedure, |arguments| self.put(arguments, name, place))
    }

    fn put(&self, arguments: &mut Vec<u8>, name: usize, place: Place) {
        let (directory, spelling) = self.place(name, place);
        arguments.opaque(directory);
        arguments.opaque(spelling.as_bytes());
    }

    fn place(&self, name: usize, Place(place): Place) -> (&Handle, String) {
        let directory = &self.0[usize::from(place % 2)];
        (directory, format!("name-{name:05}-{}", place / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_written() {
        let states: Vec<_> = (0..9).map(|number| State::from_number(number).unwrap()).collect();
        assert_eq!(
            states.iter().map(|state| state.number()).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 7, 8]
        );
        assert_eq!(State::from_number(9), None);
    }

    #[test]
    fn every_state_is_reached_and_none_that_no_call_leads_to() {
        let mut random = Random::new(1);
        let (mut state, mut seen) = (State::Absent, [false; 9]);
        for _ in 0..1000 {
            let next = state.next(&mut random);
            assert_ne!(state, next);
            let mixed = |a, b| matches!((a, b), (State::File(_), State::Directory(_)));
            assert!(!mixed(state, next) && !mixed(next, state), "{state} to {next}");
            state = next;
            seen[usize::from(state.number())] = true;
        }
        assert_eq!(seen, [true; 9]);
    }
}
