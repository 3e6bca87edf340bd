//! The memory of large frames, used again. Getting it from the system and giving it back, filled with zeros each
//! time, costs as much as copying the frame does. So that of a few frames that are gone is kept for all: who makes
//! frames and who sends them are often different threads.

use crate::ether::{HEADER, MTU_MAX};
// Not one of those that a model checker knows: it is held for a moment, and nothing depends on who is first.
use std::sync::{Mutex, PoisonError};

/// Bytes of it: those of the longest frame with a VLAN tag, and one more, by which a longer one is known.
pub(crate) const ROOM: usize = HEADER + 4 + MTU_MAX + 1;

/// From how many bytes on a frame is better left in such memory than copied into some of its own length.
pub(crate) const LARGE: usize = ROOM / 4;

/// How many are kept: four windows of a connection.
const MOST: usize = 64;

static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// [`ROOM`] bytes of anything: what was there before is still there.
pub(crate) fn take() -> Vec<u8> {
    let spare = SPARES.lock().unwrap_or_else(PoisonError::into_inner).pop();
    spare.unwrap_or_else(|| vec![0; ROOM])
}

/// Keeps it, if it is of the kind that is [taken](take) and not too many are kept.
pub(crate) fn give(spare: Vec<u8>) {
    if spare.len() == ROOM {
        let mut spares = SPARES.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < MOST {
            spares.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests use it meanwhile.
    #[test]
    fn memory_is_used_again_up_to_a_bound() {
        let taken: Vec<_> = (0..2 * MOST).map(|_| take()).collect();
        assert!(taken.iter().all(|spare| spare.len() == ROOM));
        taken.into_iter().for_each(give);
        give(vec![0; 100]);
        let spares = SPARES.lock().unwrap();
        assert!((1..=MOST).contains(&spares.len()));
        assert!(spares.iter().all(|spare| spare.len() == ROOM));
    }
}
