//! No path of anybody's machine in a file: it would work for its author alone, and tell about them.

use super::Finding;
use super::tree::Tree;

/// Folders of people and of machines, right below the root of the file system.
const ROOTS: [&str; 5] = ["home", "root", "work", "tmp", "Users"];

/// Where such a path is meant: the beginning of the file's path, the folders, and why.
const ALLOWED: [(&str, &[&str], &str); 4] = [
    ("xtask/src/tidy/hygiene.rs", &ROOTS, "the rule itself"),
    ("crates/model/", IN_CONTAINERS, "compose files"),
    ("crates/supervisor/src/infer/", IN_CONTAINERS, "Dockerfiles"),
    ("examples/", IN_CONTAINERS, "compose files and Dockerfiles"),
];

/// What files of users name because it lies in a container.
const IN_CONTAINERS: &[&str] = &["home", "root", "tmp"];

/// Checks every text file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        let allowed =
            ALLOWED.iter().find(|(folder, ..)| path.starts_with(folder)).map_or(&[][..], |rule| rule.1);
        for (line, number) in text.lines().zip(1..) {
            for found in machine_paths(line).filter(|found| !allowed.contains(&root_of(found))) {
                let todo = "use a relative path, or a temporary directory of the test's own; \
                    where it is meant, allow it in xtask/src/tidy/hygiene.rs";
                findings.push(Finding::new(path, number, format!("the path {found} of a machine"), todo));
            }
        }
    }
    findings
}

fn root_of(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// The paths of a machine in a line: `/home/…` at the beginning of a path, not inside of one.
fn machine_paths(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices('/').filter_map(|(at, _)| {
        let before = line.get(..at)?.chars().next_back();
        // Inside of a path, or of a URL, or after something that makes it one.
        if before.is_some_and(|c| c.is_alphanumeric() || "/_.-~}*$:@)".contains(c)) {
            return None;
        }
        let rest = line.get(at + 1..)?;
        let (root, inside) = rest.split_once('/')?;
        let begins = inside.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        if !ROOTS.contains(&root) || !begins {
            return None;
        }
        let end = rest.find(|c: char| c.is_whitespace() || "\"'`()<>,;".contains(c)).unwrap_or(rest.len());
        line.get(at..at + 1 + end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_machine_is_found_and_what_looks_like_one_is_not() {
        for (line, expected) in [
            ("cd /home/ann/tutti && make", Some("/home/ann/tutti")),
            ("\"/tmp/x\"", Some("/tmp/x")),
            ("PATH=/root/.cargo/bin", Some("/root/.cargo/bin")),
            ("`/Users/ann`", Some("/Users/ann")),
            ("(/work/x)", Some("/work/x")),
            ("src/tmp/x and ./home/x and ~/work/x", None),
            ("https://example.org/home/x", None),
            ("GET /home and /tmp/", None),
            ("${DIR}/tmp/x $HOME/work/x", None),
        ] {
            assert_eq!(machine_paths(line).next(), expected, "{line}");
        }
        let tree = Tree::of(&[
            ("README.md", "a\nsee /tmp/x\n"),
            ("xtask/src/tidy/hygiene.rs", "/work/x"),
            ("crates/model/src/health/tests.rs", "test -f /tmp/x || cat /work/x"),
        ]);
        let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("README.md:2: the path /tmp/x"), "{found:?}");
        assert!(found[1].starts_with("crates/model/src/health/tests.rs:1: the path /work/x"), "{found:?}");
    }
}
