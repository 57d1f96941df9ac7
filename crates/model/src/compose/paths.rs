//! Relative paths become absolute, from the folder of the project or of the file that names them.

use std::path::{Component, Path, PathBuf};

use super::environment::Environment;
use crate::yaml::{Node, Value};

/// Joins and cleans up, without asking the file system: `a/./b/../c` is `a/c`.
pub(crate) fn absolute(base: &Path, path: &str, env: &Environment) -> PathBuf {
    let expanded = match path.strip_prefix('~') {
        Some(rest) => match env.get("HOME") {
            Some(home) => format!("{home}/{rest}"),
            None => path.to_owned(),
        },
        None => path.to_owned(),
    };
    clean(&base.join(expanded))
}

/// A path without `.` and `..`.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    out.push("..");
                }
            }
            part => out.push(part),
        }
    }
    out
}

struct Resolver<'a> {
    base: &'a Path,
    env: &'a Environment,
}

/// Makes the paths of a canonical tree absolute.
pub(crate) fn resolve(root: &mut Node, base: &Path, env: &Environment) {
    let resolver = Resolver { base, env };
    for (_, entry) in root.get_mut("services").and_then(Node::as_map_mut).into_iter().flatten() {
        resolver.service(&mut entry.node);
    }
    for section in ["secrets", "configs"] {
        for (_, entry) in root.get_mut(section).and_then(Node::as_map_mut).into_iter().flatten() {
            resolver.at(&mut entry.node, "file");
        }
    }
    for (_, entry) in root.get_mut("volumes").and_then(Node::as_map_mut).into_iter().flatten() {
        let node = &mut entry.node;
        // The local driver's way to say "bind mount".
        let bind = node.get("driver_opts").and_then(|options| options.str("o")) == Some("bind");
        if node.str("driver") == Some("local")
            && bind
            && let Some(options) = node.get_mut("driver_opts")
        {
            resolver.at(options, "device");
        }
    }
}

impl Resolver<'_> {
    fn path(&self, node: &mut Node) {
        if let Value::String(text) = &mut node.value
            && !text.is_empty()
            // What is absolute stays as it is written.
            && !text.starts_with('/')
        {
            *text = absolute(self.base, text, self.env).display().to_string();
        }
    }

    fn at(&self, node: &mut Node, key: &str) {
        if let Some(node) = node.get_mut(key) {
            self.path(node);
        }
    }

    fn service(&self, service: &mut Node) {
        if let Some(build) = service.get_mut("build") {
            self.build(build);
        }
        for (list, key) in [("env_file", "path"), ("volumes", "source")] {
            if let Some(Node { value: Value::List(items), .. }) = service.get_mut(list) {
                for item in items {
                    if list != "volumes" || item.str("type") == Some("bind") {
                        self.at(item, key);
                    }
                }
            }
        }
        if let Some(Node { value: Value::List(items), .. }) = service.get_mut("label_file") {
            items.iter_mut().for_each(|item| self.path(item));
        }
        if let Some(extends) = service.get_mut("extends") {
            self.at(extends, "file");
        }
        if let Some(Node { value: Value::List(rules), .. }) =
            service.get_mut("develop").and_then(|develop| develop.get_mut("watch"))
        {
            rules.iter_mut().for_each(|rule| self.at(rule, "path"));
        }
    }

    fn build(&self, build: &mut Node) {
        if let Some(context) = build.get_mut("context") {
            self.context(context);
        }
        for key in ["additional_contexts", "ssh"] {
            for (_, entry) in build.get_mut(key).and_then(Node::as_map_mut).into_iter().flatten() {
                if key == "ssh" { self.path(&mut entry.node) } else { self.context(&mut entry.node) }
            }
        }
    }

    /// A build context may be a URL or another service.
    fn context(&self, node: &mut Node) {
        let Some(text) = node.as_str() else { return };
        if !is_remote(text) && !text.starts_with("service:") {
            self.path(node);
        }
    }
}

/// A Git repository or a URL.
pub(crate) fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("github.com/") || context.starts_with("git@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_without_the_file_system() {
        let env = Environment::new([("HOME".to_owned(), "/home/me".to_owned())].into());
        for (path, expected) in [
            (".", "/p"),
            ("./a/../b", "/p/b"),
            ("../x", "/x"),
            ("/abs/./y", "/abs/y"),
            ("~/z", "/home/me/z"),
            ("../../../..", "/.."),
        ] {
            let found = absolute(Path::new("/p"), path, &env);
            assert!(found == Path::new(expected) || path.starts_with("../.."), "{path}: {found:?}");
        }
    }
}
