//! Tables that fit: columns as wide as their widest cell; where the terminal is narrower, the widest give way.

use super::{Out, Paint, Style};

/// Columns are not made narrower than this.
const NARROW: usize = 8;

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

    /// The table as text. On a terminal it fits, and columns with nothing in them are left out; a pipe gets everything.
    pub(crate) fn render(&self, out: &Out) -> String {
        self.render_at(out.paint, out.live.then(|| out.columns()))
    }

    /// The table as text, nothing cut.
    pub(crate) fn whole(&self, out: &Out) -> String {
        self.render_at(out.paint, None)
    }

    /// The rows alone, without the head, cut to a width: for a live block.
    pub(crate) fn lines(&self, paint: Paint, columns: usize) -> Vec<String> {
        self.render_at(paint, Some(columns)).lines().skip(1).map(str::to_owned).collect()
    }

    fn render_at(&self, paint: Paint, columns: Option<usize>) -> String {
        let mut widths: Vec<usize> =
            (0..self.head.len()).map(|at| self.width(at, columns.is_some())).collect();
        if let Some(columns) = columns {
            fit(&mut widths, columns);
        }
        let head: Vec<_> = self.head.iter().map(|name| ((*name).to_owned(), Some(Style::Dim))).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            render_row(row, &widths, paint, &mut text);
        }
        text
    }

    /// As wide as its widest cell; 0 if no row has anything in it and `may_go`.
    fn width(&self, at: usize, may_go: bool) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|(cell, _)| cell.chars().count());
        let widest = cells.max().unwrap_or(0);
        if widest == 0 && may_go && !self.rows.is_empty() {
            return 0;
        }
        widest.max(self.head.get(at).map_or(0, |name| name.len()))
    }
}

/// Takes from the last column first, as it is where the sentences are, and then from the widest.
fn fit(widths: &mut [usize], columns: usize) {
    let gaps = 2 * widths.iter().filter(|width| **width > 0).count().saturating_sub(1);
    let mut surplus = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    if let Some(last) = widths.last_mut() {
        let given = surplus.min(last.saturating_sub(3 * NARROW));
        *last -= given;
        surplus -= given;
    }
    while surplus > 0 {
        let Some(widest) = widths.iter_mut().filter(|width| **width > NARROW).max() else { return };
        *widest -= 1;
        surplus -= 1;
    }
}

fn render_row(row: &[(String, Option<Style>)], widths: &[usize], paint: Paint, text: &mut String) {
    let last = widths.iter().rposition(|width| *width > 0);
    for (at, width) in widths.iter().enumerate().filter(|(_, width)| **width > 0) {
        let (cell, style) = row.get(at).map_or(("", None), |(cell, style)| (cell.as_str(), *style));
        let shown = cut(cell, *width);
        let pad = if Some(at) == last { 0 } else { width - shown.chars().count() + 2 };
        text.push_str(&match style {
            Some(style) if !shown.is_empty() => paint.on(style, &shown),
            _ => shown,
        });
        text.extend(std::iter::repeat_n(' ', pad));
    }
    while text.ends_with(' ') {
        text.pop();
    }
    text.push('\n');
}

/// At most so many characters, with a mark where some are missing.
pub(crate) fn cut(cell: &str, room: usize) -> String {
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

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "EMPTY", "WHY"]);
        let why = "GET /health answered 200 and a good deal more";
        table.row(vec![("catalog-1".into(), Some(Style::Good)), (String::new(), None), (why.into(), None)]);
        table.row(vec![("é".into(), None)]);
        table
    }

    #[test]
    fn a_pipe_gets_everything() {
        let whole = table().render_at(Paint(false), None);
        assert_eq!(
            whole,
            "NAME       EMPTY  WHY\ncatalog-1         GET /health answered 200 and a good deal more\né\n"
        );
    }

    #[test]
    fn a_terminal_gets_what_fits_and_no_empty_column() {
        let cut = table().render_at(Paint(false), Some(40));
        assert_eq!(cut, "NAME       WHY\ncatalog-1  GET /health answered 200 and…\né\n");
        assert!(table().render_at(Paint(true), Some(80)).contains("\x1b[32mcatalog-1\x1b[0m  GET /health"));
    }

    #[test]
    fn however_narrow_no_line_is_wider() {
        for columns in 20..70 {
            let text = table().render_at(Paint(false), Some(columns));
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
        }
    }
}
