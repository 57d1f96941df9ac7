//! The table of what people saw, and where it stands.

use std::fs;

use anyhow::{Context as _, Result};

use super::policies::Policies;
use super::{Row, Seen};
use crate::shell;

const BEGIN: &str = "<!-- cargo xtask chaos --write: begin -->\n";
const END: &str = "<!-- cargo xtask chaos --write: end -->\n";

/// The table, with what all faults gave together at its end.
pub fn table(rate: u32, seconds: u32, rows: &[Row]) -> String {
    let mut out =
        format!("{rate} requests a second for {seconds} s in each cell: share that was good, and p99.\n\n");
    let names = Policies::ALL.map(|policies| format!(" {policies} |")).concat();
    out.push_str(&format!("| service | fault |{names}\n|---|---|{}\n", "---|".repeat(Policies::ALL.len())));
    for (service, fault, seen) in rows {
        let cells: String = seen.iter().map(|seen| format!(" {} |", cell(seen))).collect();
        out.push_str(&format!("| {service} | {fault} |{cells}\n"));
    }
    let together = (0..Policies::ALL.len()).map(|column| {
        let all = rows.iter().skip(1).filter_map(|(_, _, seen)| seen.get(column));
        let (good, requests) =
            all.clone().fold((0, 0), |(good, sum), one| (good + one.good, sum + one.requests));
        let worst = all.map(|one| one.p99).max().unwrap_or_default();
        format!(" **{}**, worst p99 {} |", percent(good, requests), time(worst))
    });
    out.push_str(&format!("| **all** | all |{}\n", together.collect::<String>()));
    out
}

fn cell(seen: &Seen) -> String {
    let fallback = match seen.fallback {
        0 => String::new(),
        some => format!(" + {} fallback", percent(some, seen.requests)),
    };
    format!("{}{fallback}, {}", percent(seen.good, seen.requests), time(seen.p99))
}

fn percent(part: usize, of: usize) -> String {
    if part == of {
        return "100 %".to_owned();
    }
    // Never rounded up to all of them.
    let tenths = part * 1_000 / of.max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn time(time: std::time::Duration) -> String {
    match time.as_millis() {
        short @ 0..1_000 => format!("{short} ms"),
        long => format!("{}.{} s", long / 1_000, long % 1_000 / 100),
    }
}

/// Puts the table where the page has one.
pub fn write(table: &str) -> Result<()> {
    let page = shell::root().join("docs").join("resilience.md");
    let text = fs::read_to_string(&page)?;
    let (before, rest) = text.split_once(BEGIN).context("docs/resilience.md has no place for the table")?;
    let (_, after) = rest.split_once(END).context("docs/resilience.md has no end of the table")?;
    Ok(fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}"))?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_fault_and_one_for_all() {
        let seen =
            |good, fallback, ms| Seen { requests: 200, good, fallback, p99: Duration::from_millis(ms) };
        let quiet = vec![seen(200, 0, 9); 3];
        let rows = [
            ("(none)".to_owned(), "nothing".to_owned(), quiet),
            (
                "web".to_owned(),
                "hang".to_owned(),
                vec![seen(99, 0, 10_000), seen(199, 0, 999), seen(150, 50, 20)],
            ),
        ];
        let table = table(25, 8, &rows);
        assert!(
            table.contains(
                "| web | hang | 49.5 %, 10.0 s | 99.5 %, 999 ms | 75.0 % + 25.0 % fallback, 20 ms |\n"
            ),
            "{table}"
        );
        assert!(
            table.ends_with("| **99.5 %**, worst p99 999 ms | **75.0 %**, worst p99 20 ms |\n"),
            "{table}"
        );
    }
}
