//! What was said of the entries of a directory, kept to be said again.
//!
//! The entries of a directory are what they were while its time of last change is the same: names,
//! and what has each of them. That time has steps of up to a second, so a [`Page`] is made only of
//! a directory that was not changed since a moment before, see [`a_moment_ago`](super::a_moment_ago),
//! and of names that were read after the directory was asked. Attributes of an entry are what they
//! were as long as no [`Change`](crate::stripes::Change) of the object was begun since, if none was
//! going on then. What is not a change of ours is seen when the page is a second old and is thrown
//! away.
//!
//! An entry with more than one name is not kept: it may lose one in another directory, by a call
//! that does not know which object it is.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use super::listing::Charge;
use crate::attributes::Time;
use crate::stripes::{Glance, Stripes};
use std::sync::{Arc, Mutex, PoisonError};

/// What is kept of one directory: pages in the order of their cookies.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Vec<(Arc<Page>, Charge)>>);

/// Entries that follow each other, as they were answered.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    view: View,
    /// The cookie that the page goes on from.
    after: u64,
    /// The directory ends behind it.
    ended: bool,
    entries: Vec<Told>,
    bytes: Vec<u8>,
}

/// A directory at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Its time of last change.
    pub(crate) changed: Time,
    /// When it was looked at, in milliseconds: before what is said of its entries was found out.
    pub(crate) at: u64,
}

/// What was said of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) cookie: u64,
    pub(crate) inode: u64,
    /// None: it is to be found out each time.
    pub(crate) glance: Option<Glance>,
    /// Where its bytes end.
    end: usize,
}

impl Kept {
    /// What was said of the entries after a cookie, if it holds in this view: the page, and which of
    /// its entries comes next.
    pub(crate) fn find(&self, cookie: u64, view: &View) -> Option<(Arc<Page>, usize)> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pages.partition_point(|(page, _)| page.after <= cookie).checked_sub(1)?;
        let (page, _) = pages.get(before)?;
        if !page.holds(view) {
            return None;
        }
        let next = page.next_after(cookie)?;
        Some((page.clone(), next))
    }

    /// Keeps a page, in the place of one that begins where it does, if there is room.
    pub(crate) fn keep(&self, page: Page) {
        if !page.is_in_order() {
            return;
        }
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|(other, _)| other.after != page.after && other.holds(&page.view));
        let bytes: usize = pages.iter().map(|(page, _)| page.size()).sum();
        if pages.len() < PAGES && bytes + page.size() <= BYTES && !Charge::is_too_much() {
            let charge = Charge::take(page.size());
            let place = pages.partition_point(|(other, _)| other.after < page.after);
            pages.insert(place, (Arc::new(page), charge));
        }
    }
}

impl Page {
    /// A page of entries that come after a cookie.
    pub(crate) fn new(view: View, after: u64) -> Self {
        Self { view, after, ended: false, entries: Vec::new(), bytes: Vec::new() }
    }

    /// The same page, without entries.
    pub(crate) fn anew(&self) -> Self {
        let Self { view, after, ended, .. } = *self;
        Self { view, after, ended, entries: Vec::new(), bytes: Vec::new() }
    }

    /// Adds an entry, in the words that were used for it.
    pub(crate) fn push(&mut self, words: &[u8], cookie: u64, inode: u64, glance: Option<Glance>) {
        self.bytes.extend_from_slice(words);
        self.entries.push(Told { cookie, inode, glance, end: self.bytes.len() });
    }

    /// The directory ends here.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the directory ends behind the page.
    pub(crate) fn is_last(&self) -> bool {
        self.ended
    }

    /// Where to go on behind it.
    pub(crate) fn last_cookie(&self) -> u64 {
        self.entries.last().map_or(self.after, |told| told.cookie)
    }

    /// What was said from an entry on, each with its words.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = (&Told, &[u8])> {
        let told = self.entries.get(first..).unwrap_or_default();
        let mut start = first.checked_sub(1).and_then(|last| self.entries.get(last));
        told.iter().map(move |told| {
            let begin = start.replace(told).map_or(0, |before| before.end);
            (told, self.bytes.get(begin..told.end).unwrap_or_default())
        })
    }

    fn holds(&self, view: &View) -> bool {
        self.view.changed == view.changed && view.at.saturating_sub(self.view.at) < GOOD_FOR
    }

    /// Which entry follows a cookie; none if that is not known here.
    fn next_after(&self, cookie: u64) -> Option<usize> {
        if cookie == self.after {
            return Some(0);
        }
        let at = self.entries.binary_search_by_key(&cookie, |told| told.cookie).ok()?;
        (at + 1 < self.entries.len() || self.ended).then_some(at + 1)
    }

    /// Whether each cookie says where one entry is and no other: some file systems give one twice.
    fn is_in_order(&self) -> bool {
        let mut last = self.after;
        let ascends = |told: &Told| std::mem::replace(&mut last, told.cookie) < told.cookie;
        !self.entries.is_empty() && self.entries.iter().all(ascends)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.entries.capacity() * size_of::<Told>() + self.bytes.capacity()
    }
}

