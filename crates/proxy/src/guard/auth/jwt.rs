//! Tokens of identity providers: JWT (RFC 7519), signed (RFC 7515), checked as RFC 8725 advises.
//!
//! Which algorithms count is said by the route, never by the token; only signatures with public keys are taken, so nobody
//! can pass off a public key as a shared secret (RFC 8725 section 2.1). A key is used only for algorithms of its
//! own kind, and only if the token's `kid` names exactly one. Verified tokens are remembered by their hash until they expire
//! or the keys change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue, Request};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};
use tutti_core::limits;
use tutti_net::Body;
use tutti_ports::routing;

use super::keyring::{Keyring, Keyrings, Keys};
use super::place::At;
use super::{CONSUMER, Denied, Identity};

/// Names that stand for any tenant in the issuer of Microsoft Entra ID's common endpoints.
const TENANT: &str = "{tenantid}";

/// What tokens a route takes.
pub struct Jwt {
    issuer: Option<String>,
    ring: Arc<Keyring>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    from: Vec<At>,
    headers: Vec<(HeaderName, String)>,
    scopes: Vec<String>,
    claims: BTreeMap<String, Vec<String>>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

struct Verified {
    who: Identity,
    until: u64,
    generation: u64,
}

/// A token's first part, as far as it matters.
struct Head {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl Jwt {
    /// Compiles; the text says what is wrong.
    pub fn compile(jwt: &routing::Jwt, keyrings: &mut Keyrings) -> Result<Self, String> {
        let algorithm = |name: &String| match name.parse::<Algorithm>() {
            Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) | Err(_) => Err(format!(
                "{name:?} is no algorithm with a public key: RS256, PS256, ES256, EdDSA and their like are"
            )),
            Ok(algorithm) => Ok(algorithm),
        };
        let algorithms: Vec<Algorithm> = jwt.algorithms.iter().map(algorithm).collect::<Result<_, _>>()?;
        if algorithms.is_empty() {
            return Err("no algorithm is taken, so no token could be".to_owned());
        }
        let header = |(name, claim): (&String, &String)| {
            let bad = |_| format!("{name:?} is not the name of a header field");
            Ok::<_, String>((HeaderName::from_bytes(name.as_bytes()).map_err(bad)?, claim.clone()))
        };
        Ok(Self {
            issuer: jwt.issuer.clone(),
            ring: keyrings.ring(&jwt.keys)?,
            audiences: jwt.audiences.clone(),
            algorithms,
            leeway: jwt.leeway,
            from: jwt.from.iter().map(At::compile).collect::<Result<_, _>>()?,
            headers: jwt.headers.iter().map(header).collect::<Result<_, _>>()?,
            scopes: jwt.scopes.clone(),
            claims: jwt.claims.clone(),
            verified: Mutex::default(),
        })
    }

    /// The token of a request.
    pub fn token(&self, request: &Request<Body>) -> Option<String> {
        self.from.iter().find_map(|at| at.read(request))
    }

    /// Whether something stands where a token would.
    pub fn is_there(&self, request: &Request<Body>) -> bool {
        self.from.iter().any(|at| at.is_there(request))
    }

    /// Whose it is, if it is good and enough.
    pub async fn identify(&self, token: &str) -> Result<Identity, Denied> {
        if token.len() > limits::TOKEN_BYTES {
            return Err(Denied::Unknown("the token is too long".to_owned()));
        }
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        if let Some(who) = self.remembered(&hash) {
            return Ok(who);
        }
        let head = head(token).ok_or_else(|| Denied::Unknown("the token is malformed".to_owned()))?;
        if !self.algorithms.contains(&head.algorithm) {
            return Err(Denied::Unknown(format!(
                "the token is signed by {:?}, which is not taken",
                head.algorithm
            )));
        }
        let keys =
            self.ring.keys_for(head.kid.as_deref(), head.algorithm).await.map_err(Denied::Unavailable)?;
        let claims = self.verify(token, &head, &keys).map_err(Denied::Unknown)?;
        self.enough(&claims)?;
        let who = self.identity(claims);
        self.remember(hash, &who, keys.generation);
        Ok(who)
    }

