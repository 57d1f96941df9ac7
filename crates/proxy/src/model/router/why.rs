//! Why a request takes its route: the rules that were looked at, in the order in which they were. Made when somebody asks.

use std::sync::Arc;

use super::fields::{joined, parameter};
use super::table::{Rule, Table, Test};
use super::{Asked, ByHost, ByPath, Hosts, Router, suffixes};
use crate::model::shared::Map;

/// A rule whose host and path are those of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The place of its route.
    pub route: usize,
    /// How its host was found.
    pub host: ByHost,
    /// The host as the rule has it, without `*.`.
    pub host_text: String,
    /// How its path was found.
    pub path: ByPath,
    /// The path, prefix or expression.
    pub path_text: String,
    /// Its conditions on method, header fields and query, in words.
    pub conditions: Vec<String>,
    /// Whether they hold.
    pub holds: Holds,
    /// How many conditions on the method, header fields and query parameters there are, and whether there is a `when`.
    pub weight: (bool, usize, usize, bool),
}

/// Whether the conditions of a rule hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// They do.
    Yes,
    /// This one does not.
    No(String),
    /// They cannot be told any more: they are about what is not remembered.
    Unknown,
}

/// A rule that does not match, and what of it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The place of its route.
    pub route: usize,
    /// What it would have taken.
    pub wants: String,
}

impl Router {
    /// The rules whose host and path are those of a request, best first. Without `fields`, conditions on header fields and query
    /// are not looked at, since both are unknown.
    pub fn candidates(&self, asked: &Asked<'_>, fields: bool) -> Vec<Candidate> {
        let hosts = self.hosts_of(asked.host);
        let mut found = Vec::new();
        if let Some(table) = hosts.exact.get(asked.host) {
            table.candidates(asked, fields, (ByHost::Exact, asked.host), &mut found);
        }
        for suffix in suffixes(asked.host) {
            if let Some(table) = hosts.wildcard.get(suffix) {
                table.candidates(asked, fields, (ByHost::Wildcard, suffix), &mut found);
            }
        }
        hosts.any.candidates(asked, fields, (ByHost::Any, ""), &mut found);
        found
    }

    /// Some rules that have either the host or the path of a request that no rule takes: those of its path first.
    pub fn misses(&self, asked: &Asked<'_>, most: usize) -> Vec<Miss> {
        let hosts = self.hosts_of(asked.host);
        let named = |wildcard: bool, table: &Map<Arc<Table>>| -> Vec<(String, bool)> {
            let is_ours = |name: &str| match wildcard {
                false => name == asked.host,
                true => suffixes(asked.host).any(|suffix| suffix == name),
            };
            let star = if wildcard { "*." } else { "" };
            table.iter().map(|(name, _)| (format!("{star}{name}"), is_ours(name))).collect()
        };
        let mut misses = Vec::new();
        for (name, ours) in named(false, &hosts.exact).into_iter().chain(named(true, &hosts.wildcard)) {
            let table = match name.strip_prefix("*.") {
                Some(suffix) => hosts.wildcard.get(suffix),
                None => hosts.exact.get(name.as_str()),
            };
            let Some(table) = table else { continue };
            if ours {
                table.other_paths(asked, &mut misses);
            } else {
                let mut found = Vec::new();
                table.candidates(asked, false, (ByHost::Any, ""), &mut found);
                let miss =
                    |one: &Candidate| (true, Miss { route: one.route, wants: format!("the host {name}") });
                misses.extend(found.iter().map(miss));
            }
        }
        hosts.any.other_paths(asked, &mut misses);
        misses.sort_by_key(|(has_path, miss)| (!has_path, miss.route));
        misses.dedup();
        misses.into_iter().take(most).map(|(_, miss)| miss).collect()
    }

    fn hosts_of(&self, host: &str) -> &Hosts {
        self.sections.as_ref().and_then(|sections| sections.of(host)).unwrap_or(&self.hosts)
    }
}

