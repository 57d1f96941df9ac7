//! The keys of an issuer: fetched, kept up to date, and kept when the issuer is away.
//!
//! A thread of its own fetches (the workers only read): at once when a route needs the keys, then every
//! ten minutes, and sooner when a token names a key that is not known, but at most every ten seconds. What the issuer no longer
//! shows is no longer used: it shows the old key and the new one together while it changes them. While it does not answer,
//! the keys that were had last stay for a day. Keys in a file are read again when it changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tutti_core::limits;
use tutti_net::fetch;
use tutti_ports::catalog::View;
use tutti_ports::routing::KeySource;

use super::{basic, keys};
use crate::metrics::Metrics;
use crate::transport::files::{Stamp, stamps_of};
use crate::watched::{self, Shelf};

const EVERY: Duration = Duration::from_secs(600);
const AT_MOST: Duration = Duration::from_secs(10);
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// How long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(3);

/// All keyrings, by where their keys come from.
#[derive(Default)]
pub struct Keyrings {
    runtime: Option<tokio::runtime::Handle>,
    views: Option<watch::Receiver<Arc<View>>>,
    rings: HashMap<KeySource, (Arc<Keyring>, Option<AbortHandle>)>,
    /// Keys that stand in files, and how the files were when they were last looked at.
    files: HashMap<PathBuf, (Weak<Keyring>, Vec<Stamp>)>,
    /// API keys.
    pub keys: Shelf<keys::Named>,
    /// Users.
    pub users: Shelf<basic::File>,
}

/// The keys of one source.
pub struct Keyring {
    state: watch::Sender<State>,
    wanted: Notify,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<Arc<Keys>>,
    /// How often was tried, and when last.
    attempts: u64,
    last: Option<Instant>,
    failed: Option<String>,
}

/// Keys at one moment.
pub struct Keys {
    /// Who the issuer says it is.
    pub issuer: Option<String>,
    /// Changes with the keys.
    pub generation: u64,
    keys: Vec<Key>,
}

/// A key.
pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    /// The key.
    pub key: DecodingKey,
    /// Whose tokens it signs, if it is not the issuer as a whole (Entra ID).
    pub issuer: Option<String>,
}

impl Keyrings {
    /// None yet. Those to come are fetched on this runtime, from services in the catalog or from elsewhere.
    pub fn new(runtime: tokio::runtime::Handle, views: watch::Receiver<Arc<View>>) -> Self {
        Self { runtime: Some(runtime), views: Some(views), ..Self::default() }
    }

    /// The keys of a source.
    pub fn ring(&mut self, source: &KeySource) -> Result<Arc<Keyring>, String> {
        if let KeySource::File(path) = source {
            return self.file(path);
        }
        if let Some((ring, _)) = self.rings.get(source) {
            return Ok(Arc::clone(ring));
        }
        let (KeySource::Url(url) | KeySource::Issuer(url)) = source else {
            return Err("no source".to_owned());
        };
        fetch::Url::parse(url).map_err(|error| error.to_string())?;
        let ring = Arc::new(Keyring::new(State::default()));
        let task = self.runtime.as_ref().map(|runtime| {
            let fetching = keep(Arc::clone(&ring), source.clone(), self.views.clone());
            runtime.spawn(fetching).abort_handle()
        });
        self.rings.insert(source.clone(), (Arc::clone(&ring), task));
        Ok(ring)
    }

    /// The keys in a file, read anew.
    fn file(&mut self, path: &PathBuf) -> Result<Arc<Keyring>, String> {
        let stamps = stamps_of(vec![path]);
        let keys = read_file(path)?;
        self.files.retain(|_, (ring, _)| ring.strong_count() > 0);
        let known = self.files.get(path).and_then(|(ring, _)| ring.upgrade());
        let ring = known.unwrap_or_else(|| Arc::new(Keyring::new(State::default())));
        ring.take(keys);
        self.files.insert(path.clone(), (Arc::downgrade(&ring), stamps));
        Ok(ring)
    }

    /// Looks at files of credentials, and reads those that have changed.
    pub fn refresh(&mut self, metrics: &Metrics) {
        self.keys.refresh(metrics);
        self.users.refresh(metrics);
        for (path, (ring, before)) in &mut self.files {
            let (Some(ring), stamps) = (ring.upgrade(), stamps_of(vec![path])) else { continue };
            if *before == stamps {
                continue;
            }
            *before = stamps;
            let read = read_file(path);
            watched::tell("token_keys", &[path], read.map(|keys| ring.take(keys)), metrics);
        }
    }