    fn verify(&self, token: &str, head: &Head, keys: &Keys) -> Result<Map<String, Value>, String> {
        let found = keys.find(head.kid.as_deref(), head.algorithm)?;
        let mut validation = Validation::new(head.algorithm);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        validation.required_spec_claims = ["exp".to_owned()].into();
        if self.audiences.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&self.audiences);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &found.key, &validation);
        let claims = decoded.map_err(|error| format!("the token is not good: {error}"))?.claims;
        let issuer = claims.get("iss").and_then(Value::as_str);
        for expected in [self.issuer_of(keys), found.issuer.as_deref()].into_iter().flatten() {
            if !is_issuer(expected, issuer, &claims) {
                return Err("the token is of another issuer".to_owned());
            }
        }
        Ok(claims)
    }

    /// Who must have issued a token: as the issuer's document says, which may stand for many tenants.
    fn issuer_of<'a>(&'a self, keys: &'a Keys) -> Option<&'a str> {
        keys.issuer.as_deref().or(self.issuer.as_deref())
    }

    /// Whether a good token is enough for this route.
    fn enough(&self, claims: &Map<String, Value>) -> Result<(), Denied> {
        let has = scopes(claims);
        if let Some(missing) = self.scopes.iter().find(|scope| !has.contains(&scope.as_str())) {
            return Err(Denied::Forbidden(format!("the token has not the scope {missing:?}")));
        }
        for (path, wanted) in &self.claims {
            let holds = |value: &Value| text(value).is_some_and(|text| wanted.contains(&text));
            let found = claim(claims, path).is_some_and(|value| match value {
                Value::Array(list) => list.iter().any(holds),
                other => holds(other),
            });
            if !found {
                return Err(Denied::Forbidden(format!(
                    "the token's claim {path:?} is not what is asked for"
                )));
            }
        }
        Ok(())
    }

    fn identity(&self, claims: Map<String, Value>) -> Identity {
        let name = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let value = |text: String| HeaderValue::from_str(&text).ok();
        let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
        if let Some(value) = value(name.clone()).filter(|value| !value.is_empty()) {
            fields.push((CONSUMER, value));
        }
        for (header, path) in &self.headers {
            let text = claim(&claims, path).and_then(|value| match value {
                Value::Array(list) => Some(list.iter().filter_map(text).collect::<Vec<_>>().join(",")),
                other => text(other),
            });
            if let Some(value) = text.and_then(value) {
                fields.push((header.clone(), value));
            }
        }
        Identity {
            name: Arc::from(name),
            api_key: false,
            claims: Arc::new(claims),
            fields: Arc::from(fields),
        }
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Identity> {
        let generation = self.ring.generation()?;
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let known = verified.get(hash)?;
        (known.until > now() && known.generation == generation).then(|| known.who.clone())
    }

    fn remember(&self, hash: [u8; 32], who: &Identity, generation: u64) {
        // `exp` is there, or the token would not be good. It may be a number with a fraction (RFC 7519 section 2).
        let expires = who.claims.get("exp").and_then(Value::as_f64).unwrap_or_default();
        let until = (expires.max(0.0) as u64).saturating_add(self.leeway.as_secs());
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= limits::TOKENS_REMEMBERED {
            let now = now();
            verified.retain(|_, known| known.until > now && known.generation == generation);
            if verified.len() >= limits::TOKENS_REMEMBERED {
                verified.clear();
            }
        }
        verified.insert(hash, Verified { who: who.clone(), until, generation });
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads a token's first part. `none` is no algorithm, and what `crit` demands we do not know (RFC 7515 section 4.1.11).
fn head(token: &str) -> Option<Head> {
    let mut parts = token.split('.');
    let head = parts.next()?;
    if parts.count() != 2 {
        return None;
    }
    let head: Map<String, Value> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
    if head.contains_key("crit") {
        return None;
    }
    let kid = match head.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return None,
    };
    Some(Head { algorithm: head.get("alg")?.as_str()?.parse().ok()?, kid })
}

/// Whether a token's issuer is the one that is expected; `{tenantid}` stands for the token's own tenant.
fn is_issuer(expected: &str, issuer: Option<&str>, claims: &Map<String, Value>) -> bool {
    let Some(issuer) = issuer else { return false };
    if !expected.contains(TENANT) {
        return expected == issuer;
    }
    let tenant = claims.get("tid").and_then(Value::as_str).unwrap_or_default();
    let plain = |c: char| c.is_ascii_hexdigit() || c == '-';
    tenant.len() == 36 && tenant.chars().all(plain) && expected.replace(TENANT, tenant) == issuer
}

/// A claim by its name, or by a path whose parts are set apart by dots. A name with dots, such as that of a URL, wins.
pub fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// `scope` (RFC 8693 section 4.2) is a text of words; `scp` (Entra ID, Okta) a text or a list.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    let mut out = Vec::new();
    for name in ["scope", "scp"] {
        match claims.get(name) {
            Some(Value::String(text)) => out.extend(text.split_ascii_whitespace()),
            Some(Value::Array(list)) => out.extend(list.iter().filter_map(Value::as_str)),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests;
