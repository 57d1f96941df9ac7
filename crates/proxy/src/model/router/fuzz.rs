//! What must hold of finding routes, whatever the routes and the request: the router finds what its specification says, and it does
//! not matter in which order routes came and what else was there before. For the fuzz target in `/fuzz`, and for the tests.
//!
//! The input is read as choices, one for each octet: of routes out of a few hosts, paths and conditions, and of requests.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tutti_ports::routing::{FieldMatch, Match, PathMatch, Route, ValueMatch};

use super::{APART, Asked, Caller, Made, Router, Rules, spec};

/// Most routes, and most requests.
const MOST: u8 = 12;

const HOSTS: [&str; 10] = ["a.b.c", "b.c", "*.c", "*.b.c", "*.a.b.c", "x.c", "c", "x.a.b.c", "d", "*.d"];
const SEGMENTS: [&str; 10] = ["a", "b", "ab", "", "a.A", "Get", "Put", "%2F", "a%20b", "~"];
const PATTERNS: [&str; 6] = ["/a.*", "/[ab]+", "/(a|b)/?.*", ".*", "/|/a/b", "[^/]*/(Get|Put)"];
const VALUES: [&str; 6] = ["1", "2", "1, 2", "", "a b", "x"];
const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];
const NAMES: [&str; 3] = ["x-a", "x-b", "q"];
const QUERIES: [&str; 8] = ["q=1", "q=2&q=1", "x-a=1&x-b=2", "q", "q=a+b&&", "q=%31", "%71=1&x-b", "=&q=1%2"];

/// What a condition means.
type Holds = fn(&Asked<'_>) -> bool;

/// Conditions, and what they mean.
const CONDITIONS: [(&str, Holds); 3] = [
    ("request.method == 'POST'", |asked| asked.method == Method::POST),
    ("request.path.startsWith('/a')", |asked| asked.path.starts_with("/a")),
    ("request.host.endsWith('c')", |asked| asked.host.ends_with('c')),
];

/// Choices that were made beforehand; the last one is repeated without end as zero.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, most: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first.checked_rem(most).unwrap_or_default()
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        let most = u8::try_from(of.len()).unwrap_or(u8::MAX);
        of.get(usize::from(self.below(most)))
    }

    fn text(&mut self, of: &[&str]) -> String {
        self.one(of).copied().unwrap_or_default().to_owned()
    }

    fn path(&mut self) -> String {
        let segments: Vec<_> = (0..=self.below(4)).map(|_| self.text(&SEGMENTS)).collect();
        format!("/{}", segments.join("/"))
    }

    fn fields(&mut self) -> Vec<FieldMatch> {
        let one = |choices: &mut Self| {
            let name = choices.text(&NAMES);
            let value = match choices.below(3) {
                0 => ValueMatch::Regex(choices.text(&PATTERNS)),
                _ => ValueMatch::Exact(choices.text(&VALUES)),
            };
            FieldMatch { name, value }
        };
        (0..self.below(3)).map(|_| one(self)).collect()
    }

    fn condition(&mut self) -> Match {
        let named = |choices: &mut Self| match choices.below(2) {
            0 => None,
            _ => Some(choices.text(&["a.A", "a", "Get", "Put"])),
        };
        let path = match self.below(6) {
            0 => None,
            1 => Some(PathMatch::Exact(self.path())),
            2 => Some(PathMatch::Regex(self.text(&PATTERNS))),
            3 => Some(PathMatch::Grpc { service: named(self), method: named(self) }),
            _ => Some(PathMatch::Prefix(self.path())),
        };
        let method = match self.below(3) {
            0 => self.one(&METHODS).map(|method| method.as_str().to_owned()),
            _ => None,
        };
        Match { path, method, headers: self.fields(), query: self.fields() }
    }

    fn route(&mut self) -> Route {
        let section = (self.below(4) == 0).then(|| self.text(&HOSTS));
        let hosts = (0..self.below(3)).map(|_| self.text(&HOSTS)).collect();
        let when = match self.below(5) {
            0 => self.one(&CONDITIONS).map(|(text, _)| (*text).to_owned()),
            _ => None,
        };
        let matches = (0..self.below(4)).map(|_| self.condition()).collect();
        Route { section, hosts, when, matches, ..Route::named("r") }
    }
}

