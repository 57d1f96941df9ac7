//! Names and passwords (RFC 7617), hashed with Argon2 (RFC 9106).
//!
//! A hash costs tens of milliseconds on purpose, so it is made on a thread of its own, few at a time, and a password
//! that was right is remembered for a while, by a hash that is keyed with a secret of the process. A name that is not
//! known costs as much as one that is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, header};
use tokio::sync::Semaphore;
use tutti_core::limits;
use tutti_net::Body;
use tutti_ports::routing;

use super::place::is_scheme;
use super::{Denied, Identity};
use crate::watched::{Shelf, Source, Watched};

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);

/// The users of a route.
pub struct Basic {
    users: Arc<Watched<File>>,
    turns: Semaphore,
    waiting: AtomicUsize,
}

/// Where users stand.
#[derive(PartialEq)]
pub struct File(PathBuf);

/// Users, and whose password was right. What is remembered is forgotten when they change: a password that is taken away is so at once.
pub struct Users {
    users: HashMap<String, (Arc<PasswordHash>, Identity)>,
    /// What the password of an unknown user is held against.
    nobody: Arc<PasswordHash>,
    secret: [u8; 32],
    right: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Source for File {
    type Made = Users;
    const KIND: &'static str = "passwords";

    fn paths(&self) -> Vec<&PathBuf> {
        vec![&self.0]
    }

    fn make(&self) -> Result<Users, String> {
        let (file, text) = (self.0.display(), super::read(&self.0)?);
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("{file}:{}: {why}", at + 1);
            let (name, hash) = line.split_once(':').ok_or_else(|| wrong("a line is `NAME:HASH`"))?;
            if !hash.starts_with("$argon2") {
                return Err(wrong(
                    "only hashes of Argon2 are taken (`$argon2id$…`): others are broken or too quick",
                ));
            }
            let hash = PasswordHash::new(hash).map_err(|_| wrong("the hash is malformed"))?;
            users.insert(name.to_owned(), (Arc::new(hash), Identity::named(name, false)));
        }
        let nobody = users.values().next().map(|(hash, _)| Arc::clone(hash));
        let nobody = nobody.ok_or_else(|| format!("{file} has no users, so nobody could ask"))?;
        let rng = tutti_core::random::Rng::from_entropy();
        let mut secret = [0; 32];
        for part in secret.chunks_exact_mut(8) {
            part.copy_from_slice(&rng.next_u64().to_be_bytes());
        }
        Ok(Users { users, nobody, secret, right: Mutex::default() })
    }
}

impl Basic {
    /// Compiles; reads the file.
    pub fn compile(basic: &routing::Basic, shelf: &mut Shelf<File>) -> Result<Self, String> {
        let turns = Semaphore::new(limits::PASSWORDS_AT_ONCE);
        Ok(Self { users: shelf.get(File(basic.file.clone()))?, turns, waiting: AtomicUsize::new(0) })
    }

    /// The name and password of a request.
    pub fn presented(request: &Request<Body>) -> Option<(String, String)> {
        let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
        let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        text.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
    }

    /// Whether something stands where a password would.
    pub fn is_there(request: &Request<Body>) -> bool {
        let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
        values.any(|value| is_scheme(value.as_bytes(), b"basic"))
    }

    /// Whether the password is right.
    pub async fn identify(&self, (name, password): (String, String)) -> Result<Identity, Denied> {
        let wrong = || Denied::Unknown("the name or the password is wrong".to_owned());
        let users = self.users.kept();
        let user = users.users.get(&name);
        let proof = users.proof(&name, &password);
        if let Some((_, identity)) = user
            && users.is_right(&proof)
        {
            return Ok(identity.clone());
        }
        let hash = Arc::clone(user.map_or(&users.nobody, |(hash, _)| hash));
        let _waiting = Waiting::begin(&self.waiting).ok_or(Denied::Busy)?;
        let _turn = self.turns.acquire().await.map_err(|_| Denied::Busy)?;
        let verify = move || Argon2::default().verify_password(password.as_bytes(), &*hash).is_ok();
        let right = tokio::task::spawn_blocking(verify).await.unwrap_or(false);
        let (_, identity) = user.filter(|_| right).ok_or_else(wrong)?;
        users.remember(proof);
        Ok(identity.clone())
    }
}

impl Users {
    fn remember(&self, proof: [u8; 32]) {
        let mut known = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::PASSWORDS_REMEMBERED {
            known.clear();
        }
        known.insert(proof, Instant::now());
    }

    fn proof(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&(name.len() as u64).to_be_bytes());
        hasher.update(name.as_bytes());
        hasher.update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn is_right(&self, proof: &[u8; 32]) -> bool {
        let known = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(proof).is_some_and(|since| since.elapsed() < REMEMBERED)
    }
}

/// A place in the bounded crowd of those whose password is being looked at.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let this = Self(count);
        (before < limits::PASSWORDS_WAITING).then_some(this)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordHasher as _;
    use argon2::{Algorithm, Params, Version};

    fn basic(text: &str) -> Result<Basic, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("users");
        std::fs::write(&file, text).unwrap();
        Basic::compile(&routing::Basic { file, realm: "r".into() }, &mut Shelf::default())
    }

    fn hash(password: &str) -> String {
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap().to_string()
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let basic = basic(&format!("# users\nada:{}\nbob:{}\n", hash("one"), hash("two"))).unwrap();
        let ask = async |name: &str, password: &str| {
            basic.identify((name.to_owned(), password.to_owned())).await.map(|who| who.name.to_string())
        };
        assert_eq!(ask("ada", "one").await.unwrap(), "ada");
        assert_eq!(basic.users.kept().right.lock().unwrap().len(), 1);
        assert_eq!(ask("ada", "one").await.unwrap(), "ada");
        // The password of another, of nobody, and one that is remembered for somebody else.
        for (name, password) in [("ada", "two"), ("bob", "one"), ("eve", "one"), ("", "one"), ("ada", "")] {
            assert!(matches!(ask(name, password).await, Err(Denied::Unknown(_))), "{name} {password}");
        }
        assert_eq!(basic.users.kept().right.lock().unwrap().len(), 1);
    }

    #[test]
    fn only_slow_hashes_are_taken() {
        let wrong = |text: &str| basic(text).err().unwrap();
        assert!(wrong("a:$2y$05$abc").contains("users:1: only hashes of Argon2"));
        assert!(wrong("\nx").contains("users:2: a line is"));
        assert!(wrong("a:$argon2id$x").contains("malformed"));
        assert!(wrong("").contains("has no users"));
    }
}