    /// Forgets what nobody uses any more.
    pub fn retain_used(&mut self) {
        self.rings.retain(|_, (ring, task)| {
            // One here, one with the task that fetches.
            let used = Arc::strong_count(ring) > 1 + usize::from(task.is_some());
            if !used && let Some(task) = task {
                task.abort();
            }
            used
        });
    }
}

/// The thread that fetches.
pub struct Keeper(tokio::runtime::Runtime);

impl Keeper {
    /// Prepares it.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(tokio::runtime::Builder::new_current_thread().enable_all().build()?))
    }

    /// Where it fetches.
    pub fn runtime(&self) -> tokio::runtime::Handle {
        self.0.handle().clone()
    }

    /// Runs until it is told that all is over; what is being fetched then is given up.
    pub fn run(self, mut closed: watch::Receiver<bool>) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new().name("tutti-proxy-keys".to_owned()).spawn(move || {
            self.0.block_on(async move {
                let _ = closed.wait_for(|closed| *closed).await;
            });
        })
    }
}

fn read_file(path: &Path) -> Result<Keys, String> {
    let set = super::read(path)?;
    let keys = parse(&set, None).map_err(|why| format!("{}: {why}", path.display()))?;
    let generation = u64::from_be_bytes(first_eight(blake3::hash(set.as_bytes()).as_bytes()));
    Ok(Keys { generation, ..keys })
}

fn first_eight(bytes: &[u8; 32]) -> [u8; 8] {
    let mut out = [0; 8];
    out.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    out
}

impl Keyring {
    fn new(state: State) -> Self {
        Self { state: watch::channel(state).0, wanted: Notify::new() }
    }

    /// These are in force from now on.
    fn take(&self, keys: Keys) {
        self.state.send_modify(|state| state.keys = Some(Arc::new(keys)));
    }

    /// Which keys are in force; `None` if there are none.
    pub fn generation(&self) -> Option<u64> {
        self.state.borrow().keys.as_ref().map(|keys| keys.generation)
    }

    /// The keys, after a new look at the issuer if there are none or none fits. The text says why there are none.
    pub async fn keys_for(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Arc<Keys>, String> {
        let (known, attempts, last, failed) = {
            let state = self.state.borrow();
            (state.keys.clone(), state.attempts, state.last, state.failed.clone())
        };
        if let Some(keys) = &known
            && (keys.find(kid, algorithm).is_ok() || last.is_none_or(|last| last.elapsed() < AT_MOST))
        {
            return Ok(Arc::clone(keys));
        }
        if known.is_none()
            && let Some(why) = failed
        {
            return Err(why);
        }
        self.wanted.notify_one();
        let mut states = self.state.subscribe();
        let newer = states.wait_for(|state| state.attempts > attempts);
        let state = tokio::time::timeout(PATIENCE, newer).await;
        let found = state.ok().and_then(Result::ok).and_then(|state| state.keys.clone());
        found.or(known).ok_or_else(|| "the keys of the issuer have not come yet".to_owned())
    }
}

impl Keys {
    /// The key of a token: the one that `kid` names, or the only one that could be meant. The text says why there is none.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, String> {
        let fits =
            |key: &&Key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let mut found = self.keys.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => Err("the key that the token names is not known".to_owned()),
            (Some(_), Some(_)) => Err("it is not clear which key the token means".to_owned()),
        }
    }
}

