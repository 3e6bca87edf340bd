//! In which line something stands.

/// A text and where its lines begin. Looking a place up does not depend on how long the text is: there
/// may be tens of thousands of namespaces.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Byte by byte; the first is 0.
    begins: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(end, _)| end + 1);
        Self { text, begins: std::iter::once(0).chain(after).collect() }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at)
    }

    /// The character of a byte in its line, from 1.
    pub(super) fn column(&self, at: usize) -> usize {
        let begin = self.begins.get(self.line(at) - 1).copied().unwrap_or_default();
        let before = self.text.get(begin..at.min(self.text.len())).unwrap_or_default();
        before.chars().count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_line_that_an_editor_shows() {
        let lines = Lines::of("eins\nzwei ü!\n\nvier");
        let at = |at| (lines.line(at), lines.column(at));
        assert_eq!([at(0), at(4), at(5), at(12)], [(1, 1), (1, 5), (2, 1), (2, 7)]);
        assert_eq!([at(14), at(15), at(18)], [(3, 1), (4, 1), (4, 4)]);
        assert_eq!([at(19), at(1000)], [(4, 5), (4, 5)], "the end, and what lies beyond it");
        assert_eq!(Lines::of("").line(0), 1);
    }
}
