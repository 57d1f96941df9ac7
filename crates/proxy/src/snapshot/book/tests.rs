//! Whatever the way to a list of routes, requests find what they would find if it had been compiled at once.

use std::sync::Arc;

use http::{HeaderMap, Method};
use tutti_core::ServiceName;
use tutti_core::random::Rng;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{Backend, FieldMatch, HeaderEdit, Match, PathMatch, Route, ValueMatch};

use super::*;
use crate::config::Options;
use crate::guard::auth::keyring::Keyrings;
use crate::metrics::Metrics;
use crate::model::router::{Asked, Caller, Router};
use crate::openapi::document::Documents;
use crate::snapshot::cluster::Clusters;

#[derive(Default)]
struct World {
    clusters: Clusters,
    metrics: Metrics,
    options: Options,
    keyrings: Keyrings,
    documents: Documents,
    made: Made,
    book: Book,
    routes: Routes,
    list: Vec<Route>,
}

fn shared(routes: &[Route]) -> Vec<Arc<Route>> {
    routes.iter().cloned().map(Arc::new).collect()
}

impl World {
    fn compiled<T>(&mut self, with: impl FnOnce(&Book, &mut Compiler<'_>) -> T) -> T {
        let Self { clusters, metrics, options, keyrings, documents, made, book, .. } = self;
        with(book, &mut Compiler { clusters, metrics, options, keyrings, documents, made, identity: None })
    }

    fn all(&mut self, list: Vec<Route>) {
        let delta = self.compiled(|book, compiler| book.all("l", shared(&list), compiler)).unwrap();
        self.book.commit(delta, &mut self.routes, &mut self.made);
        self.list = list;
    }

    fn edit(&mut self, edits: Vec<RouteEdit>) -> Result<(), RouteError> {
        let delta = self.compiled(|book, compiler| book.edits("l", edits.clone(), compiler))?;
        self.book.commit(delta, &mut self.routes, &mut self.made);
        for edit in edits {
            let at = self.list.iter().position(|route| route.name == edit.name());
            match (edit, at) {
                (RouteEdit::Put(route), Some(at)) => self.list[at] = *route,
                (RouteEdit::Put(route), None) => self.list.push(*route),
                (RouteEdit::Remove(_), at) => drop(at.map(|at| self.list.remove(at))),
            }
        }
        Ok(())
    }

    fn check(&self) {
        let fresh = Router::compile(&self.list).unwrap();
        let declared: Vec<&str> = self.routes.declared().iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(declared, self.list.iter().map(|route| route.name.as_str()).collect::<Vec<_>>());
        for host in HOSTS {
            for path in ["/", "/a", "/a/1", "/a/b/c", "/b", "/7", "/77"] {
                for method in [Method::GET, Method::POST] {
                    let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), "1".parse().unwrap())]);
                    let host = host.trim_start_matches("*.");
                    let (method, headers, caller) = (&method, &headers, Caller::default());
                    let asked = Asked { host, path, query: None, method, headers, caller };
                    let (own, other) = (self.routes.router.find(&asked), fresh.find(&asked));
                    let own_name = own.map(|found| self.routes.get(found.route).unwrap().name.as_str());
                    let other_name = other.map(|found| self.list[found.route].name.as_str());
                    assert_eq!(own_name, other_name, "{host}{path}");
                    assert_eq!(own.map(|found| (found.prefix, found.by)), other.map(|f| (f.prefix, f.by)));
                }
            }
        }
    }
}

const HOSTS: [&str; 4] = ["a.test", "b.a.test", "*.a.test", "c.test"];

fn route(rng: &Rng, name: String) -> Route {
    let pick = |list: &[&str]| list[rng.below(list.len())].to_owned();
    let path = |_| match rng.below(4) {
        0 => PathMatch::Exact(pick(&["/a", "/b", "/a/b/c"])),
        1 => PathMatch::Regex(pick(&["/[0-9]+", "/[0-9]", "/a/.*"])),
        _ => PathMatch::Prefix(pick(&["/", "/a", "/a/b", "/b"])),
    };
    let one = |_| Match {
        path: Some(()).filter(|()| rng.below(5) > 0).map(path),
        method: Some("POST".to_owned()).filter(|_| rng.below(4) == 0),
        headers: (0..rng.below(2))
            .map(|_| FieldMatch { name: "x-a".into(), value: ValueMatch::Exact("1".into()) })
            .collect(),
        ..Match::default()
    };
    let backend = Backend::new(ServiceName::new("a").unwrap(), 80, AppProtocol::Http);
    Route {
        hosts: (0..rng.below(3)).map(|_| pick(&HOSTS)).collect(),
        section: Some(pick(&HOSTS)).filter(|_| rng.below(5) == 0),
        matches: (0..rng.below(3)).map(one).collect(),
        when: Some("request.path.endsWith('7')".to_owned()).filter(|_| rng.below(5) == 0),
        ..Route::to(name, backend)
    }
}

