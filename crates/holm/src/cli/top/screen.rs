//! The live table on a terminal.

use super::rates::{Column, Rates};
use super::{Arguments, Readings};
use crate::cli::client::Client;
use crate::cli::outcome::Failure;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Row, Table, TableState};
use tokio::sync::mpsc;

/// Shows the table until it is enough or a key says so.
pub async fn show(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let mut readings = Readings::begin(client, arguments).await?;
    let mut keys = keys();
    let mut view = View::new(arguments.sort);
    let mut terminal = ratatui::try_init()?;
    let outcome = async {
        loop {
            terminal.draw(|frame| view.draw(frame))?;
            tokio::select! {
                rates = readings.next() => match rates? {
                    Some(rates) => view.set(rates),
                    None => return Ok(()),
                },
                event = keys.recv() => match event {
                    Some(event) if view.hear(&event) => {}
                    _ => return Ok(()),
                },
            }
        }
    }
    .await;
    ratatui::restore();
    outcome
}

/// What the terminal says: keys, and that its size is another. From a thread that ends with us.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read()
            && sender.blocking_send(event).is_ok()
        {}
    });
    receiver
}

/// What is on the screen.
pub(super) struct View {
    rates: Option<Rates>,
    sort: Column,
    reverse: bool,
    rows: TableState,
}

impl View {
    pub(super) fn new(sort: Column) -> Self {
        Self { rates: None, sort, reverse: false, rows: TableState::new() }
    }

    pub(super) fn set(&mut self, mut rates: Rates) {
        rates.sort(self.sort, self.reverse);
        self.rates = Some(rates);
    }

    /// Does what a key says; false: to quit.
    pub(super) fn hear(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return true };
        if key.kind == KeyEventKind::Release {
            return true;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Right | KeyCode::Char('>') => self.sort_by_next(1),
            KeyCode::Left | KeyCode::Char('<') => self.sort_by_next(Column::ALL.len() - 1),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            KeyCode::Down => *self.rows.offset_mut() = self.offset(1),
            KeyCode::Up => *self.rows.offset_mut() = self.offset(-1),
            KeyCode::Char(key) => {
                if let Some(at) = key.to_digit(10)
                    && let Some(column) = Column::ALL.get((at as usize).wrapping_sub(1))
                {
                    self.sort = *column;
                    self.reverse = false;
                }
            }
            _ => {}
        }
        if let Some(rates) = &mut self.rates {
            rates.sort(self.sort, self.reverse);
        }
        true
    }

    fn sort_by_next(&mut self, step: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        self.sort = Column::ALL.get((at + step) % Column::ALL.len()).copied().unwrap_or(self.sort);
        self.reverse = false;
    }

    fn offset(&self, step: isize) -> usize {
        let last = self.rates.as_ref().map_or(0, |rates| rates.namespaces.len()).saturating_sub(1);
        self.rows.offset().saturating_add_signed(step).min(last)
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [above, table, below] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(self.above(), above);
        frame.render_stateful_widget(self.table(), table, &mut self.rows.clone());
        frame.render_widget(Self::below(), below);
    }

    fn above(&self) -> Line<'static> {
        let Some(rates) = &self.rates else { return Line::from("holm: counting …") };
        let total = rates.total();
        let all = format!(
            "{}, {} connections, {} threads: {} ops/s, {} MB/s, {} errors/s",
            total.name,
            total.connections,
            rates.threads,
            Column::Ops.cell(&total),
            Column::Bytes.cell(&total),
            Column::Errors.cell(&total),
        );
        Line::from(vec!["holm  ".bold(), Span::from(all)])
    }

    fn table(&self) -> Table<'static> {
        let headings = Column::ALL.map(|column| {
            let mark = match (column == self.sort, self.reverse) {
                (false, _) => "",
                (true, false) => "▼",
                (true, true) => "▲",
            };
            cell(column, format!("{}{mark}", column.heading()))
        });
        let rows = self.rates.iter().flat_map(|rates| &rates.namespaces).map(|row| {
            let cells = Column::ALL.map(|column| cell(column, column.cell(row)));
            let style = match row {
                row if row.slow => Style::new().yellow(),
                row if row.ops == 0.0 => Style::new().dim(),
                _ => Style::new(),
            };
            Row::new(cells).style(style)
        });
        let widths = Column::ALL.map(|column| match column {
            Column::Name => Constraint::Fill(1),
            _ => Constraint::Length(9),
        });
        let header = Row::new(headings).style(Style::new().add_modifier(Modifier::REVERSED));
        Table::new(rows, widths).header(header)
    }

    fn below() -> Line<'static> {
        Line::from("q quit   ←/→ or 1-8 sort by   r reverse   ↑/↓ scroll").dim()
    }
}

