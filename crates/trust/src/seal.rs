//! Seals secrets that are stored: AES-256-GCM with a key that lies in a file beside the state.
//!
//! What it is good for: a copy of the state (a backup, a database that leaves the machine, a snapshot in a bug report) holds no
//! private key. What it is not good for: whoever can read the key file, which is the user who runs Tutti and root, can open
//! everything. The name under which a secret is stored is authenticated with it, so that sealed values cannot be swapped.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::TrustError;
use crate::files;

const KEY_BYTES: usize = 32;

/// Marks the format: one byte, before the nonce and the sealed bytes.
const VERSION: u8 = 1;

/// Seals and opens. Shows nothing of its key.
pub struct Seal {
    key: RandomizedNonceKey,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// Opens the key file of a folder, `seal.key` (mode 0600); makes both if they are not there.
    pub fn open(folder: &Path) -> Result<Self, TrustError> {
        files::make_folder(folder)?;
        let _held = files::lock(folder)?;
        let path = folder.join("seal.key");
        let bytes = match files::read(&path)? {
            Some(bytes) => {
                files::refuse_open(&path)?;
                bytes
            }
            None => {
                let mut bytes = vec![0; KEY_BYTES];
                rand::fill(&mut bytes).map_err(|_| damaged(&path, "the machine gives no random numbers"))?;
                files::write(&path, &bytes, 0o600)?;
                bytes
            }
        };
        if bytes.len() != KEY_BYTES {
            return Err(damaged(&path, "it does not have 32 bytes"));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes);
        Ok(Self { key: key.map_err(|_| damaged(&path, "it is no key"))? })
    }

    /// Seals a secret for a name; text that may be stored anywhere.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<String, TrustError> {
        let mut sealed = secret.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| TrustError::Sealed(name.to_owned()))?;
        let mut whole = vec![VERSION];
        whole.extend_from_slice(nonce.as_ref());
        whole.append(&mut sealed);
        Ok(STANDARD.encode(whole))
    }

    /// Opens what was sealed for a name.
    pub fn open_sealed(&self, name: &str, sealed: &str) -> Result<Vec<u8>, TrustError> {
        self.try_open(name, sealed).ok_or_else(|| TrustError::Sealed(name.to_owned()))
    }

    fn try_open(&self, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let whole = STANDARD.decode(sealed).ok()?;
        let (version, rest) = whole.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes).ok()?;
        Some(opened.to_vec())
    }
}

fn damaged(path: &Path, what: &str) -> TrustError {
    TrustError::Damaged { path: path.to_owned(), what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_opens_only_under_its_name_and_with_its_key() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let seal = Seal::open(one.path()).unwrap();
        let sealed = seal.seal("a", b"secret").unwrap();
        assert!(!STANDARD.decode(&sealed).unwrap().windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(Seal::open(one.path()).unwrap().open_sealed("a", &sealed).unwrap(), b"secret");
        assert!(matches!(seal.open_sealed("b", &sealed), Err(TrustError::Sealed(_))));
        assert!(Seal::open(other.path()).unwrap().open_sealed("a", &sealed).is_err());
        assert_ne!(seal.seal("a", b"secret").unwrap(), sealed, "the nonce is never the same");
        for broken in ["", "AQ==", "!", sealed.get(4..).unwrap(), &sealed.replacen('A', "B", 1)] {
            assert!(seal.open_sealed("a", broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Seal::open(folder.path()).unwrap();
        let path = folder.path().join("seal.key");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(Seal::open(folder.path()).unwrap_err().to_string().contains("chmod 600"));
    }
}
