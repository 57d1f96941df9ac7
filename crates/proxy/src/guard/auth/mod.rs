//! Credentials: API keys, names with passwords, and tokens of identity providers.
//!
//! A request has at most one credential that counts: the first kind of which there is one. Names and claims that the
//! service is told stand in header fields that no stranger can set, on no route ([`super::identity`]).

pub mod basic;
pub mod jwt;
pub mod keyring;
pub mod keys;
pub mod place;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request};
use serde_json::{Map, Value};
use tutti_net::Body;
use tutti_ports::routing::Auth;

use basic::Basic;
use jwt::Jwt;
use keyring::Keyrings;
use keys::ApiKeys;

/// Tells the service who asks.
pub const CONSUMER: HeaderName = HeaderName::from_static("x-tutti-consumer");

/// Which credentials a route takes.
pub struct AuthPlan {
    optional: bool,
    jwt: Option<Jwt>,
    api_key: Option<ApiKeys>,
    basic: Option<Basic>,
    /// How a client that has none is told what to bring (RFC 9110 section 11.6.1).
    pub challenge: HeaderValue,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Its name: of the API key, of the user, or the token's subject. Empty for nobody.
    pub name: Arc<str>,
    /// Whether the name is that of an API key.
    pub api_key: bool,
    /// What its token says.
    pub claims: Arc<Map<String, Value>>,
    /// What the service is told.
    pub fields: Arc<[(HeaderName, HeaderValue)]>,
}

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Denied {
    /// There is no credential, or not a good one. The text is for whoever runs this, and says nothing of secrets.
    Unknown(String),
    /// It is known who asks, and this is not for them.
    Forbidden(String),
    /// It cannot be found out now.
    Unavailable(String),
    /// Too many are being looked at.
    Busy,
}

impl AuthPlan {
    /// Compiles; the text says what is wrong.
    pub fn compile(auth: &Auth, keyrings: &mut Keyrings) -> Result<Self, String> {
        let jwt = auth.jwt.as_ref().map(|jwt| Jwt::compile(jwt, keyrings)).transpose()?;
        let api_key =
            auth.api_key.as_ref().map(|one| ApiKeys::compile(one, &mut keyrings.keys)).transpose()?;
        let basic = auth.basic.as_ref().map(|one| Basic::compile(one, &mut keyrings.users)).transpose()?;
        let challenge = match (&jwt, &auth.basic) {
            (Some(_), _) => "Bearer".to_owned(),
            (None, Some(basic)) => {
                let plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
                let realm: String = basic.realm.chars().filter(plain).collect();
                format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
            }
            (None, None) => "ApiKey".to_owned(),
        };
        let challenge = HeaderValue::try_from(challenge).map_err(|_| "the realm is malformed".to_owned())?;
        if jwt.is_none() && api_key.is_none() && basic.is_none() {
            return Err("`auth` takes no credentials at all".to_owned());
        }
        Ok(Self { optional: auth.optional, jwt, api_key, basic, challenge })
    }

    /// Finds out who asks. The service gets the credential, too.
    pub async fn identify(&self, request: &Request<Body>) -> Result<Identity, Denied> {
        // What is there and cannot be read is not nothing: the service might read it.
        let unclear = || Err(Denied::Unknown("there is a credential that cannot be read".to_owned()));
        if let Some(jwt) = &self.jwt {
            match jwt.token(request) {
                Some(token) => return jwt.identify(&token).await,
                None if jwt.is_there(request) => return unclear(),
                None => {}
            }
        }
        if let Some(keys) = &self.api_key {
            match keys.presented(request) {
                Some(key) => return keys.identify(&key),
                None if keys.is_there(request) => return unclear(),
                None => {}
            }
        }
        if let Some(basic) = &self.basic {
            match Basic::presented(request) {
                Some(presented) => return basic.identify(presented).await,
                None if Basic::is_there(request) => return unclear(),
                None => {}
            }
        }
        if self.optional {
            return Ok(Identity::default());
        }
        Err(Denied::Unknown("there is no credential".to_owned()))
    }
}

impl Identity {
    /// One that has a name alone.
    pub(super) fn named(name: &str, api_key: bool) -> Self {
        let fields: Vec<_> =
            HeaderValue::from_str(name).ok().map(|value| (CONSUMER, value)).into_iter().collect();
        Self { name: Arc::from(name), api_key, fields: Arc::from(fields), ..Self::default() }
    }
}

/// Reads a file of credentials; the text says what is wrong.
fn read(path: &std::path::Path) -> Result<String, String> {
    let failed = |why: String| format!("{} cannot be used: {why}", path.display());
    let about = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !about.is_file() {
        // A pipe would be waited for, perhaps for ever, and cannot be read again.
        return Err(failed("it is not a file".to_owned()));
    }
    if about.len() > tutti_core::limits::CREDENTIALS_FILE_BYTES {
        return Err(failed(format!(
            "it is larger than {} bytes",
            tutti_core::limits::CREDENTIALS_FILE_BYTES
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}
