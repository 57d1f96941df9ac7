//! API keys: secrets that programs were given, known here by their hashes alone.
//!
//! A key is looked up by its hash, and the table by a secret of the process: how long that takes says nothing about any
//! key. Keys must be long and random (that is why a plain hash is enough); whoever chooses their own is a user with
//! a password. A file of them is read again when it changes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::Request;
use tutti_net::Body;
use tutti_ports::routing;

use super::place::At;
use super::{Denied, Identity};
use crate::watched::{Shelf, Source, Watched};

/// The keys of a route.
pub struct ApiKeys {
    from: Vec<At>,
    table: Arc<Watched<Named>>,
}

/// What keys are made of: those that are named in the configuration, and a file of more.
#[derive(PartialEq)]
pub struct Named {
    keys: BTreeMap<String, String>,
    file: Option<PathBuf>,
}

/// Keys by their hashes.
#[derive(Default)]
pub struct Table {
    sha256: HashMap<[u8; 32], Identity>,
    blake3: HashMap<[u8; 32], Identity>,
}

impl Source for Named {
    type Made = Table;
    const KIND: &'static str = "api_keys";

    fn paths(&self) -> Vec<&PathBuf> {
        self.file.iter().collect()
    }

    fn make(&self) -> Result<Table, String> {
        let mut table = Table::default();
        for (name, hash) in &self.keys {
            table
                .add(name, hash)
                .ok_or_else(|| format!("the API key of {name:?} is not `sha256:HEX` or `blake3:HEX`"))?;
        }
        if let Some(path) = &self.file {
            for (at, line) in super::read(path)?.lines().enumerate() {
                let line = line.split('#').next().unwrap_or_default().trim();
                if line.is_empty() {
                    continue;
                }
                let added = line
                    .split_once(char::is_whitespace)
                    .and_then(|(name, hash)| table.add(name, hash.trim()));
                let place = || format!("{}:{}", path.display(), at + 1);
                added.ok_or_else(|| {
                    format!("{}: a line is `NAME sha256:HEX` or `NAME blake3:HEX`", place())
                })?;
            }
        }
        if table.sha256.is_empty() && table.blake3.is_empty() {
            let of = self.file.as_ref().map(|path| format!(" in {}", path.display())).unwrap_or_default();
            return Err(format!("there are no API keys{of}, so nobody could ask"));
        }
        Ok(table)
    }
}

impl Table {
    fn add(&mut self, name: &str, hash: &str) -> Option<()> {
        let (kind, hex) = hash.split_once(':')?;
        let table = match kind {
            "sha256" => &mut self.sha256,
            "blake3" => &mut self.blake3,
            _ => return None,
        };
        let name =
            Some(name).filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))?;
        table.insert(unhex(hex)?, Identity::named(name, true));
        Some(())
    }
}

impl ApiKeys {
    /// Compiles; reads the file.
    pub fn compile(keys: &routing::ApiKeys, shelf: &mut Shelf<Named>) -> Result<Self, String> {
        let from = keys.from.iter().map(At::compile).collect::<Result<_, _>>()?;
        let named = Named { keys: keys.keys.clone(), file: keys.file.clone() };
        Ok(Self { from, table: shelf.get(named)? })
    }

    /// The key of a request.
    pub fn presented(&self, request: &Request<Body>) -> Option<String> {
        self.from.iter().find_map(|at| at.read(request))
    }

    /// Whether something stands where a key would.
    pub fn is_there(&self, request: &Request<Body>) -> bool {
        self.from.iter().any(|at| at.is_there(request))
    }

    /// Whose it is.
    pub fn identify(&self, key: &str) -> Result<Identity, Denied> {
        let table = self.table.current();
        let by_sha256 = || {
            let hash = digest::digest(&digest::SHA256, key.as_bytes());
            table.sha256.get(hash.as_ref())
        };
        let found = if table.sha256.is_empty() { None } else { by_sha256() };
        let found = found.or_else(|| {
            if table.blake3.is_empty() {
                None
            } else {
                table.blake3.get(blake3::hash(key.as_bytes()).as_bytes())
            }
        });
        found.cloned().ok_or_else(|| Denied::Unknown("the API key is not known".to_owned()))
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = [0; 32];
    for (place, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *place = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_ports::routing::Place;

    // printf %s secret | sha256sum
    const SECRET: &str = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn keys(list: &[(&str, &str)], file: Option<&str>) -> Result<ApiKeys, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let file = file.map(|text| {
            std::fs::write(&path, text).unwrap();
            path
        });
        let keys: BTreeMap<_, _> = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let keys = routing::ApiKeys { from: vec![Place::Header("x-api-key".into())], keys, file };
        ApiKeys::compile(&keys, &mut Shelf::default())
    }

    #[test]
    fn keys_are_known_by_their_hashes() {
        let blake = format!("other blake3:{} # a comment\n\n# none\n", blake3::hash(b"two").to_hex());
        let keys = keys(&[("mobile", SECRET)], Some(&blake)).unwrap();
        let mobile = keys.identify("secret").unwrap();
        assert_eq!((&*mobile.name, mobile.fields[0].1.to_str().unwrap()), ("mobile", "mobile"));
        assert_eq!(&*keys.identify("two").unwrap().name, "other");
        assert!(matches!(keys.identify("Secret"), Err(Denied::Unknown(_))));
        assert!(matches!(keys.identify(SECRET), Err(Denied::Unknown(_))));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let wrong = |list: &[(&str, &str)], file: Option<&str>| keys(list, file).err().unwrap();
        assert!(wrong(&[("a", "secret")], None).contains("\"a\" is not `sha256:HEX`"));
        assert!(wrong(&[], Some("# x\nmobile md5:00\n")).contains("keys:2: a line is"));
        assert!(wrong(&[], None).contains("nobody could ask"));
    }
}