impl Told {
    /// Whether it is known that the object's attributes are the same still.
    pub(crate) fn holds(&self, stripes: &Stripes) -> bool {
        self.glance.is_some_and(|glance| stripes.is_unchanged_since(self.inode, glance))
    }
}

/// Milliseconds in which changes that are not ours are seen.
const GOOD_FOR: u64 = 1000;
/// Most pages of a directory, and bytes of them; of all directories together, see [`Charge`].
const PAGES: usize = 256;
const BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: View = View { changed: Time { seconds: 5, nanoseconds: 0 }, at: 10_000 };

    fn page(after: u64, cookies: impl IntoIterator<Item = u64>, words: &[u8]) -> Page {
        let mut page = Page::new(VIEW, after);
        for cookie in cookies {
            page.push(words, cookie, cookie, None);
        }
        page
    }

    fn found(kept: &Kept, cookie: u64, view: &View) -> Option<(u64, Vec<u64>)> {
        let (page, next) = kept.find(cookie, view)?;
        Some((page.after, page.from(next).map(|(told, _)| told.cookie).collect()))
    }

    #[test]
    fn what_follows_a_cookie_is_found_while_the_directory_is_the_same() {
        let kept = Kept::default();
        kept.keep(page(20, [30, 40], b"b"));
        kept.keep(page(0, [10, 20], b"a"));
        let find = |cookie| found(&kept, cookie, &VIEW);
        assert_eq!(find(0), Some((0, vec![10, 20])));
        assert_eq!(find(10), Some((0, vec![20])));
        assert_eq!(find(20), Some((20, vec![30, 40])));
        assert_eq!(find(30), Some((20, vec![40])));
        assert_eq!((find(40), find(25), find(50)), (None, None, None));

        let mut last = page(40, [50], b"c");
        last.end();
        kept.keep(last);
        assert_eq!((find(40), find(50)), (Some((40, vec![50])), Some((40, vec![]))));

        let changed = View { changed: Time { seconds: 5, nanoseconds: 1 }, ..VIEW };
        let later = |by| View { at: VIEW.at + by, ..VIEW };
        assert_eq!(found(&kept, 0, &changed), None);
        assert!(found(&kept, 0, &later(GOOD_FOR - 1)).is_some());
        assert_eq!(found(&kept, 0, &later(GOOD_FOR)), None);
    }

    #[test]
    fn entries_come_with_their_words() {
        let mut page = Page::new(VIEW, 0);
        page.push(b"one", 1, 7, None);
        page.push(b"", 2, 8, None);
        page.push(b"three", 3, 9, None);
        let words = |first| page.from(first).map(|(_, words)| words).collect::<Vec<_>>();
        assert_eq!(words(0), [&b"one"[..], b"", b"three"]);
        assert_eq!(words(2), [&b"three"[..]]);
        assert_eq!(words(1).len() + words(3).len() + words(9).len(), 2);
    }

    #[test]
    fn cookies_that_mean_two_entries_are_not_kept() {
        for cookies in [&[1, 2, 2][..], &[2, 1], &[]] {
            let kept = Kept::default();
            kept.keep(page(0, cookies.iter().copied(), b"a"));
            assert_eq!(found(&kept, 0, &VIEW), None, "{cookies:?}");
        }
        let kept = Kept::default();
        kept.keep(page(5, [5, 6], b"a"));
        assert_eq!(found(&kept, 5, &VIEW), None);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let bytes = |kept: &Kept| kept.0.lock().unwrap().iter().map(|(page, _)| page.size()).sum();
        let kept = Kept::default();
        for after in 0..100 {
            kept.keep(page(after, [after + 1], &[0; 1 << 16]));
        }
        let full: usize = bytes(&kept);
        assert!(full <= BYTES && full > BYTES - (1 << 17), "{full}");
        assert!(found(&kept, 0, &VIEW).is_some() && found(&kept, 99, &VIEW).is_none());

        let kept = Kept::default();
        for after in 0..2 * PAGES as u64 {
            kept.keep(page(after, [after + 1], b"a"));
        }
        assert_eq!(kept.0.lock().unwrap().len(), PAGES);

        // What does not hold any more makes room.
        let mut other = page(7, [8], b"a");
        other.view.changed.seconds += 1;
        kept.keep(other);
        assert_eq!(kept.0.lock().unwrap().len(), 1);
    }
}
