//! Listings: aligned columns, nothing drawn between them, so that `awk` reads them as well.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use std::io::{self, Write};

/// A listing.
pub struct Columns(Table);

impl Columns {
    /// With these headings; one that begins with `>` is of a column of numbers.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(headings.map(|heading| heading.trim_start_matches('>')));
        for (at, heading) in headings.iter().enumerate() {
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                if heading.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self(table)
    }

    /// One row more.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        // An empty cell would be missed by who counts columns.
        self.0.add_row(cells.map(|cell| if cell.is_empty() { "-".into() } else { cell }));
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.lines().map(|line| line.trim_end().to_owned())
    }

    /// Shows it.
    pub fn show(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.lines().try_for_each(|line| writeln!(out, "{line}"))
    }
}
