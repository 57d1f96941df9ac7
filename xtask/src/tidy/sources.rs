//! Rules for Rust files: module docs, sizes, names of sockets, `unsafe`, purity of `model/`.

use super::Finding;
use super::lexer::{braces, code_only, line_of, without_tests, words};
use super::tree::Tree;

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// The one crate that names sockets, HTTP and TLS.
const NET: &str = "net";
const UNSAFE: [&str; 3] = ["supervisor", "net", "host"];

/// What only `net` may name, also in tests. That nobody else depends on the crates is the rule of `floors`.
const WIRE: [&str; 5] = ["tokio::net", "hyper", "hyper_util", "rustls", "tokio_rustls"];
/// What only `net` may name outside of tests.
const SOCKETS: [&str; 4] =
    ["std::net::TcpListener", "std::net::TcpStream", "std::net::UdpSocket", "std::os::unix::net"];
/// What a `model/` folder is free of.
const IMPURE: [&str; 10] = [
    "async",
    "await",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::process",
    "std::thread",
    "rusqlite",
    "File::open",
];

/// A file under its rules.
struct File<'a> {
    path: &'a str,
    text: &'a str,
    /// Without comments and the insides of strings.
    code: String,
    /// And without tests; empty for a file that is only tests.
    product: String,
}

impl<'a> File<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let code = code_only(text);
        let product = if is_test(path) { String::new() } else { without_tests(&code) };
        Self { path, text, code, product }
    }

    /// The crate's folder below `crates/`.
    fn room(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    fn finding(&self, line: usize, what: impl Into<String>, todo: &str) -> Finding {
        Finding::new(self.path, line, what, todo)
    }
}

fn is_test(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts.iter().any(|part| ["tests", "benches", "fuzz"].contains(part)) || path.ends_with("/tests.rs")
}

/// Checks every Rust file of the workspace.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let ours = |path: &str| {
        path.ends_with(".rs") && ["crates/", "xtask/", "fuzz/"].iter().any(|folder| path.starts_with(folder))
    };
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| ours(path)) {
        let file = File::new(path, text);
        for rule in [docs, size, functions, wire, unsafety, purity] {
            findings.extend(rule(&file));
        }
    }
    findings
}

fn docs(file: &File<'_>) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    let todo = "begin with `//!`: what it is for, what it promises";
    vec![file.finding(1, "the file does not say what it is for", todo)]
}

fn size(file: &File<'_>) -> Vec<Finding> {
    // Up to the last line that is not a test; tests stand at the end.
    let lines = file.product.trim_end().lines().count();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    let what = format!("{lines} lines without tests; the limit is {FILE_LINES}");
    vec![file.finding(FILE_LINES + 1, what, "split it by what it is about")]
}

fn functions(file: &File<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in words(&file.product, "fn") {
        let rest = file.product.get(at..).unwrap_or_default();
        // A type `fn(…)` has no name; a declaration in a trait has no body.
        let Some(name) = rest.get(2..).map(str::trim_start).and_then(|rest| rest.split(['(', '<']).next())
        else {
            continue;
        };
        let Some(open) =
            rest.find(['{', ';']).filter(|at| rest.get(*at..).is_some_and(|r| r.starts_with('{')))
        else {
            continue;
        };
        let body = rest.get(open..).unwrap_or_default();
        let body = body.get(..braces(body)).unwrap_or_default();
        let lines = body.lines().filter(|line| !line.trim().is_empty()).count().saturating_sub(2);
        if !name.is_empty() && lines > FUNCTION_LINES {
            let what = format!("the function {name} has {lines} lines; the limit is {FUNCTION_LINES}");
            findings.push(file.finding(line_of(&file.product, at), what, "split it: ifs up, loops down"));
        }
    }
    findings
}

fn wire(file: &File<'_>) -> Vec<Finding> {
    if file.room().is_none_or(|room| room == NET) {
        return Vec::new();
    }
    let todo = "go through tutti-net";
    let in_all = WIRE.iter().flat_map(|path| named(&file.code, path).into_iter().map(move |at| (at, *path)));
    let outside_of_tests =
        SOCKETS.iter().flat_map(|path| named(&file.product, path).into_iter().map(move |at| (at, *path)));
    in_all
        .chain(outside_of_tests)
        .map(|(at, path)| file.finding(line_of(&file.code, at), format!("names {path}"), todo))
        .collect()
}

