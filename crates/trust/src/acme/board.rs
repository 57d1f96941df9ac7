//! The answers to challenges that are under way. Listeners read them.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use tutti_ports::certificates::Identity;

use crate::error::TrustError;
use crate::x509;

#[derive(Debug, Default)]
struct Answers {
    /// By host and token: what a GET is answered with.
    http: HashMap<(String, String), String>,
    /// By name: the certificate that is shown.
    alpn: HashMap<String, Arc<Identity>>,
}

/// The answers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    answers: Arc<RwLock<Answers>>,
}

/// An answer that is on the board; dropping it takes it off.
#[derive(Debug)]
pub(crate) struct Posted {
    board: Board,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Http(String, String),
    Alpn(String),
}

impl Board {
    pub(crate) fn http(&self, host: &str, token: &str) -> Option<String> {
        // No allocation for a client that asks for nonsense would need a key type of its own; nobody asks often.
        let key = (host.to_owned(), token.to_owned());
        self.answers.read().unwrap_or_else(PoisonError::into_inner).http.get(&key).cloned()
    }

    pub(crate) fn alpn(&self, name: &str) -> Option<Arc<Identity>> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner).alpn.get(name).cloned()
    }

    /// Answers a GET at a host (RFC 8555 section 8.3).
    pub(crate) fn post_http(&self, host: &str, token: &str, answer: &str) -> Posted {
        let key = (host.to_owned(), token.to_owned());
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.http.insert(key, answer.to_owned());
        Posted { board: self.clone(), key: Key::Http(host.to_owned(), token.to_owned()) }
    }

    /// Shows the certificate with the digest of an answer to clients that say `acme-tls/1` (RFC 8737 section 3).
    pub(crate) fn post_alpn(&self, name: &str, digest: &[u8], now: SystemTime) -> Result<Posted, TrustError> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(TrustError::Make)?;
        params.distinguished_name = DistinguishedName::new();
        let day = Duration::from_secs(86_400);
        params.not_before = now.checked_sub(day).unwrap_or(now).into();
        params.not_after = (now + day).into();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let pair = KeyPair::generate().map_err(TrustError::Make)?;
        let made = params.self_signed(&pair).map_err(TrustError::Make)?;
        let identity = Arc::new(x509::identity(vec![made.der().to_vec()], pair.serialize_der())?);
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.alpn.insert(name.to_owned(), identity);
        Ok(Posted { board: self.clone(), key: Key::Alpn(name.to_owned()) })
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let mut answers = self.board.answers.write().unwrap_or_else(PoisonError::into_inner);
        match &self.key {
            Key::Http(host, token) => {
                answers.http.remove(&(host.clone(), token.clone()));
            }
            Key::Alpn(name) => {
                answers.alpn.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_for_its_host_and_token_while_it_is_held() {
        let board = Board::default();
        let posted = board.post_http("a.test", "token", "token.thumb");
        assert_eq!(board.http("a.test", "token").as_deref(), Some("token.thumb"));
        assert_eq!(board.http("b.test", "token"), None);
        assert_eq!(board.http("a.test", "other"), None);
        drop(posted);
        assert_eq!(board.http("a.test", "token"), None);

        let posted = board.post_alpn("a.test", &[7; 32], SystemTime::now()).unwrap();
        assert_eq!(board.alpn("a.test").unwrap().names, ["a.test"]);
        assert!(board.alpn("b.test").is_none());
        drop(posted);
        assert!(board.alpn("a.test").is_none());
    }
}
