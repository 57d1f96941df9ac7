//! Certificates in files, read again when they change.
//!
//! A certificate and its key are two files, so for a moment they may not belong together: what does not fit is left
//! for the next look, and the one before stays in force.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tutti_core::code;
use tutti_net::tls::Key;
use tutti_ports::routing::CertificateFiles;

use super::TransportError;

/// A certificate that ends so soon is worth a word.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What tells one state of a file from another: its time, its length, which file it is.
pub type Stamp = Option<(i64, i64, u64, u64)>;

/// The certificates of one listener's files.
pub struct FileKeys {
    files: Vec<CertificateFiles>,
    /// Looked at in every handshake, so never locked.
    loaded: ArcSwap<Loaded>,
}

#[derive(Clone)]
struct Loaded {
    /// Of all files, as they were when they were last looked at.
    stamps: Vec<Stamp>,
    by_name: HashMap<String, Arc<Key>>,
    /// By what stands behind `*.`.
    by_suffix: HashMap<String, Arc<Key>>,
    first: Option<Arc<Key>>,
}

impl FileKeys {
    /// Reads the files.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, TransportError> {
        let stamps = stamps(files);
        let loaded = Loaded::read(files, stamps)?;
        Ok(Self { files: files.to_vec(), loaded: ArcSwap::from_pointee(loaded) })
    }

    /// The certificate for a name.
    pub fn find(&self, name: &str) -> Option<Arc<Key>> {
        let loaded = self.loaded.load();
        let below = || loaded.by_suffix.get(name.split_once('.')?.1);
        loaded.by_name.get(name).or_else(below).cloned()
    }

    /// The first certificate.
    pub fn first(&self) -> Option<Arc<Key>> {
        self.loaded.load().first.clone()
    }

    /// Looks at the files, and reads them if one has changed; whether others are shown now. `None`: nothing has changed.
    pub fn refresh(&self) -> Option<bool> {
        let stamps = stamps(&self.files);
        let before = self.loaded.load_full();
        if before.stamps == stamps {
            return None;
        }
        Some(match Loaded::read(&self.files, stamps.clone()) {
            Ok(newer) => {
                self.loaded.store(Arc::new(newer));
                tracing::info!(
                    files = self.files.len(),
                    "certificates were read again: their files have changed"
                );
                true
            }
            Err(error) => {
                self.loaded.store(Arc::new(Loaded { stamps, ..(*before).clone() }));
                tracing::warn!(
                    code = %code::TLS_FILES, error = %tutti_core::error::chain(&error),
                    "changed certificates cannot be used; those from before stay in force"
                );
                false
            }
        })
    }
}

impl Loaded {
    fn read(files: &[CertificateFiles], stamps: Vec<Stamp>) -> Result<Self, TransportError> {
        let (mut by_name, mut by_suffix) = (HashMap::new(), HashMap::new());
        let mut first = None;
        for one in files {
            let key = Arc::new(read_one(one)?);
            for name in key.names() {
                // Of several for one name, the one that was named first.
                match name.strip_prefix("*.") {
                    Some(suffix) => by_suffix.entry(suffix.to_owned()).or_insert_with(|| Arc::clone(&key)),
                    None => by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&key)),
                };
            }
            first.get_or_insert(key);
        }
        Ok(Self { stamps, by_name, by_suffix, first })
    }
}

/// Reads a certificate with its key.
pub fn read_one(files: &CertificateFiles) -> Result<Key, TransportError> {
    let (chain, key) = (read(&files.cert)?, read(&files.key)?);
    let ocsp = files.ocsp.as_deref().map(read).transpose()?;
    let made = Key::from_pem(&chain, &key, ocsp).map_err(|source| TransportError::Key {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    })?;
    if made.not_after() < SystemTime::now() + SOON {
        tracing::warn!(cert = %files.cert.display(), "the certificate has ended, or will within a week");
    }
    Ok(made)
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    std::fs::read(path).map_err(|source| TransportError::Read { path: path.to_owned(), source })
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    let paths = files.iter().flat_map(|one| [Some(&one.cert), Some(&one.key), one.ocsp.as_ref()]);
    stamps_of(paths.flatten().collect())
}

/// The states of files.
pub fn stamps_of(paths: Vec<&PathBuf>) -> Vec<Stamp> {
    let stamp =
        |metadata: Metadata| (metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino());
    paths.into_iter().map(|path| std::fs::metadata(path).ok().map(stamp)).collect()
}