/// Where a path is named, be it inside of a group: `use tokio::{net::TcpListener, sync}` names `tokio::net`.
fn named(code: &str, path: &str) -> Vec<usize> {
    let Some((parent, last)) = path.rsplit_once("::") else {
        // The crate itself: at the beginning of a path, and not a field, a local or part of another path.
        return words(code, path)
            .filter(|at| {
                let before = code.get(..*at).unwrap_or_default().trim_end();
                let after = code.get(at + path.len()..).unwrap_or_default().trim_start();
                let imported = before.ends_with("use") && after.starts_with([';', ' ', 'a']);
                let rooted = !before.ends_with("::") || before.ends_with(" ::") || before.ends_with("(::");
                rooted && (after.starts_with("::") || imported)
            })
            .collect();
    };
    let mut found: Vec<usize> = words(code, path).collect();
    for at in words(code, parent) {
        let start = at + parent.len();
        let Some(group) = code.get(start..).filter(|rest| rest.starts_with("::{")) else { continue };
        let group = group.get(2..).unwrap_or_default();
        let items = group.get(..braces(group)).unwrap_or_default();
        found.extend(top_level(items, last).map(|offset| start + 2 + offset));
    }
    // A longer path may be split at any of its `::`.
    if let Some((grand, middle)) = parent.rsplit_once("::") {
        for at in words(code, grand) {
            let start = at + grand.len();
            let Some(group) = code.get(start..).filter(|rest| rest.starts_with("::{")) else { continue };
            let group = group.get(2..).unwrap_or_default();
            let items = group.get(..braces(group)).unwrap_or_default();
            let inner = format!("{middle}::{last}");
            found.extend(named(items, &inner).into_iter().map(|offset| start + 2 + offset));
        }
    }
    found
}

/// Where an item of a `{…}` group begins with a name.
fn top_level<'a>(group: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    words(group, name).filter(move |at| {
        let before = group.get(..*at).unwrap_or_default();
        let depth = before.matches('{').count().saturating_sub(before.matches('}').count());
        depth == 1 && before.trim_end().ends_with(['{', ','])
    })
}

fn unsafety(file: &File<'_>) -> Vec<Finding> {
    let allowed = file.room().is_some_and(|room| UNSAFE.contains(&room));
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for at in words(&file.code, "unsafe") {
        let line = line_of(&file.code, at);
        if !allowed {
            let todo = "unsafe code lives in supervisor, net and host; use a crate that has it right";
            findings.push(file.finding(line, "unsafe code", todo));
        } else if !explained(&lines, line) {
            let todo = "say above it, in a comment that begins with SAFETY, why it holds";
            findings.push(file.finding(line, "unsafe code without its reason", todo));
        }
    }
    findings
}

/// Whether the comment right above a line, or the line itself, gives the reason.
fn explained(lines: &[&str], line: usize) -> bool {
    let above = lines.iter().take(line - 1).rev().take_while(|line| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    });
    above.chain(lines.get(line - 1)).any(|line| line.contains("SAFETY") || line.contains("# Safety"))
}

