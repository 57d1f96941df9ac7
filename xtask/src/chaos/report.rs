//! The table of what people saw, and where it stands.

use std::fs;

use anyhow::{Context as _, Result};

use super::policies::Policies;
use super::{Results, Row, Scope, Seen, Trouble};
use crate::shell;

const BEGIN: &str = "<!-- cargo xtask chaos --write: begin -->\n";
const END: &str = "<!-- cargo xtask chaos --write: end -->\n";

/// The table, with what all faults gave together at its end.
pub fn table(results: &Results) -> String {
    let Results { how, rows, failures } = results;
    let names = Policies::ALL.map(|policies| format!(" {policies} |")).concat();
    let rule = "---|".repeat(3 + Policies::ALL.len());
    let told = "share that was good, that got a fallback, and that failed; p99 of all of them";
    let mut out = format!("{how}: {told}.\n\n| service | of it | does |{names}\n|{rule}\n");
    for Row { trouble, seen } in rows {
        let cells: String = seen.iter().map(|seen| format!(" {} |", cell(seen))).collect();
        match trouble {
            None => out.push_str(&format!("| every | both | nothing |{cells}\n")),
            Some(Trouble { service, scope, fault }) => {
                out.push_str(&format!("| {service} | {} | {fault} |{cells}\n", scope.words()));
            }
        }
    }
    for scope in Scope::ALL {
        let of = |row: &&Row| row.trouble.as_ref().is_some_and(|trouble| trouble.scope == scope);
        let those: Vec<&Row> = rows.iter().filter(of).collect();
        if !those.is_empty() {
            let all = (0..Policies::ALL.len()).map(|column| together(&those, column));
            out.push_str(&format!("| **all** | {} | all |{}\n", scope.words(), all.collect::<String>()));
        }
    }
    for (scope, counts) in failures {
        let all: Vec<String> = counts.iter().map(|(what, count)| format!("{count} × {what}")).collect();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        out.push_str(&format!("\nFailed with everything on, {} in trouble: {all}.\n", scope.words()));
    }
    out
}

fn together(rows: &[&Row], column: usize) -> String {
    let none = Seen { requests: 0, good: 0, fallback: 0, p99: std::time::Duration::ZERO };
    let sum = |sum: Seen, one: &Seen| Seen {
        requests: sum.requests + one.requests,
        good: sum.good + one.good,
        fallback: sum.fallback + one.fallback,
        p99: sum.p99.max(one.p99),
    };
    let all = rows.iter().filter_map(|row| row.seen.get(column)).fold(none, sum);
    let failed = all.requests - all.good - all.fallback;
    format!(" **{}**, worst p99; {failed} of {} failed |", cell(&all), all.requests)
}

fn cell(seen: &Seen) -> String {
    let share = |part: usize, of: &str| match part {
        0 => String::new(),
        part => format!(" + {} {of}", percent(part, seen.requests)),
    };
    let fallback = share(seen.fallback, "fallback");
    let failed = share(seen.requests - seen.good - seen.fallback, "failed");
    format!("{}{fallback}{failed}, {}", percent(seen.good, seen.requests), time(seen.p99))
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
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::chaos::Fault;

    #[test]
    fn a_table_has_a_line_for_each_fault_and_one_for_all() {
        let seen =
            |good, fallback, ms| Seen { requests: 200, good, fallback, p99: Duration::from_millis(ms) };
        let row = |scope: Option<Scope>, seen| Row {
            trouble: scope.map(|scope| Trouble { service: "web".to_owned(), scope, fault: Fault::Hang }),
            seen,
        };
        let rows = vec![
            row(None, vec![seen(200, 0, 9); 3]),
            row(Some(Scope::One), vec![seen(99, 0, 10_000), seen(199, 0, 999), seen(150, 50, 20)]),
            row(Some(Scope::All), vec![seen(0, 0, 10_000), seen(2, 0, 999), seen(0, 199, 20)]),
        ];
        let failures = vec![
            (Scope::One, BTreeMap::new()),
            (Scope::All, BTreeMap::from([("POST /cart/items: 503".to_owned(), 1)])),
        ];
        let table = table(&Results { how: "One run".to_owned(), rows, failures });
        for line in [
            "One run: share that was good, that got a fallback, and that failed; p99 of all of them.",
            "| service | of it | does | off | default | on |",
            "| every | both | nothing | 100 %, 9 ms | 100 %, 9 ms | 100 %, 9 ms |",
            "| web | one of two | hang | 49.5 % + 50.5 % failed, 10.0 s | 99.5 % + 0.5 % failed, 999 ms | 75.0 % + 25.0 % fallback, 20 ms |",
            "| web | both | hang | 0.0 % + 100 % failed, 10.0 s | 1.0 % + 99.0 % failed, 999 ms | 0.0 % + 99.5 % fallback + 0.5 % failed, 20 ms |",
            "Failed with everything on, one of two in trouble: nothing.",
            "Failed with everything on, both in trouble: 1 × POST /cart/items: 503.",
        ] {
            assert!(table.lines().any(|own| own == line), "{line}\n{table}");
        }
        assert!(table.contains(
            "| **all** | both | all | **0.0 % + 100 % failed, 10.0 s**, worst p99; 200 of 200 failed |"
        ));
    }
}
