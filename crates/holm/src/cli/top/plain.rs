//! Tables one after the other, for who is no terminal.

use super::rates::{Column, Rates};
use super::{Arguments, Readings};
use crate::cli::client::Client;
use crate::cli::columns::Columns;
use crate::cli::outcome::Failure;
use std::io::{self, Write};

/// Shows them, with an empty line between; or as lines of JSON.
pub async fn show(client: &Client, arguments: &Arguments) -> Result<(), Failure> {
    let mut readings = Readings::begin(client, arguments).await?;
    let mut first = true;
    while let Some(mut rates) = readings.next().await? {
        rates.sort(arguments.sort, false);
        let mut out = io::stdout().lock();
        if arguments.format.json {
            serde_json::to_writer(&mut out, &rates).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            if !std::mem::take(&mut first) {
                writeln!(out)?;
            }
            drop(out);
            table(&rates).show()?;
        }
    }
    Ok(())
}

fn table(rates: &Rates) -> Columns {
    let heading = |column: Column| match column {
        Column::Name => column.heading().to_owned(),
        number => format!(">{}", number.heading()),
    };
    let headings = Column::ALL.map(heading);
    let mut columns = Columns::new(headings.each_ref().map(String::as_str));
    for row in &rates.namespaces {
        columns.row(Column::ALL.map(|column| column.cell(row)));
    }
    columns
}
