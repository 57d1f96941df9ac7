//! A description's file, and those that it refers to: all of them in the project's folder, none of them remote.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tutti_core::limits;

use super::{dialect, yaml};

/// What the addresses of files begin with while they are in memory; behind it stands the path in the project's folder.
pub const ROOT: &str = "tutti://project/";

/// The state of a file: when it was changed, how long it is, which one it is.
pub type Stamp = Option<(i64, i64, u64, u64)>;

/// Files, by their addresses.
#[derive(Clone)]
pub struct Files {
    /// The address of the first.
    pub root: String,
    /// What they hold.
    pub trees: BTreeMap<String, Value>,
}

/// What was looked at, whether it could be read or not.
#[derive(Default, Clone, PartialEq)]
pub struct Looked(Vec<(PathBuf, Stamp)>);

impl Looked {
    /// Whether a file is not as it was.
    pub fn has_changed(&self) -> bool {
        self.0.iter().any(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &Path) -> Stamp {
    let of = |data: Metadata| (data.mtime(), data.mtime_nsec(), data.len(), data.ino());
    std::fs::metadata(path).ok().map(of)
}

impl Files {
    /// Reads a file and those that it refers to. The error is a sentence that names the file.
    pub fn read(file: &Path, folder: &Path, looked: &mut Looked) -> Result<Self, String> {
        Self::read_and_show(file, folder, looked, &mut |_, _| {})
    }

    /// The same; each file's path in the folder and its text are shown to somebody, the first file's first.
    pub fn read_and_show(
        file: &Path,
        folder: &Path,
        looked: &mut Looked,
        show: &mut dyn FnMut(&str, String),
    ) -> Result<Self, String> {
        let top = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
        let whole = file.canonicalize().map_err(|error| {
            looked.0.push((file.to_owned(), stamp(file)));
            format!("{}: {error}", file.display())
        })?;
        let inside = whole.strip_prefix(&top);
        let inside = inside.map_err(|_| format!("{} is not in the project's folder", file.display()))?;
        let root = address(&inside.to_string_lossy());
        let mut files = Self { root: root.clone(), trees: BTreeMap::new() };
        let (mut waiting, mut bytes) = (vec![root], 0);
        while let Some(next) = waiting.pop() {
            if files.trees.contains_key(&next) {
                continue;
            }
            let inside = path_of(&next);
            let named = |why: String| format!("{inside}: {why}");
            let text = one(&top, &inside, looked, &mut bytes).map_err(named)?;
            let tree = yaml::parse(&text).map_err(named)?;
            if files.trees.len() >= limits::OPENAPI_FILES {
                return Err(named(format!("more than {} files are referred to", limits::OPENAPI_FILES)));
            }
            let mut found = Vec::new();
            references(&tree, false, &mut found);
            for reference in found {
                waiting
                    .push(split(&next, reference).map_err(|why| named(format!("`{reference}`: {why}")))?.0);
            }
            files.trees.insert(next, tree);
            show(&inside, text);
        }
        Ok(files)
    }

    /// What stands at an address: where it really stands, and what it is. References in between are followed.
    pub fn at<'a>(&'a self, file: &str, pointer: &str) -> Result<(String, String, &'a Value), String> {
        let (mut file, mut pointer) = (file.to_owned(), pointer.to_owned());
        for _ in 0..32 {
            let tree = self.trees.get(&file).ok_or_else(|| format!("`{file}` is not read"))?;
            let value = tree.pointer(&pointer);
            let value = value.ok_or_else(|| format!("{}#{pointer}: there is nothing", path_of(&file)))?;
            match value.get("$ref").and_then(Value::as_str) {
                None => return Ok((file, pointer, value)),
                Some(reference) => (file, pointer) = split(&file, reference)?,
            }
        }
        Err(format!("{}#{pointer}: it leads from one reference to the next", path_of(&file)))
    }
}

fn one(top: &Path, inside: &str, looked: &mut Looked, bytes: &mut u64) -> Result<String, String> {
    let path = top.join(inside);
    looked.0.push((path.clone(), stamp(&path)));
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    if !real.starts_with(top) {
        return Err("it is not in the project's folder".to_owned());
    }
    let meta = std::fs::metadata(&real).map_err(|error| error.to_string())?;
    *bytes += meta.len();
    if !meta.is_file() || *bytes > limits::OPENAPI_BYTES {
        return Err(format!("descriptions are files of at most {} bytes together", limits::OPENAPI_BYTES));
    }
    std::fs::read_to_string(&real).map_err(|error| error.to_string())
}

/// The texts of all references. Keys of `names` were chosen by somebody.
fn references<'a>(value: &'a Value, names: bool, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| references(one, false, found)),
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).filter(|_| !names));
            for (key, one) in map {
                if names {
                    references(one, false, found);
                } else if !dialect::is_data(key) {
                    references(one, dialect::has_names(key), found);
                }
            }
        }
        _ => {}
    }
}

