//! Tables for people: a heading, columns apart by two blanks, numbers to the right, no lines.
//! Cells are made safe to print; what is wider than the terminal is not cut, since a name that
//! was cut cannot be copied.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table as Grid, presets};

use crate::cli::text::printable;

/// How a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that is filled row by row.
#[derive(Debug)]
pub struct Table {
    grid: Grid,
    columns: Vec<Align>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let mut table =
            Table { grid: Grid::new(), columns: columns.iter().map(|(_, align)| *align).collect() };
        table.grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let heading = table.cells(columns.iter().map(|(title, _)| *title));
        table.grid.set_header(heading);
        for column in table.grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }

    /// Adds a row with one cell for each column.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = self.cells(cells);
        self.grid.add_row(cells);
    }

    fn cells<S: AsRef<str>>(&self, cells: impl IntoIterator<Item = S>) -> Vec<Cell> {
        let cell = |(text, align): (S, &Align)| {
            Cell::new(printable(text.as_ref())).set_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            })
        };
        cells.into_iter().zip(&self.columns).map(cell).collect()
    }

    /// The whole table; no line ends in blanks.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for line in self.grid.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_names_are_safe() {
        let mut table = Table::new(&[("id", Align::Left), ("rows", Align::Right), ("table", Align::Left)]);
        table.row(["3f1c", "12", "public.orders"]);
        table.row(["a", "1234567", "public.\x1b[2Jö\nx"]);
        insta::assert_snapshot!(table.render(), @r"
        id       rows  table
        3f1c       12  public.orders
        a     1234567  public.\u{1b}[2Jö\u{a}x
        ");
    }

    #[test]
    fn a_long_cell_is_not_cut() {
        let mut table = Table::new(&[("name", Align::Left)]);
        table.row(["x".repeat(500)]);
        assert!(table.render().contains(&"x".repeat(500)));
    }
}
