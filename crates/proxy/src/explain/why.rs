//! Why a route was taken and others were not, in words.

use tutti_core::limits;

use super::told::{Other, Routing};
use crate::model::router::why::{Candidate, Holds};
use crate::model::router::{Asked, ByHost, ByPath, Router};

/// What is known of a request when its route is explained.
pub struct Question<'a> {
    /// The request.
    pub asked: Asked<'a>,
    /// Whether its header fields and query are known.
    pub fields: bool,
    /// The route that it took; `None`: none.
    pub taken: Option<&'a str>,
}

/// Explains. `names` are those of the routes in the order in which they were compiled.
pub fn explain(router: &Router, names: &dyn Fn(usize) -> String, question: &Question<'_>) -> Routing {
    let candidates = router.candidates(&question.asked, question.fields);
    let Some(taken) = question.taken else { return untaken(router, names, question) };
    let ours = |one: &&Candidate| names(one.route) == taken && !matches!(one.holds, Holds::No(_));
    let Some(winner) = candidates.iter().find(ours) else {
        let now = candidates.iter().find(|one| !matches!(one.holds, Holds::No(_)));
        let mut notes = vec![match now {
            Some(now) => format!("by the routes of now it would be {}: {}", names(now.route), matched(now)),
            None => "by the routes of now none would take it".to_owned(),
        }];
        if question.asked.method == http::Method::OPTIONS {
            notes.push("a preflight takes the route of the method that it asks for".to_owned());
        }
        return Routing { matched: String::new(), notes, others: Vec::new() };
    };
    let at = candidates.iter().position(|one| std::ptr::eq(one, winner)).unwrap_or(0);
    let others = candidates.iter().enumerate().filter(|(_, one)| one.route != winner.route);
    let others = others.map(|(place, one)| Other {
        route: names(one.route),
        why: match &one.holds {
            Holds::No(what) => format!("it wants {what}"),
            Holds::Unknown if place < at => format!("did not hold: {}", one.conditions.join(", ")),
            _ => lost(winner, one),
        },
    });
    let others = others.take(limits::EXPLAIN_OTHERS).collect();
    Routing { matched: matched(winner), notes: Vec::new(), others }
}

fn untaken(router: &Router, names: &dyn Fn(usize) -> String, question: &Question<'_>) -> Routing {
    let misses = router.misses(&question.asked, limits::EXPLAIN_OTHERS);
    let others = misses
        .into_iter()
        .map(|miss| Other { route: names(miss.route), why: format!("it wants {}", miss.wants) });
    Routing { matched: String::new(), notes: Vec::new(), others: others.collect() }
}

/// A rule in words.
pub fn matched(rule: &Candidate) -> String {
    let host = match rule.host {
        ByHost::Any => "any host".to_owned(),
        ByHost::Exact => format!("host {}", rule.host_text),
        ByHost::Wildcard => format!("host *.{}", rule.host_text),
    };
    let path = match rule.path {
        ByPath::Exact => format!("path {} exactly", rule.path_text),
        ByPath::Regex => format!("path matches {}", rule.path_text),
        ByPath::Prefix if rule.path_text.is_empty() => "any path".to_owned(),
        ByPath::Prefix => format!("path below {}", rule.path_text),
    };
    let mut words = vec![host, path];
    words.extend(rule.conditions.iter().cloned());
    words.join(", ")
}

/// Why a rule that may hold came after another.
fn lost(winner: &Candidate, other: &Candidate) -> String {
    let host = |one: &Candidate| (one.host == ByHost::Exact, one.host_text.len());
    let (methods, headers, query, when) = other.weight;
    if host(winner) != host(other) {
        let theirs = match other.host {
            ByHost::Any => "any host".to_owned(),
            _ => format!("*.{}", other.host_text),
        };
        return format!("its host is less specific: {theirs}");
    }
    if winner.path != other.path {
        let theirs = match other.path {
            ByPath::Regex => "a regular expression",
            _ => "a prefix",
        };
        return format!(
            "{theirs} comes after {}",
            if winner.path == ByPath::Exact { "an exact path" } else { "a regular expression" }
        );
    }
    if winner.path_text.len() != other.path_text.len() {
        let theirs = if other.path_text.is_empty() { "/" } else { &other.path_text };
        return format!("its path is less specific: {theirs}");
    }
    match winner.weight {
        (own, ..) if own != methods => "it has no condition on the method".to_owned(),
        (_, own, ..) if own != headers => "it has fewer conditions on header fields".to_owned(),
        (_, _, own, _) if own != query => "it has fewer conditions on the query".to_owned(),
        (.., own) if own != when => "it has no `when`".to_owned(),
        _ => "it stands later in the file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::router::Caller;
    use http::{HeaderMap, Method};
    use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

    fn route(name: &str, host: Option<&str>, path: PathMatch) -> Route {
        let matches = vec![Match { path: Some(path), ..Match::default() }];
        Route { hosts: host.map(str::to_owned).into_iter().collect(), matches, ..Route::named(name) }
    }

    fn told(taken: Option<&str>, host: &str, path: &str, fields: bool) -> Routing {
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        let mut canary = route("canary", None, prefix("/api"));
        let value = ValueMatch::Exact("yes".into());
        canary.matches[0].headers.push(FieldMatch { name: "x-canary".into(), value });
        let routes = [
            route("web", None, prefix("/")),
            route("api", None, prefix("/api")),
            canary,
            route("shop", Some("shop.test"), prefix("/")),
            route("again", None, prefix("/api")),
        ];
        let router = Router::compile(&routes).unwrap();
        let headers = HeaderMap::new();
        let caller = Caller::default();
        let asked = Asked { host, path, query: None, method: &Method::GET, headers: &headers, caller };
        explain(&router, &|at| routes[at].name.clone(), &Question { asked, fields, taken })
    }

    fn pairs(routing: &Routing) -> Vec<(&str, &str)> {
        routing.others.iter().map(|one| (one.route.as_str(), one.why.as_str())).collect()
    }

    #[test]
    fn the_winner_and_every_loser_have_their_reason() {
        let routing = told(Some("api"), "a.test", "/api/1", false);
        assert_eq!(routing.matched, "any host, path below /api");
        assert_eq!(
            pairs(&routing),
            [
                ("canary", "did not hold: header x-canary = yes"),
                ("again", "it stands later in the file"),
                ("web", "its path is less specific: /"),
            ]
        );
        let live = told(Some("api"), "a.test", "/api/1", true);
        assert_eq!(pairs(&live)[0], ("canary", "it wants the header x-canary = yes"));
        let shop = told(Some("shop"), "shop.test", "/api/1", false);
        assert_eq!(shop.matched, "host shop.test, any path");
        assert_eq!(pairs(&shop)[1], ("api", "its host is less specific: any host"));
    }

    #[test]
    fn what_has_changed_since_is_said() {
        let routing = told(Some("old"), "a.test", "/api/1", false);
        assert_eq!(routing.matched, "");
        assert_eq!(
            routing.notes,
            ["by the routes of now it would be canary: any host, path below /api, header x-canary = yes"]
        );
    }
}
