//! Conditions in the Common Expression Language (cel.dev), compiled once and evaluated for each request.
//!
//! | name | what it is |
//! |---|---|
//! | `request.method`, `.path`, `.host`, `.query`, `.scheme` | texts; the path in its one form, the query as it was sent |
//! | `request.headers` | a map from names in small letters to values; several values of one name are joined |
//! | `source.address` | the real client's address |
//! | `auth.name`, `auth.claims` | who asks, and what its token says; empty for nobody |
//!
//! What it costs is bounded: by the length and depth of the text, by two macros that walk over a list (`all`, `exists`, `map`, `filter`), and
//! by what a request may hold; regular expressions take linear time and are made once. An expression that fails, for example
//! because a header field is not there, does not hold; `has()` and `in` ask whether something is there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::{Context, Value};
use http::{HeaderMap, Method};
use regex::Regex;
use serde_json::Map;
use tutti_core::limits;
use tutti_ports::routing::guard::condition::{FIELDS, MATCH, Parsed, env, parse};

/// A compiled condition.
pub struct Condition {
    parsed: Parsed,
    patterns: Arc<[Regex]>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condition").field("fields", &self.parsed.fields).finish_non_exhaustive()
    }
}

/// Why a condition could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[error("a condition could not be evaluated: {0}")]
pub struct Failed(String);

/// What a condition is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path in its one form.
    pub path: &'a str,
    /// The query as it was sent.
    pub query: &'a str,
    /// The host that was asked for, without a port, in small letters.
    pub host: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The fields.
    pub headers: &'a HeaderMap,
    /// The client.
    pub source: IpAddr,
    /// Who asks.
    pub name: &'a str,
    /// What its token says.
    pub claims: Option<&'a Map<String, serde_json::Value>>,
}

impl Condition {
    /// Compiles. `authenticated` says whether it is known who asks when it is evaluated. The text says what is wrong, and where.
    pub fn compile(text: &str, authenticated: bool) -> Result<Self, String> {
        let parsed = parse(text, authenticated)?;
        let make = |text: &String| {
            let regex = regex::RegexBuilder::new(text).size_limit(limits::ROUTE_REGEX_BYTES).build();
            regex.map_err(|_| format!("`{text}` is not a regular expression"))
        };
        let patterns = parsed.patterns.iter().map(make).collect::<Result<_, _>>()?;
        Ok(Self { parsed, patterns })
    }

    /// Whether it holds. What cannot be evaluated does not.
    pub fn holds(&self, about: &About<'_>) -> bool {
        self.evaluate(about).unwrap_or_else(|error| {
            tracing::debug!(%error, "a condition does not hold");
            false
        })
    }

    /// Whether it holds.
    pub fn evaluate(&self, about: &About<'_>) -> Result<bool, Failed> {
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(env());
            if self.parsed.fields.contains(&true) {
                context.add_variable_from_value("request", of_request(about, self.parsed.fields));
            }
            if self.parsed.source {
                let address = about.source.to_canonical().to_string();
                context.add_variable_from_value("source", map([("address", address.into())]));
            }
            if self.parsed.auth {
                let claims = about.claims.and_then(|claims| cel::to_value(claims).ok());
                let claims = claims.unwrap_or_else(|| map([]));
                context
                    .add_variable_from_value("auth", map([("name", about.name.into()), ("claims", claims)]));
            }
            if !self.patterns.is_empty() {
                let patterns = Arc::clone(&self.patterns);
                let matches = move |text: Arc<String>, at: i64| {
                    let at = usize::try_from(at).unwrap_or(usize::MAX);
                    patterns.get(at).is_some_and(|regex| regex.is_match(&text))
                };
                context.add_function(MATCH, matches).map_err(|error| error.to_string())?;
            }
            Value::resolve(&self.parsed.expression, &context).map_err(|error| error.to_string())
        }));
        match evaluated {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(_)) => Err(Failed("it is neither true nor false".to_owned())),
            Ok(Err(error)) => Err(Failed(error)),
            Err(_) => Err(Failed("it is too deep".to_owned())),
        }
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    HashMap::from(entries.map(|(name, value)| (name.to_owned(), value))).into()
}

/// What a condition names of a request, and nothing else of it.
fn of_request(about: &About<'_>, named: [bool; FIELDS.len()]) -> Value {
    let mut out: HashMap<String, Value> = HashMap::with_capacity(FIELDS.len());
    for (field, _) in FIELDS.iter().zip(named).filter(|(_, named)| *named) {
        let value = match *field {
            "method" => about.method.as_str().into(),
            "path" => about.path.into(),
            "query" => about.query.into(),
            "host" => about.host.into(),
            "scheme" => about.scheme.into(),
            _ => fields(about.headers).into(),
        };
        out.insert((*field).to_owned(), value);
    }
    out.into()
}

