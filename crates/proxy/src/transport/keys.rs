//! Which certificate a listener shows: first those of its files, then those that the installation keeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tutti_core::limits;
use tutti_net::tls::{Key, Keys};
use tutti_ports::certificates::{Certificates, Identity};

use super::files::FileKeys;

/// Certificates that were parsed before, by their serial; `None` is one that cannot be used.
#[derive(Default)]
pub struct Cache(Mutex<BTreeMap<u64, Option<Arc<Key>>>>);

impl Cache {
    fn key(&self, identity: &Identity) -> Option<Arc<Key>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&identity.serial) {
            return key.clone();
        }
        let made = Key::from_der(identity.chain.clone(), identity.key.clone(), identity.ocsp.clone());
        let made = made.map(Arc::new).inspect_err(|error| {
            let error = tutti_core::error::chain(error);
            tracing::error!(names = ?identity.names, %error, "a certificate cannot be used");
        });
        let made = made.ok();
        known.insert(identity.serial, made.clone());
        while known.len() > limits::TLS_KEYS {
            // Serials ascend, so this is the one that was made first.
            known.pop_first();
        }
        made
    }
}

/// The certificates of one listener.
pub struct ListenerKeys {
    /// Those of its files.
    pub files: Arc<FileKeys>,
    /// Those of the installation.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// What was parsed before.
    pub cache: Arc<Cache>,
}

impl ListenerKeys {
    fn kept(&self, name: Option<&str>) -> Option<Arc<Key>> {
        self.cache.key(&*self.certificates.as_ref()?.current(name)?)
    }
}

impl Keys for ListenerKeys {
    fn current(&self, name: Option<&str>) -> Option<Arc<Key>> {
        match name {
            Some(name) => self.files.find(name).or_else(|| self.kept(Some(name))),
            None => self.files.first().or_else(|| self.kept(None)),
        }
    }

    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Option<Arc<Key>>> + Send + 'a>> {
        Box::pin(async move {
            let obtained = match &self.certificates {
                Some(certificates) => certificates.obtain(name).await,
                None => None,
            };
            obtained.and_then(|identity| self.cache.key(&identity)).or_else(|| self.files.first())
        })
    }

    fn challenge(&self, name: &str) -> Option<Arc<Key>> {
        self.cache.key(&*self.certificates.as_ref()?.alpn_challenge(name)?)
    }
}
