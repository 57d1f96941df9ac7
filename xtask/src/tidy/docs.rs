//! Error pages and their codes, links between files, changelog fragments.

use std::collections::BTreeMap;

use super::Finding;
use super::tree::Tree;

const CODES: &str = "crates/core/src/code.rs";
const PAGES: &str = "docs/errors/";
const FRAGMENTS: &str = "changelog.d/";

/// Checks all of it.
pub fn check(tree: &Tree) -> Vec<Finding> {
    [error_pages(tree), links(tree), fragments(tree)].concat()
}

fn error_pages(tree: &Tree) -> Vec<Finding> {
    let codes = codes(tree.text(CODES).unwrap_or_default());
    let mut findings = Vec::new();
    for (code, (line, title)) in &codes {
        let path = format!("{PAGES}{code}.md");
        let Some(page) = tree.text(&path) else {
            let what = format!("{code} has no page");
            findings.push(Finding::new(CODES, *line, what, format!("write {path}: cause and remedy")));
            continue;
        };
        let heading = format!("# {code}: {title}");
        if page.lines().next() != Some(&heading) {
            let what = format!("the page does not begin with the title of its code in {CODES}");
            findings.push(Finding::new(&path, 1, what, format!("begin with `{heading}`")));
        }
        for section in ["## Cause", "## Remedy"] {
            if !page.lines().any(|line| line == section) {
                findings.push(Finding::new(&path, 1, format!("no section `{section}`"), "write it"));
            }
        }
    }
    for (path, _) in tree.texts().filter(|(path, _)| path.starts_with(PAGES)) {
        let name = path.strip_prefix(PAGES).and_then(|name| name.strip_suffix(".md")).unwrap_or(path);
        if name != "README" && !codes.contains_key(name) {
            let what = "a page without its code";
            findings.push(Finding::new(path, 1, what, format!("add {name} to {CODES}, or remove the page")));
        }
    }
    findings
}

/// The lines `NAME = 301, "Title";` as TUT0301, with line and title.
fn codes(source: &str) -> BTreeMap<String, (usize, &str)> {
    let mut codes = BTreeMap::new();
    for (line, number) in source.lines().zip(1..) {
        let entry = line.trim().strip_suffix("\";").and_then(|line| line.split_once(", \""));
        let Some((left, title)) = entry else { continue };
        let Some(code) = left.split_once(" = ").and_then(|(_, code)| code.parse::<u16>().ok()) else {
            continue;
        };
        codes.insert(format!("TUT{code:04}"), (number, title));
    }
    codes
}

fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in targets(text) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty()
                || ["http:", "https:", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
            {
                continue;
            }
            if !resolve(path, file).is_some_and(|file| tree.has(&file)) {
                let what = format!("the link to {file} leads nowhere");
                findings.push(Finding::new(path, line, what, "correct it, or write what it should lead to"));
            }
        }
    }
    findings
}

/// The targets of `[text](target)`, outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second part lies between backticks.
        for plain in line.split('`').step_by(2) {
            for part in plain.split("](").skip(1) {
                let target = part.split([')', ' ']).next().unwrap_or_default();
                found.push((number, target));
            }
        }
    }
    found
}

/// A relative link as a path below the root; `None` if it leaves the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!link.starts_with('/')).then(|| parts.join("/"))
}

fn fragments(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all = tree.texts().filter_map(|(path, text)| Some((path, path.strip_prefix(FRAGMENTS)?, text)));
    for (path, name, text) in all.filter(|(_, name, _)| *name != "README.md") {
        let words =
            name.strip_suffix(".md").map(|name| name.split('-').collect::<Vec<_>>()).unwrap_or_default();
        let plain = |word: &&str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if words.len() < 2 || !words.iter().all(plain) {
            let todo = "name it <area>-<slug>.md, in lower case";
            findings.push(Finding::new(path, 1, "not a name of a fragment", todo));
        }
        if text.trim().is_empty() || text.trim_end().lines().count() != 1 {
            let todo = "write one line for the reader of a release note";
            findings.push(Finding::new(path, 1, "a fragment is one line", todo));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_code_has_its_page_and_each_page_its_code() {
        const SOURCE: &str = "codes! {\n    // 01xx\n    BAD = 101, \"It is bad\";\n}\n";
        let page = |text| found(&[(CODES, SOURCE), ("docs/errors/TUT0101.md", text)]);
        assert_eq!(page("# TUT0101: It is bad\n\n## Cause\nA.\n\n## Remedy\nB.\n"), [""; 0]);
        let missing = found(&[(CODES, SOURCE)]);
        assert!(
            missing.len() == 1 && missing[0].starts_with("crates/core/src/code.rs:3: TUT0101 has no page")
        );
        let title = page("# TUT0101: It is worse\n\n## Cause\nA.\n\n## Remedy\nB.\n");
        assert!(title.len() == 1 && title[0].contains("begin with `# TUT0101: It is bad`"), "{title:?}");
        let section = page("# TUT0101: It is bad\n\n## Cause\nA.\n");
        assert!(section.len() == 1 && section[0].contains("no section `## Remedy`"), "{section:?}");
        let stale = found(&[("docs/errors/TUT0999.md", "# TUT0999: Gone\n\n## Cause\n## Remedy\n")]);
        assert!(stale.len() == 1 && stale[0].contains("a page without its code"), "{stale:?}");
    }

    #[test]
    fn links_lead_to_files_folders_or_out() {
        let text = "[a](../README.md) [b](#here) [c](https://x.org/y) [d](errors) [e](errors/E.md#f) `[g](gone)`\n\
            ```\n[h](gone.md)\n```\n[i](gone.md) and [j](../../out.md)\n[k](/README.md)\n";
        let files =
            [("docs/a.md", text), ("README.md", ""), ("docs/errors/README.md", ""), ("docs/errors/E.md", "")];
        let found =
            found(&files).into_iter().filter(|line| line.starts_with("docs/a.md")).collect::<Vec<_>>();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("docs/a.md:5: the link to gone.md leads nowhere"), "{found:?}");
        assert!(found[1].starts_with("docs/a.md:5: the link to ../../out.md"), "{found:?}");
        assert!(found[2].starts_with("docs/a.md:6: the link to /README.md"), "{found:?}");
    }

    #[test]
    fn a_fragment_is_one_line_with_a_plain_name() {
        assert_eq!(
            found(&[("changelog.d/store-sqlite.md", "State.\n"), ("changelog.d/README.md", "a\nb\n")]),
            [""; 0]
        );
        for (path, text) in [
            ("changelog.d/store.md", "State.\n"),
            ("changelog.d/Store-a.md", "State.\n"),
            ("changelog.d/store-a.txt", "State.\n"),
            ("changelog.d/store-a.md", "One.\nTwo.\n"),
            ("changelog.d/store-a.md", "\n"),
        ] {
            assert_eq!(found(&[(path, text)]).len(), 1, "{path}");
        }
    }
}