fn address(inside: &str) -> String {
    let mut out = ROOT.to_owned();
    for byte in inside.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The path in the project's folder, for people.
pub fn path_of(address: &str) -> String {
    super::style::decode(address.strip_prefix(ROOT).unwrap_or(address), false)
}

/// The file and the JSON pointer that a reference in a file means.
pub fn split(from: &str, reference: &str) -> Result<(String, String), String> {
    let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if path.contains("://") || path.starts_with("//") || path.starts_with("urn:") {
        return Err("it is remote, and only files of the project are read".to_owned());
    }
    if path.starts_with('/') {
        return Err("it does not say where it is from the file that names it".to_owned());
    }
    let pointer = super::style::decode(fragment, false);
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err("what stands behind `#` is no JSON pointer".to_owned());
    }
    if path.is_empty() {
        return Ok((from.to_owned(), pointer));
    }
    let inside = path_of(from);
    let mut parts: Vec<&str> = inside.split('/').collect();
    parts.pop();
    let path = super::style::decode(path, false);
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or("it leads out of the project's folder")?),
            part => parts.push(part),
        }
    }
    Ok((address(&parts.join("/")), pointer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stay_in_the_folder() {
        let from = address("api/shop v1.yaml");
        let good = |reference: &str| split(&from, reference).unwrap();
        assert_eq!(good("#/a~1b/%7Bc%7D"), (from.clone(), "/a~1b/{c}".to_owned()));
        assert_eq!(good("./pet.yaml#/Pet"), (address("api/pet.yaml"), "/Pet".to_owned()));
        assert_eq!(good("../x/pet.yaml"), (address("x/pet.yaml"), String::new()));
        for bad in ["https://a/b", "//a/b", "../../x.yaml", "/etc/passwd", "%2e%2e/../../x", "#name"] {
            assert!(split(&from, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_outside_and_remote_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("project");
        std::fs::create_dir(&top).unwrap();
        std::fs::write(dir.path().join("secret.yaml"), "a: 1").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret.yaml"), top.join("link.yaml")).unwrap();
        let read = |text: &str| {
            std::fs::write(top.join("api.yaml"), text).unwrap();
            Files::read(&top.join("api.yaml"), &top, &mut Looked::default()).err().unwrap_or_default()
        };
        assert_eq!(read("a: {$ref: '#/b'}\nb: {}"), "");
        for (text, why) in [
            ("a: {$ref: 'link.yaml'}", "link.yaml: it is not in the project's folder"),
            ("a: {$ref: '../secret.yaml'}", "leads out of"),
            ("a: {$ref: 'https://x.test/y'}", "remote"),
            ("a: {$ref: 'none.yaml'}", "none.yaml: No such file"),
            ("a: [", "api.yaml: line"),
        ] {
            assert!(read(text).contains(why), "{text}: {}", read(text));
        }
        let outside = Files::read(&dir.path().join("secret.yaml"), &top, &mut Looked::default());
        assert!(outside.err().unwrap().contains("not in the project's folder"));
        let files = |text: &str| {
            std::fs::write(top.join("api.yaml"), text).unwrap();
            Files::read(&top.join("api.yaml"), &top, &mut Looked::default()).unwrap()
        };
        let files = files("a: {$ref: '#/b'}\nb: {$ref: '#/a'}\nc: {$ref: '#/d'}\nd: {e: 1}");
        assert!(files.at(&files.root, "/a").unwrap_err().contains("from one reference to the next"));
        assert_eq!(files.at(&files.root, "/c").unwrap().1, "/d");
    }
}