fn cell(column: Column, text: String) -> Cell<'static> {
    let side = if column == Column::Name { Alignment::Left } else { Alignment::Right };
    Cell::from(Text::from(text).alignment(side))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{NamespaceStatistics, Statistics};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyEvent;

    /// Tenants that did so many calls, and have so many connections, in one second.
    fn rates(tenants: &[(&str, u64, u64)]) -> Rates {
        let namespaces = tenants.iter().zip(1..).map(|((name, calls, connections), id)| {
            let (name, calls, connections) = (name.to_string(), *calls, *connections);
            NamespaceStatistics { name, id, calls, connections, ..NamespaceStatistics::default() }
        });
        let now =
            Statistics { clock: 1.0, namespaces: namespaces.collect(), ..Statistics::default() };
        Rates::between(&Statistics::default(), &now)
    }

    fn shown(view: &mut View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(90, 6)).expect("a terminal");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        let cells = terminal.backend().buffer().content();
        let line =
            |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect();
        cells.chunks(90).map(line).collect()
    }

    fn press(view: &mut View, code: KeyCode) -> bool {
        view.hear(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn names(view: &mut View) -> Vec<String> {
        let rows = shown(view);
        let rows = rows.iter().skip(2).take(3);
        rows.filter_map(|row| row.split_whitespace().next().map(str::to_owned)).collect()
    }

    #[test]
    fn the_busiest_comes_first_and_keys_change_that() {
        let mut view = View::new(Column::Ops);
        assert!(shown(&mut view)[0].contains("counting"));
        view.set(rates(&[("green", 10, 3), ("blue", 1000, 1), ("red", 200, 2)]));
        assert_eq!(names(&mut view), ["blue", "red", "green"]);
        let lines = shown(&mut view);
        assert!(lines[0].contains("3 namespaces, 6 connections"), "{lines:?}");
        assert!(lines[0].contains("1210 ops/s"), "{lines:?}");
        assert!(lines[1].contains("OPS/S▼"), "{lines:?}");
        assert!(lines[5].contains("q quit"), "{lines:?}");

        assert!(press(&mut view, KeyCode::Char('r')));
        assert_eq!(names(&mut view), ["green", "red", "blue"]);
        assert!(press(&mut view, KeyCode::Char('7')));
        assert_eq!(names(&mut view), ["green", "red", "blue"], "by connections");
        assert!(press(&mut view, KeyCode::Char('1')));
        assert_eq!(names(&mut view), ["blue", "green", "red"]);
        assert!(press(&mut view, KeyCode::Right));
        assert!(shown(&mut view)[1].contains("OPS/S▼"));
        // What comes next is sorted in the same way.
        view.set(rates(&[("green", 10, 3), ("blue", 5, 1)]));
        assert_eq!(names(&mut view), ["green", "blue"]);
        assert!(!press(&mut view, KeyCode::Char('q')));
        assert!(!press(&mut view, KeyCode::Esc));
    }

    #[test]
    fn more_tenants_than_lines_can_be_reached() {
        let mut view = View::new(Column::Name);
        let all: Vec<(String, u64, u64)> = (0..10).map(|n| (format!("n{n}"), n, 0)).collect();
        let all: Vec<(&str, u64, u64)> = all.iter().map(|(n, c, d)| (n.as_str(), *c, *d)).collect();
        view.set(rates(&all));
        assert_eq!(names(&mut view), ["n0", "n1", "n2"]);
        for _ in 0..7 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(names(&mut view), ["n7", "n8", "n9"]);
        press(&mut view, KeyCode::Up);
        assert_eq!(names(&mut view), ["n6", "n7", "n8"]);
        // There is nothing beyond the last.
        for _ in 0..100 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(names(&mut view)[0], "n9");
    }
}
