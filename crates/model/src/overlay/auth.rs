//! Credentials: from the keys of a route.

use std::path::Path;
use std::time::Duration;

use tutti_core::code;
use tutti_ports::routing::guard::condition;
use tutti_ports::routing::{ApiKeys, Auth, Basic, Jwt, KeySource, Place};

use super::types::{self, Several};
use crate::diagnostic::Report;
use crate::source::Span;
use crate::value::duration;

/// Signatures with public keys. Those with shared secrets are not among them.
pub(super) const ALGORITHMS: &[&str] =
    &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// The credentials of a route; files are relative to `folder`.
pub(super) fn auth(auth: &types::Auth, folder: &Path, place: Span, report: &mut Report) -> Auth {
    if auth.jwt.is_none() && auth.api_key.is_none() && auth.basic.is_none() {
        report.error(code::MISSING_KEY, place, "`auth` says none of `jwt`, `api_key` and `basic`");
    }
    Auth {
        optional: auth.optional,
        jwt: auth.jwt.as_ref().and_then(|one| jwt(one, folder, place, report)),
        api_key: auth.api_key.as_ref().map(|keys| ApiKeys {
            from: places(keys.from.as_ref(), "header:x-api-key", place, report),
            keys: keys.keys.clone(),
            file: keys.file.as_ref().map(|file| folder.join(file)),
        }),
        basic: auth.basic.as_ref().map(|basic| Basic {
            file: folder.join(&basic.file),
            realm: basic.realm.clone().unwrap_or_else(|| "Tutti".to_owned()),
        }),
    }
}

fn jwt(jwt: &types::Jwt, folder: &Path, place: Span, report: &mut Report) -> Option<Jwt> {
    let keys = match (&jwt.jwks, &jwt.jwks_file, &jwt.issuer) {
        (Some(_), Some(_), _) => {
            report.error(code::CONFLICT, place, "`jwks` and `jwks_file` exclude each other");
            return None;
        }
        (Some(url), None, _) => KeySource::Url(url.clone()),
        (None, Some(file), _) => KeySource::File(folder.join(file)),
        (None, None, Some(issuer)) => KeySource::Issuer(issuer.clone()),
        (None, None, None) => {
            report.error(code::MISSING_KEY, place, "`jwt` says none of `issuer`, `jwks` and `jwks_file`");
            return None;
        }
    };
    for name in jwt.headers.keys() {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            report.error(code::BAD_VALUE, place, format!("`{name}` is not the name of a header field"));
        }
    }
    let defaults = || ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec();
    let leeway = jwt.leeway.as_ref().and_then(|text| duration::parse(text).ok());
    Some(Jwt {
        issuer: jwt.issuer.clone(),
        keys,
        audiences: Several::list(jwt.audience.as_ref()),
        algorithms: jwt.algorithms.clone().unwrap_or_else(defaults),
        leeway: leeway.unwrap_or(Duration::from_secs(30)),
        from: places(jwt.from.as_ref(), "header:authorization", place, report),
        headers: jwt.headers.iter().map(|(name, claim)| (name.to_ascii_lowercase(), claim.clone())).collect(),
        scopes: jwt.scopes.clone(),
        claims: jwt.claims.iter().map(|(name, one)| (name.clone(), Several::list(Some(one)))).collect(),
    })
}

fn places(list: Option<&Several>, default: &str, span: Span, report: &mut Report) -> Vec<Place> {
    let mut list = Several::list(list);
    if list.is_empty() {
        list.push(default.to_owned());
    }
    let mut out = Vec::new();
    for text in list {
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => out.push(Place::Header(name.to_ascii_lowercase())),
            Some(("query", name)) if !name.is_empty() => out.push(Place::Query(name.to_owned())),
            Some(("cookie", name)) if !name.is_empty() => out.push(Place::Cookie(name.to_owned())),
            _ => {
                let message =
                    format!("`{text}` is no place: `header:NAME`, `cookie:NAME` and `query:NAME` are");
                report.error(code::BAD_VALUE, span, message);
            }
        }
    }
    out
}

/// Whether a text is a URL.
pub(super) fn url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains([' ', '#', '@']) => Ok(()),
        _ => Err(format!("`{text}` is not a URL of `https` or `http`")),
    }
}

/// Whether a text is a hash. It may be a secret that somebody forgot to hash, so it is not shown.
pub(super) fn hash(text: &str) -> Result<(), String> {
    let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("blake3:"));
    if hex.is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit())) {
        Ok(())
    } else {
        Err("a key is written by its hash: `sha256:` or `blake3:` and 64 hexadecimal digits".to_owned())
    }
}

/// Whether a text is a condition that may ask who asks.
pub(super) fn condition(text: &str) -> Result<(), String> {
    checked(text, true)
}

/// Whether a text is a condition on whether a route matches, when nobody has been asked who they are.
pub(super) fn when(text: &str) -> Result<(), String> {
    checked(text, false)
}

fn checked(text: &str, authenticated: bool) -> Result<(), String> {
    let why = |why: String| format!("`{text}` is not a condition: {why}");
    condition::parse(text, authenticated).map(drop).map_err(why)
}