fn purity(file: &File<'_>) -> Vec<Finding> {
    let inside = file.path.split_once("/src/").is_some_and(|(_, rest)| rest.starts_with("model/"));
    if !inside || file.room().is_none() {
        return Vec::new();
    }
    let todo = "a state machine takes time and input as values; move this into the shell around it";
    let found = IMPURE.iter().flat_map(|path| words(&file.product, path).map(move |at| (at, *path)));
    found
        .map(|(at, path)| file.finding(line_of(&file.product, at), format!("{path} in model/"), todo))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    fn starts(path: &str, text: &str, expected: &[&str]) {
        let found = found(path, text);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(&format!("{path}{expected}")), "{found} is not {expected}");
        }
    }

    #[test]
    fn a_file_begins_with_what_it_is_for() {
        starts("crates/core/src/a.rs", "//! A.\n", &[]);
        starts("crates/core/src/a.rs", "// A.\n//! A.\n", &[":1: the file does not say"]);
        starts("crates/core/tests/a.rs", "fn a() {}\n", &[":1: the file does not say"]);
        starts("examples/shop/a.rs", "fn a() {}\n", &[]);
    }

    #[test]
    fn long_files_and_functions_are_found_and_tests_do_not_count() {
        let lines = |count: usize| "const A: u8 = 1;\n".repeat(count);
        let path = "crates/core/src/a.rs";
        starts(path, &format!("//! A.\n{}", lines(499)), &[]);
        starts(path, &format!("//! A.\n{}", lines(500)), &[":501: 501 lines without tests"]);
        let tests = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(600));
        starts(path, &tests, &[]);
        starts("crates/core/src/a/tests.rs", &format!("//! A.\n{}", lines(600)), &[]);
        let function = |count: usize| {
            let body = "    // not counted {\n\n    call(\"}\");\n".repeat(count);
            format!("//! A.\nimpl A {{\n    fn long<T>(&self) -> u8 {{\n{body}    }}\n}}\ntype F = fn(u8);\n")
        };
        starts(path, &function(70), &[]);
        starts(path, &function(71), &[":3: the function long has 71 lines"]);
        starts("crates/core/tests/a.rs", &function(71), &[]);
    }

    #[test]
    fn only_net_names_the_wire_in_whatever_spelling() {
        for text in [
            "use tokio::net::TcpListener;",
            "use tokio::{net::TcpStream, sync::Mutex};",
            "use tokio::{\n    sync::{Mutex, mpsc},\n    net,\n};",
            "fn f() { tokio::net::lookup_host(1); }",
            "use hyper::body::Body;",
            "use ::hyper::Request;",
            "use rustls as tls;",
            "use std::net::{SocketAddr, TcpStream};",
            "use std::{net::{IpAddr, TcpListener}, io};",
            "use std::os::unix::net::UnixStream;",
        ] {
            let text = format!("//! A.\n{text}\n");
            assert_eq!(found("crates/proxy/src/a.rs", &text).len(), 1, "{text}");
            assert_eq!(found("crates/net/src/a.rs", &text), [""; 0]);
        }
        for text in [
            "use tokio::sync::{net_like, Mutex};",
            "use tokio::{sync::net, time};",
            "use std::net::{SocketAddr, IpAddr};",
            "// use hyper::Body;\nconst A: &str = \"tokio::net\";",
            "use tutti_net::hyper_free;",
            "fn f(hyper: u8) -> u8 { hyper }",
            "use crate::rustls::x;",
        ] {
            assert_eq!(found("crates/proxy/src/a.rs", &format!("//! A.\n{text}\n")), [""; 0], "{text}");
        }
        let own = "//! A.\nuse std::net::TcpListener;\n";
        assert_eq!(found("crates/proxy/tests/a.rs", own), [""; 0], "a test may listen by itself");
        assert_eq!(found("crates/proxy/tests/a.rs", "//! A.\nuse tokio::net::TcpListener;\n").len(), 1);
    }

    #[test]
    fn unsafe_has_two_homes_and_a_reason() {
        let bare = "//! A.\nfn a() {\n    unsafe { b() }\n}\n";
        let good = "//! A.\nfn a() {\n    // SAFETY: b is.\n    unsafe { b() }\n}\n";
        starts("crates/proxy/src/a.rs", good, &[":4: unsafe code →"]);
        starts("crates/net/src/a.rs", bare, &[":3: unsafe code without its reason"]);
        starts("crates/net/src/a.rs", good, &[]);
        starts("crates/supervisor/src/a.rs", good, &[]);
        starts("crates/proxy/src/a.rs", "//! A.\n#![deny(unsafe_code)]\nconst A: &str = \"unsafe\";\n", &[]);
    }

    #[test]
    fn a_model_folder_has_no_async_and_no_clock() {
        let text = "//! A.\nasync fn a() {\n    b().await;\n}\nfn c() -> Instant {\n    std::time::Instant::now()\n}\n";
        let expected = [":2: async in model/", ":3: await in model/", ":6: Instant::now in model/"];
        let mut found = found("crates/proxy/src/model/a.rs", text);
        found.sort();
        assert_eq!(found.len(), 3, "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
        starts("crates/model/src/a.rs", text, &[]);
        starts("crates/proxy/src/shell.rs", text, &[]);
        starts("crates/proxy/src/model/tests.rs", text, &[]);
    }
}
