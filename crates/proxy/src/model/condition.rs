//! Conditions in the Common Expression Language (cel.dev), compiled once and evaluated for each request.
//!
//! | name | what it is |
//! |---|---|
//! | `request.method`, `.path`, `.host`, `.query` | texts; the path in its one form, the query as it was sent |
//! | `request.headers` | a map from names in small letters to values; several values of one name are joined |
//! | `source.address` | the real client's address |
//! | `auth.name`, `auth.claims` | who asks, and what its token says; empty for nobody |
//!
//! What it costs is bounded: by the length and depth of the text, by two macros that walk over a list (`all`, `exists`, `map`, `filter`), and
//! by what a request may hold; regular expressions take linear time. An expression that fails, for example because a header
//! field is not there, does not hold; `has()` and `in` ask whether something is there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::{Context, Env, Program, Value};
use http::{HeaderMap, Method};
use serde_json::Map;
use tutti_core::limits;
use tutti_ports::routing::guard::condition::{binds, bounded};

/// What a condition may name.
const NAMES: [&str; 3] = ["request", "source", "auth"];

/// A compiled condition.
pub struct Condition {
    program: Program,
    env: Arc<Env>,
    uses: [bool; 3],
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condition").field("uses", &self.uses).finish_non_exhaustive()
    }
}

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
        bounded(text)?;
        let walks = ["all", "exists", "exists_one", "map", "filter"];
        let walking = text.split('.').skip(1).filter(|part| {
            let word = part.trim_start();
            let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            walks.contains(&&*name) && word.trim_start_matches(&*name).trim_start().starts_with('(')
        });
        if walking.count() > limits::CONDITION_WALKS {
            return Err(format!("a condition walks over at most {} lists", limits::CONDITION_WALKS));
        }
        let env = Arc::new(Env::stdlib());
        let compiled = catch_unwind(AssertUnwindSafe(|| env.compile(text)));
        let program = compiled.map_err(|_| "it cannot be read".to_owned())?.map_err(|errors| {
            let shown = errors.errors.iter().map(|error| {
                let why = error.msg.lines().next().unwrap_or_default();
                format!("line {} column {}: {why}", error.pos.0, error.pos.1)
            });
            shown.collect::<Vec<_>>().join("; ")
        })?;
        let references = program.references();
        if let Some(unknown) =
            references.variables().iter().find(|name| !NAMES.contains(name) && !binds(text, name))
        {
            return Err(format!("`{unknown}` is not known: there are `request`, `source` and `auth`"));
        }
        let uses = NAMES.map(|name| references.has_variable(name));
        if uses[2] && !authenticated {
            return Err("it is not known yet who asks: `auth` can be named in `authorize`".to_owned());
        }
        Ok(Self { program, env, uses })
    }

    /// Whether it holds.
    pub fn holds(&self, about: &About<'_>) -> bool {
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&self.env));
            let [request, source, auth] = self.uses;
            if request {
                context.add_variable_from_value("request", of_request(about));
            }
            if source {
                let address = about.source.to_canonical().to_string();
                context.add_variable_from_value("source", map([("address", address.into())]));
            }
            if auth {
                let claims = about.claims.and_then(|claims| cel::to_value(claims).ok());
                let claims = claims.unwrap_or_else(|| map([]));
                context
                    .add_variable_from_value("auth", map([("name", about.name.into()), ("claims", claims)]));
            }
            self.program.execute(&context)
        }));
        match evaluated {
            Ok(Ok(Value::Bool(holds))) => holds,
            Ok(Ok(_)) => false,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a condition could not be evaluated, so it does not hold");
                false
            }
            Err(_) => false,
        }
    }
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    HashMap::from(entries.map(|(name, value)| (name.to_owned(), value))).into()
}

fn of_request(about: &About<'_>) -> Value {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in about.headers {
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
    map([
        ("method", about.method.as_str().into()),
        ("path", about.path.into()),
        ("query", about.query.into()),
        ("host", about.host.into()),
        ("headers", headers.into()),
    ])
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
            "source.address == '192.0.2.1'",
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
            "'true'",
            "1",
            "auth.claims.roles[7] == 'x'",
            "-9223372036854775807 - 10 < 0",
            "request.path.matches('(')",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_when_it_is_compiled() {
        let wrong = |text: &str| Condition::compile(text, false).unwrap_err();
        assert!(wrong("request.method ==").contains("line 1 column"), "{}", wrong("request.method =="));
        assert!(wrong("requst.method == 'x'").contains("`requst` is not known"));
        assert!(wrong("auth.name == 'x'").contains("not known yet who asks"));
        assert!(wrong("[1].all(x, [1].all(y, [1].exists(z, z == y)))").contains("at most 2 lists"));
        assert!(wrong(&"(".repeat(1_000)).contains("nests at most"));
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
