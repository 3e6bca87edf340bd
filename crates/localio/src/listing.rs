//! What is in a directory, as far as it was asked for.

use crate::error::Result;
use crate::handle::Handle;
use crate::mount::Inner;
use crate::nfs3::{Node, PageEntry, check_name};
use holm_nfs_proto::nfs3::{self, Attributes};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The entries of a directory, in the server's order, without `.` and `..`: an iterator that asks for as
/// much as it needs, so that a directory may have any number of them.
///
/// What is created or removed meanwhile may be seen or not. After an error it ends.
#[derive(Debug)]
pub struct Listing {
    mount: Arc<Inner>,
    directory: Handle,
    path: String,
    /// Of the page that has come, the next entry last.
    waiting: Vec<PageEntry>,
    position: Position,
    /// Whether the server has READDIRPLUS.
    plus: bool,
    page_size: u32,
    over: bool,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: never empty, `.` or `..`, and without a `/`.
    pub name: OsString,
    /// What the server calls it.
    pub handle: Handle,
    /// What it is.
    pub attributes: Attributes,
}

impl Listing {
    pub(crate) fn new(mount: Arc<Inner>, directory: Handle, path: String) -> Self {
        let page_size = mount.info.dir_preferred.clamp(PAGE, PAGE_MAX);
        Self {
            mount,
            directory,
            path,
            waiting: Vec::new(),
            position: Position::default(),
            plus: true,
            page_size,
            over: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        loop {
            while let Some(entry) = self.waiting.pop() {
                if let Some(entry) = self.complete(entry)? {
                    return Ok(Some(entry));
                }
            }
            if self.over {
                return Ok(None);
            }
            self.turn_page()?;
        }
    }

    fn turn_page(&mut self) -> Result<()> {
        let Position { cookie, verifier, .. } = self.position;
        let nfs = &self.mount.nfs;
        let page = if self.plus {
            nfs.page_plus(&self.directory, cookie, verifier, self.page_size)
        } else {
            nfs.page(&self.directory, cookie, verifier, self.page_size)
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => match error.status() {
                Some(nfs3::Error::NotSupp) if self.plus => {
                    self.plus = false;
                    return Ok(());
                }
                Some(nfs3::Error::TooSmall) if self.page_size < PAGE_MAX => {
                    self.page_size = (self.page_size * 2).min(PAGE_MAX);
                    return Ok(());
                }
                _ => return Err(error),
            },
        };
        self.over = page.eof;
        match page.entries.last() {
            Some(last) => self.position.advance(last.cookie, page.verifier),
            None => page.eof.then_some(()).ok_or("a part of the directory with nothing in it"),
        }
        .map_err(|why| nfs.malformed("list", why.to_owned()))?;
        self.waiting = page.entries;
        self.waiting.reverse();
        Ok(())
    }

    /// `None` for what is no entry, or is none any more.
    fn complete(&self, entry: PageEntry) -> Result<Option<Entry>> {
        let nfs = &self.mount.nfs;
        let PageEntry { name, attributes, handle, .. } = entry;
        if matches!(name.as_bytes(), b"." | b"..") {
            return Ok(None);
        }
        // Whoever makes paths of names must not be led elsewhere.
        check_name(name.as_bytes()).map_err(|why| nfs.malformed("list", why.to_owned()))?;
        if let (Some(handle), Some(attributes)) = (handle, attributes) {
            return Ok(Some(Entry { name, handle, attributes }));
        }
        match nfs.lookup(&self.directory, &name) {
            Ok(Node { handle, attributes }) => Ok(Some(Entry { name, handle, attributes })),
            Err(error) if error.status() == Some(nfs3::Error::NoEnt) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Iterator for Listing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let next = self.advance();
        if next.is_err() {
            self.over = true;
            self.waiting.clear();
        }
        next.map_err(|error| error.on(|| self.path.clone())).transpose()
    }
}

/// Where a listing goes on, and a second place that it must not come to again: a server whose cookies
/// lead in a circle is found out by a mark that is set anew after 1, 2, 4, 8... pages.
#[derive(Debug, Default, Clone, Copy)]
struct Position {
    cookie: u64,
    verifier: nfs3::CookieVerifier,
    mark: u64,
    pages: u64,
    next_mark: u64,
}

impl Position {
    fn advance(
        &mut self,
        cookie: u64,
        verifier: nfs3::CookieVerifier,
    ) -> std::result::Result<(), &'static str> {
        if cookie == self.cookie || cookie == self.mark {
            return Err("its cookies lead in a circle");
        }
        (self.cookie, self.verifier) = (cookie, verifier);
        self.pages += 1;
        if self.pages > self.next_mark {
            (self.mark, self.next_mark) = (cookie, self.pages.saturating_mul(2));
        }
        Ok(())
    }
}

/// Bytes of a page, at least.
const PAGE: u32 = 128 << 10;
/// And at most, if it is so that entries fit.
const PAGE_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_directory_is_no_circle() {
        let mut position = Position::default();
        for cookie in 1..100_000 {
            position.advance(cookie, [0; 8]).unwrap();
        }
    }

    #[test]
    fn circles_are_found() {
        for length in [1, 2, 3, 7, 1000] {
            let mut position = Position::default();
            let circle = (0..).map(|step| 5 + step % length);
            let pages = circle.take_while(|c| position.advance(*c, [0; 8]).is_ok()).count();
            assert!(pages as u64 <= 4 * length + 4, "{length}: {pages}");
        }
        // Back to the beginning.
        assert!(Position::default().advance(0, [0; 8]).is_err());
    }
}