/// Fetches for as long as somebody uses the keys.
async fn keep(ring: Arc<Keyring>, source: KeySource, views: Option<watch::Receiver<Arc<View>>>) {
    let (mut retry, mut had) = (FIRST_RETRY, None);
    loop {
        let began = Instant::now();
        let result = get(&source, views.as_ref()).await;
        let pause = if result.is_ok() { EVERY } else { retry };
        retry = if result.is_ok() { FIRST_RETRY } else { (retry * 2).min(LAST_RETRY) };
        if result.is_ok() {
            had = Some(began);
        }
        ring.state.send_modify(|state| {
            state.attempts += 1;
            state.last = Some(began);
            match result {
                Ok(keys) => {
                    state.failed = None;
                    state.keys = Some(Arc::new(keys));
                }
                Err(why) => {
                    tracing::warn!(?source, why, "the keys of an issuer cannot be fetched");
                    state.failed = Some(why);
                    if had.is_none_or(|had: Instant| had.elapsed() > STALE) {
                        state.keys = None;
                    }
                }
            }
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ring.wanted.notified() => tokio::time::sleep_until((began + AT_MOST).min(Instant::now() + pause)).await,
        }
    }
}

async fn get(source: &KeySource, views: Option<&watch::Receiver<Arc<View>>>) -> Result<Keys, String> {
    let (url, issuer) = match source {
        KeySource::Url(url) => (url.clone(), None),
        KeySource::File(_) => return Err("a file is not fetched".to_owned()),
        KeySource::Issuer(issuer) => {
            let place = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            let (issuer, url) = discovered(issuer, &load(&place, views).await?)?;
            (url, Some(issuer))
        }
    };
    let set = load(&url, views).await?;
    let generation = u64::from_be_bytes(first_eight(blake3::hash(set.as_bytes()).as_bytes()));
    Ok(Keys { generation, ..parse(&set, issuer)? })
}

async fn load(url: &str, views: Option<&watch::Receiver<Arc<View>>>) -> Result<String, String> {
    let failed = |why: String| format!("{url}: {why}");
    let parsed = fetch::Url::parse(url).map_err(|error| failed(error.to_string()))?;
    let local = views.and_then(|views| {
        let view = views.borrow();
        let instances = view.services.iter().find(|(name, _)| name.as_str() == parsed.host)?.1;
        let ready = instances.iter().filter(|one| one.health.takes_traffic());
        ready.flat_map(|one| &one.spec.endpoints).find(|one| one.port == parsed.port).map(|one| one.addr)
    });
    let limits = tutti_net::client::Limits { timeout: PATIENCE, body_bytes: limits::KEYS_BYTES };
    let response =
        fetch::get(&parsed, local, limits).await.map_err(|error| failed(tutti_core::error::chain(&error)))?;
    if response.status() != 200 {
        return Err(failed(format!("it answers {}", response.status())));
    }
    String::from_utf8(response.into_body().into()).map_err(|_| failed("it is not text".to_owned()))
}

/// Issuer and address of the keys, from a discovery document.
///
/// The document must be of the issuer that was asked (OpenID Connect Discovery 1.0 section 4.3); a `/` at the end makes no
/// difference, and the common endpoints of Entra ID name `{tenantid}` where the address has `common` or its like.
pub(super) fn discovered(asked: &str, document: &str) -> Result<(String, String), String> {
    let document: Value =
        serde_json::from_str(document).map_err(|_| "the discovery document is not JSON".to_owned())?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let issuer = text("issuer").ok_or("the discovery document names no issuer")?;
    let url = text("jwks_uri").ok_or("the discovery document names no keys")?;
    let shared = ["common", "organizations", "consumers", "{tenantid}"];
    let same = |issuer: &str| issuer.trim_end_matches('/') == asked.trim_end_matches('/');
    if !same(&issuer) && !shared.iter().any(|name| same(&issuer.replace("{tenantid}", name))) {
        return Err(format!("the discovery document is of {issuer:?}"));
    }
    if asked.starts_with("https:") && !url.starts_with("https:") {
        return Err("the discovery document leads from https to something else".to_owned());
    }
    Ok((issuer, url))
}

/// A JWK Set. Keys that are not for signatures, or that we do not know, are passed over (RFC 7517 section 5).
pub(super) fn parse(set: &str, issuer: Option<String>) -> Result<Keys, String> {
    let set: Value = serde_json::from_str(set).map_err(|_| "the set of keys is not JSON".to_owned())?;
    let list = set.get("keys").and_then(Value::as_array).ok_or("it is not a set of keys")?;
    let keys: Vec<Key> = list.iter().take(limits::KEYS).filter_map(key).collect();
    if keys.is_empty() {
        return Err("it has no public keys for signatures".to_owned());
    }
    Ok(Keys { issuer, generation: 0, keys })
}

fn key(value: &Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    let common = &jwk.common;
    if common.public_key_use.as_ref().is_some_and(|one| *one != PublicKeyUse::Signature) {
        return None;
    }
    if common.key_operations.as_ref().is_some_and(|list| !list.contains(&KeyOperations::Verify)) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        // Among them shared secrets: whoever publishes one has given it away.
        _ => return None,
    };
    if let Some(only) = value.get("alg").and_then(Value::as_str) {
        let only: Algorithm = only.parse().ok()?;
        algorithms.retain(|one| *one == only);
    }
    let issuer = value.get("issuer").and_then(Value::as_str).map(str::to_owned);
    let kid = common.key_id.clone();
    Some(Key { kid, algorithms, key: DecodingKey::from_jwk(&jwk).ok()?, issuer })
}