/// Routes by choice, then requests by choice.
pub fn route_match(data: &[u8]) {
    let mut choices = Choices(data);
    let routes: Vec<Route> = (0..=choices.below(MOST)).map(|_| choices.route()).collect();
    let Some((whole, changed)) = routers(&routes, &mut choices) else { return };
    for _ in 0..=choices.below(MOST) {
        let host = choices.text(&HOSTS);
        let (path, query) = (choices.path(), choices.below(2));
        let query = if query == 0 { None } else { choices.one(&QUERIES).copied() };
        let method = choices.one(&METHODS).cloned().unwrap_or_default();
        let mut headers = HeaderMap::new();
        for _ in 0..choices.below(4) {
            let (name, value) = (choices.one(&NAMES), choices.one(&VALUES));
            if let Some((name, value)) = name.zip(value) {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
        }
        let caller = Caller::default();
        let asked = Asked {
            host: host.trim_start_matches("*."),
            path: &path,
            query,
            method: &method,
            headers: &headers,
            caller,
        };
        let when = |text: &str, asked: &Asked<'_>| {
            CONDITIONS.iter().any(|(known, holds)| *known == text && holds(asked))
        };
        let expected = spec::find(&routes, &asked, when);
        assert_eq!(whole.find(&asked), expected, "{asked:?} {routes:#?}");
        assert_eq!(changed.find(&asked), expected, "after changes: {asked:?} {routes:#?}");
    }
}

/// The routes compiled as a whole, and one by one in an order by choice, with others that come and go.
fn routers(routes: &[Route], choices: &mut Choices<'_>) -> Option<(Router, Router)> {
    thread_local! {
        /// Expressions and conditions cost more to make than all the rest, so they are kept.
        static KEPT: RefCell<(Made, Vec<Rules>)> = RefCell::new(kept());
    }
    let compiled = KEPT.with_borrow_mut(|(made, _)| {
        routes.iter().map(|route| Rules::compile(route, made)).collect::<Result<Vec<_>, _>>()
    });
    let order = |place: usize| u64::try_from(place).unwrap_or(u64::MAX).saturating_mul(APART);
    assert!(compiled.is_ok(), "{:?} {routes:#?}", compiled.err());
    let compiled = compiled.ok()?;
    let (mut whole, mut changed) = (Router::default(), Router::default());
    for (place, rules) in compiled.iter().enumerate() {
        whole.insert(place, order(place), rules);
    }
    let mut left: Vec<_> = compiled.iter().enumerate().collect();
    while !left.is_empty() {
        let at = usize::from(choices.below(MOST)) % left.len();
        let (place, rules) = left.swap_remove(at);
        changed.insert(place, order(place), rules);
        if choices.below(3) == 0 {
            // It goes, another one comes and goes at its place, and it comes back.
            changed.remove(place, rules);
            if let Some(other) = choices.one(&compiled) {
                changed.insert(place, order(place), other);
                let copy = changed.clone();
                changed.remove(place, other);
                drop(copy);
            }
            changed.insert(place, order(place), rules);
        }
    }
    Some((whole, changed))
}

/// Rules that hold on to every expression and condition.
fn kept() -> (Made, Vec<Rules>) {
    let mut made = Made::default();
    let regex =
        |pattern: &&str| Match { path: Some(PathMatch::Regex((*pattern).to_owned())), ..Match::default() };
    let routes = CONDITIONS.iter().map(|(text, _)| Route {
        when: Some((*text).to_owned()),
        matches: PATTERNS.iter().map(regex).collect(),
        ..Route::named("kept")
    });
    let rules = routes.filter_map(|route| Rules::compile(&route, &mut made).ok()).collect();
    (made, rules)
}

#[cfg(test)]
mod tests {
    use tutti_core::random::Rng;

    #[test]
    fn routes_are_found_as_the_specification_says() {
        let rng = Rng::seeded(7);
        for _ in 0..2_000 {
            let input: Vec<u8> = (0..rng.below(300)).map(|_| rng.next_u64() as u8).collect();
            super::route_match(&input);
        }
    }
}