#[test]
fn every_way_leads_to_the_same_routes() {
    for seed in 0..40 {
        let rng = Rng::seeded(seed);
        let mut world = World::default();
        for _ in 0..40 {
            let new = |_| route(&rng, format!("r{}", rng.below(12)));
            if rng.below(2) == 0 {
                // Some stay, some move, some are new; names may come twice.
                let mut list = world.list.clone();
                for _ in 0..rng.below(4) {
                    let at = rng.below(list.len() + 1);
                    match rng.below(3) {
                        0 => list.insert(at, new(())),
                        1 if !list.is_empty() => drop(list.remove(rng.below(list.len()))),
                        _ if !list.is_empty() => {
                            let (a, b) = (rng.below(list.len()), rng.below(list.len()));
                            list.swap(a, b);
                        }
                        _ => {}
                    }
                }
                world.all(list);
            } else {
                let names: HashSet<_> = world.list.iter().map(|route| &route.name).collect();
                if names.len() < world.list.len() {
                    continue;
                }
                let edits = match (rng.below(3), world.list.first()) {
                    (0, Some(route)) => vec![RouteEdit::Remove(route.name.clone())],
                    _ => vec![RouteEdit::Put(Box::new(new(())))],
                };
                world.edit(edits).unwrap();
            }
            world.check();
        }
    }
}

#[test]
fn what_stays_is_the_same_and_between_two_there_is_always_room() {
    let rng = Rng::seeded(1);
    let mut world = World::default();
    world.all((0..3).map(|at| route(&rng, format!("r{at}"))).collect());
    let first = Arc::clone(world.routes.declared()[0]);
    for at in 0..60 {
        let mut list = world.list.clone();
        list.insert(1, route(&rng, format!("new-{at}")));
        world.all(list);
        world.check();
    }
    assert!(Arc::ptr_eq(&first, world.routes.declared()[0]));
    let none = world.compiled(|book, compiler| book.all("l", shared(&world_list(book)), compiler)).unwrap();
    assert!(none.gone.len() == 63 && none.put.is_empty());
    let same = world.list.clone();
    assert!(world.compiled(|book, compiler| book.all("l", shared(&same), compiler)).unwrap().is_empty());
}

fn world_list(_: &Book) -> Vec<Route> {
    Vec::new()
}

#[test]
fn edits_are_all_or_none() {
    let rng = Rng::seeded(2);
    let mut world = World::default();
    world.all(vec![route(&rng, "a".into())]);
    let put = |name: &str| RouteEdit::Put(Box::new(route(&rng, name.into())));
    let mut bad = route(&rng, "bad".into());
    let edit = HeaderEdit { set: vec![("content-length".into(), "1".into())], ..HeaderEdit::default() };
    bad.filters = vec![tutti_ports::routing::Filter::RequestHeaders(edit)];
    for (edits, text) in [
        (vec![put("b"), RouteEdit::Put(Box::new(bad))], "bad"),
        (vec![put("b"), put("b")], "twice"),
        (vec![put("b"), RouteEdit::Remove("c".into())], "no such route"),
    ] {
        let error = world.edit(edits).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        world.check();
    }
    world.edit(vec![put("b"), RouteEdit::Remove("a".into())]).unwrap();
    world.check();
    assert_eq!(world.routes.declared().len(), 1);
}

#[test]
fn conditions_are_counted_over_all_ways() {
    let rng = Rng::seeded(3);
    let mut world = World::default();
    let with = |name: &str, count: usize| {
        let matches = vec![Match::default(); count];
        Route { when: Some("true".into()), matches, ..route(&rng, name.into()) }
    };
    let put = |name: &str, count| vec![RouteEdit::Put(Box::new(with(name, count)))];
    world.all(vec![with("a", 1_000)]);
    assert!(world.edit(put("b", 25)).unwrap_err().to_string().contains("at most 1024 conditions"));
    world.edit(put("b", 24)).unwrap();
    world.edit(put("a", 1_000)).unwrap();
    world.edit(vec![RouteEdit::Remove("a".into())]).unwrap();
    world.edit(put("c", 1_000)).unwrap();
    assert!(world.edit(put("d", 1)).is_err());
}
