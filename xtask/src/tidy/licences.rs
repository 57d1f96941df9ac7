//! Whether a licence expression leaves us a permissive choice (SPDX 2.3, annex D).

use super::Finding;
use super::graph::Graph;

/// Permissive licences, with their exceptions as part of the name.
const PERMISSIVE: [&str; 15] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
];

/// Checks every package from outside.
pub fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &graph.outside {
        let what = match permissive(&package.licence) {
            Some(true) => continue,
            Some(false) => format!("has the licence {:?}, which is not permissive", package.licence),
            None if package.licence.is_empty() => "states no licence".to_owned(),
            None => format!("has a licence expression that cannot be read: {:?}", package.licence),
        };
        let what = format!("{} {} {what}", package.name, package.version);
        findings.push(Finding::new(
            "Cargo.lock",
            1,
            what,
            "do without it (cargo tree -i shows who brings it)",
        ));
    }
    findings
}

/// Whether an expression can be fulfilled with permissive licences; `None` if it is not an expression.
fn permissive(expression: &str) -> Option<bool> {
    // Before SPDX 2.1 crates.io wrote "MIT/Apache-2.0" for OR.
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any(&mut rest)?;
    rest.is_empty().then_some(result)
}

fn next<'a>(words: &mut &[&'a str]) -> Option<&'a str> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    Some(first)
}

fn takes(words: &mut &[&str], word: &str) -> bool {
    let is = words.first().is_some_and(|first| first.eq_ignore_ascii_case(word));
    if is {
        next(words);
    }
    is
}

fn any(words: &mut &[&str]) -> Option<bool> {
    let mut result = all(words)?;
    while takes(words, "OR") {
        result |= all(words)?;
    }
    Some(result)
}

fn all(words: &mut &[&str]) -> Option<bool> {
    let mut result = one(words)?;
    while takes(words, "AND") {
        result &= one(words)?;
    }
    Some(result)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    if takes(words, "(") {
        let result = any(words)?;
        return takes(words, ")").then_some(result);
    }
    let name = next(words).filter(|name| !["OR", "AND", "WITH", ")"].contains(name))?;
    let exception = if takes(words, "WITH") { Some(next(words)?) } else { None };
    let name = exception.map_or(name.to_owned(), |exception| format!("{name} WITH {exception}"));
    Some(PERMISSIVE.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::graph::Outside;
    use super::*;

    #[test]
    fn a_choice_needs_one_permissive_side_and_a_sum_needs_both() {
        for (expression, expected) in [
            ("MIT", Some(true)),
            ("MIT/Apache-2.0", Some(true)),
            ("Apache-2.0 / GPL-3.0", Some(true)),
            ("MPL-2.0", Some(false)),
            ("MIT AND MPL-2.0", Some(false)),
            ("MIT OR MPL-2.0", Some(true)),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", Some(true)),
            ("(MIT OR Apache-2.0) AND GPL-2.0", Some(false)),
            ("GPL-2.0 OR MIT AND MPL-2.0", Some(false)),
            ("GPL-2.0 AND MPL-2.0 OR MIT", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("GPL-2.0 WITH Classpath-exception-2.0", Some(false)),
            ("MIT OR Apache-2.0 OR LGPL-2.1-or-later", Some(true)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
            ("MIT)", None),
            ("OR", None),
        ] {
            assert_eq!(permissive(expression), expected, "{expression:?}");
        }
    }

    #[test]
    fn each_package_that_is_not_permissive_is_named() {
        let package = |name: &str, licence: &str| Outside {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.to_owned(),
        };
        let outside = [package("good", "MIT"), package("bad", "AGPL-3.0"), package("silent", "")].into();
        let found: Vec<String> =
            check(&Graph { outside, ..Graph::default() }).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("bad 1.0.0") && found[0].contains("AGPL-3.0"), "{found:?}");
        assert!(found[1].contains("silent 1.0.0 states no licence"), "{found:?}");
    }
}
