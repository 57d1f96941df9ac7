//! Each direct dependency has its reason in docs/dependencies.md, and there is one stack of each kind.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::graph::Graph;
use super::tree::Tree;

const PAGE: &str = "docs/dependencies.md";

/// Of each of these groups the tree may hold one package, in one version: the first.
const STACKS: [(&str, &[&str]); 5] = [
    ("TLS", &["rustls", "native-tls", "openssl", "boring", "s2n-tls"]),
    ("cryptography", &["aws-lc-rs", "ring", "rustls-rustcrypto"]),
    ("SQLite", &["libsqlite3-sys", "sqlite3-src", "libsql-ffi"]),
    ("HTTP", &["hyper", "actix-http", "curl", "ureq", "isahc", "tiny_http", "pingora-core"]),
    ("runtime", &["tokio", "async-std", "smol", "async-global-executor", "monoio", "glommio"]),
];

/// Checks the page and the stacks.
pub fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let mut findings = check_stacks(graph);
    let rows = rows(tree.text(PAGE).unwrap_or_default());
    let mut used = BTreeSet::new();
    for member in &graph.members {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.ours) {
            used.insert(dependency.name.as_str());
            if !rows.contains_key(dependency.name.as_str()) {
                let what = format!("{} has no reason", dependency.name);
                findings.push(Finding::new(&member.manifest, 1, what, format!("add a row to {PAGE}")));
            }
        }
    }
    for (name, line) in rows.iter().filter(|(name, _)| !used.contains(**name)) {
        let what = format!("no crate depends on {name}");
        findings.push(Finding::new(PAGE, *line, what, "remove the name, and its line in Cargo.toml"));
    }
    findings
}

fn check_stacks(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (kind, names) in STACKS {
        let found: Vec<String> = graph
            .outside
            .iter()
            .filter(|package| names.contains(&package.name.as_str()))
            .map(|package| format!("{} {}", package.name, package.version))
            .collect();
        let first = names.first().copied().unwrap_or_default();
        let other =
            graph.outside.iter().any(|package| names.iter().skip(1).any(|name| package.name == *name));
        if found.len() > 1 || other {
            let what = format!("the {kind} stack is {first} alone, and the tree has {}", found.join(", "));
            findings.push(Finding::new("Cargo.lock", 1, what, "see who brings it with cargo tree -i"));
        }
    }
    findings
}

/// The names in the first column of the table, each with its line.
fn rows(page: &str) -> BTreeMap<&str, usize> {
    let mut rows = BTreeMap::new();
    for (line, number) in page.lines().zip(1..) {
        let Some(first) = line.strip_prefix('|').and_then(|rest| rest.split('|').next()) else { continue };
        if first.trim() == "crate" || first.trim().starts_with('-') {
            continue;
        }
        for name in first.split(',') {
            let name = name.split('(').next().unwrap_or_default();
            rows.insert(name.trim().trim_matches('`'), number);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Dependency, Member, Outside};
    use super::*;

    fn graph(direct: &[&str], tree: &[(&str, &str)]) -> Graph {
        let dependency = |name: &&str| Dependency { name: (*name).to_owned(), dev: false, ours: false };
        let outside = |(name, version): &(&str, &str)| Outside {
            name: (*name).to_owned(),
            version: (*version).to_owned(),
            licence: "MIT".to_owned(),
        };
        let manifest = "crates/core/Cargo.toml".to_owned();
        let dependencies = direct.iter().map(dependency).collect();
        let member = Member { name: "tutti-core".to_owned(), manifest, dependencies };
        Graph { members: vec![member], outside: tree.iter().map(outside).collect() }
    }

    fn found(page: &str, graph: &Graph) -> Vec<String> {
        check(&Tree::of(&[(PAGE, page)]), graph).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_without_a_reason_and_a_reason_without_a_dependency() {
        let page = "# Title\n\n| crate | why |\n|---|---|\n| serde, `serde_json` | JSON |\n| rusqlite (bundled) | state |\n";
        assert_eq!(found(page, &graph(&["serde", "serde_json", "rusqlite"], &[])), [""; 0]);
        let found = found(page, &graph(&["serde", "rusqlite", "rand"], &[]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/core/Cargo.toml:1: rand has no reason"), "{found:?}");
        assert!(found[1].starts_with("docs/dependencies.md:5: no crate depends on serde_json"), "{found:?}");
    }

    #[test]
    fn a_second_stack_is_found_be_it_another_or_another_version() {
        let stacks = |tree: &[(&str, &str)]| found("", &graph(&[], tree)).len();
        assert_eq!(stacks(&[("rustls", "0.23.1"), ("hyper", "1.0.0"), ("tokio", "1.0.0")]), 0);
        assert_eq!(stacks(&[("rustls", "0.23.1"), ("native-tls", "0.2.0")]), 1);
        assert_eq!(stacks(&[("openssl", "0.10.0")]), 1);
        assert_eq!(stacks(&[("hyper", "1.0.0"), ("hyper", "0.14.0")]), 1);
        assert_eq!(
            stacks(&[("libsqlite3-sys", "0.30.0"), ("libsqlite3-sys", "0.35.0"), ("ureq", "3.0.0")]),
            2
        );
    }
}
