//! How many turns of its sources a namespace may have at a time.
//!
//! A source is counted from when it is put into the list of those that can be run until its turn is
//! over. One that comes when all places are taken waits here, outside that list: nobody looks at it
//! or is woken for it before a place is free, and then it is the next in the list. So whatever stands
//! in a list can be run, and nobody passes by what can't.

use crate::source::SourceId;
use std::collections::VecDeque;
use std::num::NonZero;

/// The limit of one namespace, and who waits because of it. Without one nothing is counted.
#[derive(Default)]
pub(crate) struct TurnLimit {
    most: Option<NonZero<usize>>,
    /// Sources in the list, and turns that run.
    counted: usize,
    /// In the order in which they came. None, while there is a place.
    waiting: VecDeque<SourceId>,
}

impl TurnLimit {
    /// Whether there is a limit, and turns are counted.
    pub(crate) fn is_set(&self) -> bool {
        self.most.is_some()
    }

    /// Whether a source may be put into the list. If not, it waits here.
    pub(crate) fn admits(&mut self, id: SourceId) -> bool {
        let room = self.has_room();
        if room {
            self.counted += usize::from(self.is_set());
        } else {
            self.waiting.push_back(id);
        }
        room
    }

    /// A turn that was counted is over. Who is put into the list in its place.
    pub(crate) fn ended(&mut self) -> Option<SourceId> {
        // Never below zero: each that was counted ends once.
        self.counted = self.counted.saturating_sub(1);
        if !self.has_room() {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.counted += usize::from(self.is_set());
        Some(next)
    }

    /// Sets another limit. `listed` are the sources in the list; all that can be run now is returned,
    /// in order. Turns that run are counted, or not, as they were when they began.
    pub(crate) fn set(
        &mut self,
        most: Option<NonZero<usize>>,
        listed: Vec<SourceId>,
    ) -> Vec<SourceId> {
        if self.is_set() {
            self.counted = self.counted.saturating_sub(listed.len());
        }
        self.most = most;
        let waited = std::mem::take(&mut self.waiting);
        listed.into_iter().chain(waited).filter(|id| self.admits(*id)).collect()
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Who waits, when the lists end.
    pub(crate) fn clear(&mut self) -> VecDeque<SourceId> {
        std::mem::take(&mut self.waiting)
    }

    fn has_room(&self) -> bool {
        self.most.is_none_or(|most| self.counted < most.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(index: u32) -> SourceId {
        SourceId { generation: 1, index }
    }

    fn limit(most: usize) -> TurnLimit {
        let mut limit = TurnLimit::default();
        assert!(limit.set(NonZero::new(most), Vec::new()).is_empty());
        limit
    }

    #[test]
    fn who_comes_when_all_places_are_taken_is_next_in_order() {
        let mut limit = limit(2);
        let admitted = (0..5).filter(|index| limit.admits(source(*index))).count();
        assert_eq!((admitted, limit.waiting()), (2, 3));
        assert_eq!([(); 3].map(|()| limit.ended()), [2, 3, 4].map(|index| Some(source(index))));
        assert_eq!([(); 2].map(|()| limit.ended()), [None; 2]);
        assert!(limit.admits(source(0)) && limit.admits(source(1)) && !limit.admits(source(2)));
    }

    #[test]
    fn limit_that_changes_counts_what_stands_in_the_list() {
        // Two in the list that were not counted, one that runs and was not.
        let mut limit = TurnLimit::default();
        assert!(limit.admits(source(0)) && limit.admits(source(1)));
        let listed = vec![source(0), source(1)];
        assert_eq!(limit.set(NonZero::new(1), listed), [source(0)]);
        // It runs now, and the limit is raised, then lifted, then as before.
        assert_eq!(limit.set(NonZero::new(2), Vec::new()), [source(1)]);
        assert!(!limit.admits(source(2)));
        assert_eq!(limit.set(None, vec![source(1)]), [source(1), source(2)]);
        let listed = vec![source(1), source(2)];
        assert_eq!(limit.set(NonZero::new(1), listed), []);
        assert_eq!(limit.ended(), Some(source(1)));
        assert_eq!(limit.ended(), Some(source(2)));
    }
}
