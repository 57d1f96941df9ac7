//! Tables that fit: columns as wide as their widest cell, the last one cut to the terminal.

use super::{Out, Paint, Style};

/// A table with a head.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(String, Option<Style>)>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty; cells beyond the head are not shown.
    pub(crate) fn row(&mut self, cells: Vec<(String, Option<Style>)>) {
        self.rows.push(cells);
    }

    /// The table as text. On a terminal the last column is cut to what fits; a pipe gets everything.
    pub(crate) fn render(&self, out: &Out) -> String {
        let columns = if out.live { Out::columns() } else { usize::MAX };
        self.render_at(out.paint, columns)
    }

    fn render_at(&self, paint: Paint, columns: usize) -> String {
        let widths: Vec<usize> = (0..self.head.len()).map(|at| self.width(at)).collect();
        let head: Vec<_> = self.head.iter().map(|name| ((*name).to_owned(), Some(Style::Dim))).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            render_row(row, &widths, paint, columns, &mut text);
        }
        text
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|(cell, _)| cell.chars().count());
        cells.chain(self.head.get(at).map(|name| name.len())).max().unwrap_or(0)
    }
}

fn render_row(
    row: &[(String, Option<Style>)],
    widths: &[usize],
    paint: Paint,
    columns: usize,
    text: &mut String,
) {
    let mut used = 0;
    for (at, width) in widths.iter().enumerate() {
        let last = at + 1 == widths.len();
        let (cell, style) = row.get(at).map_or(("", None), |(cell, style)| (cell.as_str(), *style));
        let room = columns.saturating_sub(used).max(8);
        let shown = if last { cut(cell, room) } else { cell.to_owned() };
        let pad = if last { 0 } else { width - cell.chars().count() + 2 };
        text.push_str(&match style {
            Some(style) if !shown.is_empty() => paint.on(style, &shown),
            _ => shown,
        });
        text.extend(std::iter::repeat_n(' ', pad));
        used += width + 2;
    }
    while text.ends_with(' ') {
        text.pop();
    }
    text.push('\n');
}

fn cut(cell: &str, room: usize) -> String {
    if cell.chars().count() <= room {
        return cell.to_owned();
    }
    let mut short: String = cell.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_the_last_is_cut() {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(vec![("catalog-1".into(), Some(Style::Good)), ("GET /health answered 200".into(), None)]);
        table.row(vec![("é".into(), None)]);
        assert_eq!(table.render_at(Paint(false), 24), "NAME       WHY\ncatalog-1  GET /health …\né\n");
        assert!(
            table.render_at(Paint(true), 80).contains("\x1b[32mcatalog-1\x1b[0m  GET /health answered 200\n")
        );
    }
}