impl Table {
    fn candidates(
        &self,
        asked: &Asked<'_>,
        fields: bool,
        (host, host_text): (ByHost, &str),
        found: &mut Vec<Candidate>,
    ) {
        let mut add = |rule: &Rule, path: ByPath, path_text: &str| {
            found.push(Candidate {
                route: rule.place,
                host,
                host_text: host_text.to_owned(),
                path,
                path_text: path_text.to_owned(),
                conditions: rule.conditions(),
                holds: rule.tested(asked, fields),
                weight: (rule.method.is_some(), rule.headers.len(), rule.query.len(), rule.when.is_some()),
            });
        };
        for rule in self.exact.get(asked.path).into_iter().flatten() {
            add(rule, ByPath::Exact, asked.path);
        }
        for (regex, rule) in self.regex.iter().filter(|(regex, _)| regex.is_match(asked.path)) {
            add(rule, ByPath::Regex, bare(regex.as_str()));
        }
        for (length, _) in &self.lengths {
            let Some((prefix, rest)) = asked.path.split_at_checked(*length) else { continue };
            if rest.is_empty() || rest.starts_with('/') {
                for rule in self.prefix.get(prefix).into_iter().flatten() {
                    add(rule, ByPath::Prefix, prefix);
                }
            }
        }
    }

    /// The rules of a host that is right, whose path is not.
    fn other_paths(&self, asked: &Asked<'_>, misses: &mut Vec<(bool, Miss)>) {
        let mut own = Vec::new();
        self.candidates(asked, true, (ByHost::Any, ""), &mut own);
        for one in &own {
            if let Holds::No(what) = &one.holds {
                misses.push((true, Miss { route: one.route, wants: what.clone() }));
            }
        }
        let mut miss = |rules: &[Arc<Rule>], wants: String| {
            let others = rules.iter().filter(|rule| own.iter().all(|one| one.route != rule.place));
            misses.extend(others.map(|rule| (false, Miss { route: rule.place, wants: wants.clone() })));
        };
        self.exact.iter().for_each(|(path, rules)| miss(rules, format!("the path {path} exactly")));
        self.prefix.iter().for_each(|(path, rules)| miss(rules, format!("a path below {path}/")));
        for (regex, rule) in &self.regex {
            miss(std::slice::from_ref(rule), format!("a path that matches {}", bare(regex.as_str())));
        }
    }
}

impl Rule {
    fn conditions(&self) -> Vec<String> {
        let method = self.method.iter().map(|method| format!("method {method}"));
        let grpc = self.grpc_method.iter().map(|method| format!("gRPC method {method}"));
        let headers = self.headers.iter().map(|(name, test)| format!("header {name}{}", test.words()));
        let query = self.query.iter().map(|(name, test)| format!("query {name}{}", test.words()));
        let when = self.when.iter().map(|_| "its `when`".to_owned());
        method.chain(grpc).chain(headers).chain(query).chain(when).collect()
    }

    /// Tests one condition after the other, as [`Rule::holds`] does all at once.
    fn tested(&self, asked: &Asked<'_>, fields: bool) -> Holds {
        if let Some(method) = self.method.as_ref().filter(|method| *method != asked.method) {
            return Holds::No(format!("the method {method}"));
        }
        if !fields {
            let known = self.headers.is_empty() && self.query.is_empty() && self.when.is_none();
            let bare = Self { headers: Vec::new(), query: Vec::new(), when: None, ..self.clone() };
            return match (known, bare.holds(asked)) {
                (_, false) => Holds::No("another gRPC method".to_owned()),
                (true, true) => Holds::Yes,
                (false, true) => Holds::Unknown,
            };
        }
        for (name, test) in &self.headers {
            if !joined(asked.headers, name).is_some_and(|value| test.holds(&value)) {
                return Holds::No(format!("the header {name}{}", test.words()));
            }
        }
        for (name, test) in &self.query {
            let value = asked.query.and_then(|query| parameter(query, name));
            if !value.is_some_and(|value| test.holds(&value)) {
                return Holds::No(format!("the query parameter {name}{}", test.words()));
            }
        }
        if self.holds(asked) { Holds::Yes } else { Holds::No("its `when` to hold".to_owned()) }
    }
}

