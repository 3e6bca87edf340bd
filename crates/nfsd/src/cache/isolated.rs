//! Files on their way out, and the two rules.
//!
//! *Rule 1*: whoever holds files in a private list is inside their namespace, and was before they
//! were unhashed. *Rule 2*: what was taken last is released first: the files, then the namespace.
//!
//! [`Isolated`] is that list. It is made of being inside and of nothing else, files get into it only
//! from the table or the dispose list of that very cache, and it drops them before it leaves. So when
//! a namespace has drained, each of its files is in the table or on the dispose list.

use super::Caches;
use super::file::File;
use super::namespace::Cache;
use super::table::Held;
use holm_netns::{Inside, Namespace};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;

/// Being inside a namespace that has a cache.
pub struct Within<F: File> {
    inside: Inside,
    _cache: PhantomData<fn() -> F>,
}

impl<F: File> Within<F> {
    /// By somebody who is inside; gives it back if there is no cache.
    ///
    /// # Errors
    ///
    /// If the subsystem is not registered (any more).
    #[allow(clippy::result_large_err)]
    pub fn new(inside: Inside) -> std::result::Result<Self, Inside> {
        match inside.get::<Caches<F>>() {
            Some(_) => Ok(Self { inside, _cache: PhantomData }),
            None => Err(inside),
        }
    }

    /// Enters a namespace, unless it is on its way out or its cache is.
    #[track_caller]
    pub fn enter(ns: &Namespace) -> Option<Self> {
        Self::new(ns.enter()?).ok()
    }
}

impl<F: File> std::fmt::Debug for Within<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Within").field(&**self).finish()
    }
}

impl<F: File> Deref for Within<F> {
    type Target = Cache<F>;

    fn deref(&self) -> &Cache<F> {
        match self.inside.get::<Caches<F>>() {
            Some(cache) => cache,
            None => unreachable!("it was there, and what is inside a namespace never changes"),
        }
    }
}

/// Files that were unhashed, held by somebody who is inside their namespace: `P` is that.
#[must_use]
pub(super) struct Isolated<F: File, P: Deref<Target = Cache<F>>> {
    files: Vec<Held<F>>,
    /// After the files, which the destructor puts: Rule 2.
    within: P,
}

impl<F: File, P: Deref<Target = Cache<F>>> Isolated<F, P> {
    /// An empty list. Who can make one is inside already: Rule 1.
    pub(super) fn new(within: P) -> Self {
        Self { files: Vec::new(), within }
    }

    pub(super) fn cache(&self) -> &Cache<F> {
        &self.within
    }

    /// Takes files in. They come from this cache.
    pub(super) fn gather(mut self, take: impl FnOnce(&Cache<F>, &mut Vec<Held<F>>)) -> Self {
        take(&self.within, &mut self.files);
        self
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Leaves the files to a worker.
    pub(super) fn dispose(mut self) {
        self.within.dispose_later(&mut self.files);
    }
}

impl<F: File, P: Deref<Target = Cache<F>>> Drop for Isolated<F, P> {
    /// Closes the files here and now.
    fn drop(&mut self) {
        for file in self.files.drain(..) {
            self.within.put(file);
        }
    }
}

/// Files that wait to be closed.
pub(super) struct DisposeList<F> {
    pub(super) files: VecDeque<Held<F>>,
    /// A worker comes, or is there.
    pub(super) scheduled: bool,
}

impl<F> Default for DisposeList<F> {
    fn default() -> Self {
        Self { files: VecDeque::new(), scheduled: false }
    }
}

/// How many files a worker closes before others have their turn.
pub(super) const BATCH: usize = 8;