fn fields(map: &HeaderMap) -> HashMap<String, String> {
    let mut headers: HashMap<String, String> = HashMap::with_capacity(map.keys_len());
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(before) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            None => {
                headers.insert(name.as_str().to_owned(), value.into_owned());
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let condition = Condition::compile(text, true).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut headers = HeaderMap::new();
        headers.append("x-team", "a".parse().unwrap());
        headers.append("x-team", "b".parse().unwrap());
        let claims = serde_json::json!({"roles": ["admin", "dev"], "level": 3, "realm": {"x": true}});
        condition.holds(&About {
            method: &Method::POST,
            path: "/api/x",
            query: "a=1",
            host: "shop.test",
            scheme: "https",
            headers: &headers,
            source: "::ffff:192.0.2.1".parse().unwrap(),
            name: "ada",
            claims: claims.as_object(),
        })
    }

    #[test]
    fn a_condition_sees_the_request_and_who_asks() {
        for text in [
            "request.method == 'POST' && request.path.startsWith('/api/')",
            "request.headers['x-team'] == 'a, b'",
            "!('x-other' in request.headers) && request.query == 'a=1' && request.host == 'shop.test'",
            "source.address == '192.0.2.1' && request.scheme == 'https' && request.headers.size() == 1",
            "request == request && has(request.path) && !has(request.headers.other)",
            "matches(request.path, '^/api/') && request.path.matches('x$') && !request.host.matches('^x')",
            "['/a', '/api/x'].exists_one(path, path == request.path) && request.query.size() == 3",
            "[1, 2].map(n, n * 2) == [2, 4] && (size(request.path) > 3 ? true : false)",
            "'admin' in auth.claims.roles && auth.claims.level >= 3 && auth.name == 'ada'",
            "auth.claims.realm.x && !has(auth.claims.other)",
            "auth.claims.roles.exists(role, role.matches('^d.v$'))",
        ] {
            assert!(holds(text), "{text}");
        }
    }

    #[test]
    fn what_fails_or_is_no_truth_does_not_hold() {
        for text in [
            "request.headers['x-none'] == 'a'",
            "auth.claims.none.deeper == 1",
            "1 / 0 == 1",
            "auth.claims.level",
            "auth.claims.roles[7] == 'x'",
            "-9223372036854775807 - 10 < 0",
            "auth.claims.level.matches('3')",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_when_it_is_compiled() {
        let wrong = |text: &str| Condition::compile(text, false).unwrap_err();
        for (text, why) in [
            ("request.method ==", "line 1 column"),
            ("true &&\n requst.method == 'x'", "line 2 column 2: `requst` is not known"),
            ("auth.name == 'x'", "not known yet who asks"),
            ("[1].all(x, [1].all(y, [1].exists(z, z == y)))", "at most 2 lists"),
            ("request.path", "is true or false, and this is a text"),
            ("request.headers", "this is a map"),
            ("1", "this is a number"),
            ("[request.method].map(m, m)", "this is a list"),
            ("request.headers['x']", "this is a text"),
            ("true ? 'a' : 'b'", "this is a text"),
            ("request.method == 1", "a text is never compared with a number"),
            ("request.headers['x'] == null", "never compared with null"),
            ("request.method && true", "true or false is needed here, and this is a text"),
            ("!request.path", "true or false is needed here"),
            ("request.path + 1 == 'x'", "cannot be added"),
            ("request.path - 1 == 0", "a number is needed"),
            ("request.pth == 'x'", "`request` has no `pth`: it has `method`, `path`"),
            ("source.port == 1", "`source` has no `port`"),
            ("request.path.length == 1", "a text has no `length`"),
            ("request.path[0] == '/'", "a text has no parts"),
            ("'x' in request.path", "nothing is `in` a text"),
            ("request.path.lower() == 'x'", "`lower` is not a function"),
            ("request.path.startsWith(1)", "a text is needed"),
            ("request.path.matches('(')", "`(` is not a regular expression: unclosed group"),
            ("request.path.matches('(a{999}){999}')", "is not a regular expression"),
            ("request.path.matches(request.query)", "stands in the condition as a text"),
            ("request.path.exists(c, true)", "is no list that could be walked over"),
            (&"(".repeat(1_000), "nests at most"),
        ] {
            assert!(wrong(text).contains(why), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn the_deepest_that_is_taken_is_evaluated() {
        let depth = limits::CONDITION_DEPTH;
        let name = "request.headers['x-team'] == 'a, b'";
        let nested = format!("{}{name}{}", "(".repeat(depth - 1), ")".repeat(depth - 1));
        let signs = format!("{}({name})", "!".repeat(depth / 2 * 2));
        let many = (limits::CONDITION_OPERATORS - 10) / 2;
        let chain = format!("{name}{}", " || true".repeat(many));
        let sum = format!("0{} > 5", "+ 1".repeat(limits::CONDITION_SUMS));
        let choice = format!("{}true", "true ? true : ".repeat(many));
        for text in [nested, signs, chain, sum, choice] {
            assert!(holds(&text), "{text}");
        }
        let deep = format!("auth.claims{}", ".a".repeat(limits::CONDITION_OPERATORS - 10));
        assert!(!holds(&deep));
    }
}