impl Test {
    fn words(&self) -> String {
        match self {
            Test::Exact(text) => format!(" = {text}"),
            Test::Regex(regex) => format!(" that matches {}", bare(regex.as_str())),
        }
    }
}

/// An expression as it was declared: it is compiled for the whole of a text.
fn bare(regex: &str) -> &str {
    let inner = regex.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$"));
    inner.unwrap_or(regex)
}

#[cfg(test)]
mod tests {
    use super::super::Caller;
    use super::*;
    use http::{HeaderMap, HeaderValue, Method};
    use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

    fn route(name: &str, host: Option<&str>, path: PathMatch) -> Route {
        let matches = vec![Match { path: Some(path), ..Match::default() }];
        Route { hosts: host.map(str::to_owned).into_iter().collect(), matches, ..Route::named(name) }
    }

    fn prefix(path: &str) -> PathMatch {
        PathMatch::Prefix(path.to_owned())
    }

    fn routes() -> Vec<Route> {
        let mut teams = route("teams", None, prefix("/api"));
        let team = FieldMatch { name: "x-team".into(), value: ValueMatch::Regex("a|b".into()) };
        teams.matches[0].headers.push(team);
        let mut posts = route("posts", None, prefix("/api"));
        posts.matches[0].method = Some("POST".into());
        vec![
            route("all", None, prefix("/")),
            teams,
            posts,
            route("named", Some("shop.test"), PathMatch::Regex("/x/.*".into())),
            route("wild", Some("*.shop.test"), PathMatch::Exact("/y".into())),
        ]
    }

    fn asked<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Asked<'a> {
        let caller = Caller::default();
        Asked { host, path, query: None, method: &Method::GET, headers, caller }
    }

    #[test]
    fn what_is_found_is_the_first_candidate_that_holds() {
        let routes = routes();
        let router = Router::compile(&routes).unwrap();
        let (none, mut team) = (HeaderMap::new(), HeaderMap::new());
        team.insert("x-team", HeaderValue::from_static("b"));
        for headers in [&none, &team] {
            for host in ["shop.test", "a.shop.test", "elsewhere.test", ""] {
                for path in ["/", "/api", "/api/1", "/apix", "/x/1", "/y"] {
                    let asked = asked(host, path, headers);
                    let candidates = router.candidates(&asked, true);
                    let first = candidates.iter().find(|one| one.holds == Holds::Yes);
                    assert_eq!(first.map(|one| one.route), router.find(&asked).map(|found| found.route));
                }
            }
        }
    }

    #[test]
    fn every_runner_up_says_why() {
        let routes = routes();
        let router = Router::compile(&routes).unwrap();
        let headers = HeaderMap::new();
        let found = router.candidates(&asked("a.test", "/api/1", &headers), true);
        let told: Vec<_> = found.iter().map(|one| (one.route, one.holds.clone())).collect();
        let no = |what: &str| Holds::No(what.to_owned());
        assert_eq!(
            told,
            [(2, no("the method POST")), (1, no("the header x-team that matches a|b")), (0, Holds::Yes)]
        );
        let later = router.candidates(&asked("a.test", "/api/1", &headers), false);
        assert_eq!(later[1].holds, Holds::Unknown);
    }

    #[test]
    fn a_request_that_nobody_takes_hears_of_those_that_are_near() {
        let routes = routes();
        let router = Router::compile(&routes[1..]).unwrap();
        let headers = HeaderMap::new();
        let misses = router.misses(&asked("other.test", "/y", &headers), 8);
        assert_eq!(misses[0], Miss { route: 3, wants: "the host *.shop.test".into() });
        assert!(misses.contains(&Miss { route: 1, wants: "a path below /api/".into() }), "{misses:?}");
        let misses = router.misses(&asked("other.test", "/api", &headers), 1);
        assert_eq!(misses, [Miss { route: 0, wants: "the header x-team that matches a|b".into() }]);
    }
}
