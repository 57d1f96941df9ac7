//! `cargo xtask tidy`: the house rules as a program. Every finding is printed, each with what to do.
//!
//! | module | rule |
//! |---|---|
//! | [`floors`] | which crate may depend on which; who may depend on hyper and rustls |
//! | [`sources`] | module docs, sizes, names of sockets, `unsafe`, purity of `model/` |
//! | [`licences`] | every licence in the tree is permissive |
//! | [`dependencies`] | a reason for each direct dependency; one TLS, SQLite and HTTP stack |
//! | [`docs`] | error pages, links, changelog fragments |
//! | [`hygiene`] | no path of anybody's machine in the files |

mod dependencies;
mod docs;
mod floors;
mod graph;
mod hygiene;
mod lexer;
mod licences;
mod sources;
mod tree;

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use anyhow::Result;

use crate::shell;
use graph::Graph;
use tree::Tree;

/// Hold the house rules: floors, sizes, licences, docs, format, lints.
#[derive(clap::Args)]
pub struct Args {
    /// Only what is read from files: neither format nor lints.
    #[arg(long)]
    quick: bool,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    file: String,
    line: usize,
    what: String,
    todo: String,
}

impl Finding {
    /// Lines count from 1.
    pub fn new(file: &str, line: usize, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into(), todo: todo.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} → {}", self.file, self.line, self.what, self.todo)
    }
}

/// Every rule over a tree and its dependency graph; sorted, each finding once.
pub fn check(tree: &Tree, graph: &Graph) -> Vec<Finding> {
    let rules = [
        floors::check(graph),
        sources::check(tree),
        licences::check(graph),
        dependencies::check(tree, graph),
        docs::check(tree),
        hygiene::check(tree),
    ];
    rules.concat().into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Checks the repository.
pub fn run(args: &Args) -> Result<ExitCode> {
    let findings = check(&Tree::of_repository()?, &Graph::of_repository()?);
    for finding in &findings {
        println!("{finding}");
    }
    let mut well = findings.is_empty();
    if !args.quick {
        let lints = ["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-D", "warnings"];
        for (what, arguments) in [("format", &["fmt", "--all", "--check"][..]), ("lints", &lints[..])] {
            if !shell::succeeds(shell::cargo().args(arguments))? {
                println!("{what}: see above → cargo {}", arguments.join(" "));
                well = false;
            }
        }
    }
    println!("{}", if well { "tidy".to_owned() } else { format!("not tidy: {} findings", findings.len()) });
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests;
