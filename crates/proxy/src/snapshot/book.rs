//! What the control side remembers of a listener's routes, so that a change costs what it changes: each route has a place in the
//! listener's [`Routes`] and a number that says who was declared first, and keeps both as long as it is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tutti_ports::routing::Route;

use super::plan::{Compiler, RoutePlan};
use super::routes::Routes;
use crate::changes::RouteEdit;
use crate::model::router::{APART, Made, RouteError, Rules, bounded, conditions};

/// The routes of a listener.
#[derive(Default)]
pub struct Book {
    /// By place.
    held: Vec<Option<Held>>,
    places: HashMap<Key, usize>,
    free: Vec<usize>,
    /// No order is greater.
    last: u64,
    /// Conditions in CEL.
    conditions: usize,
}

struct Held {
    key: Key,
    order: u64,
    route: Arc<Route>,
}

/// A route's name, and the how manieth of this name it is.
type Key = (Box<str>, u32);

/// A difference that compiles and is not in force yet.
#[derive(Default)]
pub struct Delta {
    gone: Vec<usize>,
    put: Vec<Put>,
}

struct Put {
    place: usize,
    key: Key,
    order: u64,
    route: Arc<Route>,
    /// `None`: those that are in force at the place.
    rules: Option<Rules>,
    /// The same.
    plan: Option<Arc<RoutePlan>>,
}

impl Delta {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.put.is_empty()
    }

    /// Whether it concerns a route for which this holds, be it the new or the old one.
    pub fn touches(&self, book: &Book, holds: impl Fn(&Route) -> bool) -> bool {
        let old = |place: &usize| book.at(*place).is_some_and(|held| holds(&held.route));
        self.gone.iter().any(old) || self.put.iter().any(|put| holds(&put.route) || old(&put.place))
    }
}

impl Book {
    /// The routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.held.iter().flatten().map(|held| &*held.route)
    }

    /// What has to be done so that these and no others are the routes, in this order.
    pub fn all(
        &self,
        listener: &str,
        routes: Vec<Arc<Route>>,
        compiler: &mut Compiler<'_>,
    ) -> Result<Delta, RouteError> {
        let keys = keys(&routes);
        let known: Vec<Option<usize>> = keys.iter().map(|key| self.places.get(key).copied()).collect();
        let orders = self.orders(&known);
        let mut stays: HashSet<usize> = HashSet::with_capacity(routes.len());
        let (mut delta, mut spare) = (Delta::default(), self.spare());
        let mut count = 0;
        for (((route, key), known), order) in routes.into_iter().zip(keys).zip(known).zip(orders) {
            let place = known.unwrap_or_else(&mut spare);
            stays.insert(place);
            count += conditions(&route);
            bounded(&route, count)?;
            delta.put.extend(self.put(listener, (place, key, order), route, compiler)?);
        }
        let places = self.held.iter().enumerate().filter(|(_, held)| held.is_some()).map(|(place, _)| place);
        delta.gone = places.filter(|place| !stays.contains(place)).collect();
        Ok(delta)
    }

    /// What has to be done for these edits, all or none: a route that is there by name is replaced where it stands, another one comes last.
    pub fn edits(
        &self,
        listener: &str,
        edits: Vec<RouteEdit>,
        compiler: &mut Compiler<'_>,
    ) -> Result<Delta, RouteError> {
        let (mut delta, mut spare) = (Delta::default(), self.spare());
        let (mut last, mut count) = (self.last, self.conditions);
        let mut named = HashSet::new();
        for edit in edits {
            let key: Key = (Box::from(edit.name()), 0);
            let known = self.places.get(&key).copied();
            let invalid =
                |problem: &str| RouteError::Invalid { route: key.0.to_string(), problem: problem.to_owned() };
            if !named.insert(key.0.clone()) {
                return Err(invalid("one change names it twice"));
            }
            count -= known.and_then(|place| self.at(place)).map_or(0, |held| conditions(&held.route));
            match (edit, known) {
                (RouteEdit::Put(route), known) => {
                    count += conditions(&route);
                    bounded(&route, count)?;
                    let order = known.and_then(|place| self.at(place)).map(|held| held.order);
                    let order = order.unwrap_or_else(|| {
                        last = last.saturating_add(APART);
                        last
                    });
                    let place = known.unwrap_or_else(&mut spare);
                    delta.put.extend(self.put(listener, (place, key, order), Arc::from(route), compiler)?);
                }
                (RouteEdit::Remove(_), Some(place)) => delta.gone.push(place),
                (RouteEdit::Remove(_), None) => return Err(invalid("there is no such route")),
            }
        }
        Ok(delta)
    }

    /// Takes a difference into the routes and remembers it.
    pub fn commit(&mut self, delta: Delta, routes: &mut Routes, made: &mut Made) {
        for place in delta.gone {
            let Some(held) = self.held.get_mut(place).and_then(Option::take) else { continue };
            self.places.remove(&held.key);
            self.conditions -= conditions(&held.route);
            routes.forget(place, &held.route, made);
            self.free.push(place);
        }
        for Put { place, key, order, route, rules, plan } in delta.put {
            if self.held.len() <= place {
                self.held.resize_with(place + 1, || None);
            }
            let Some(slot) = self.held.get_mut(place) else { continue };
            if let Some(rules) = rules {
                let plan = plan.or_else(|| routes.get(place).cloned());
                if let Some(old) = slot.as_ref() {
                    routes.forget(place, &old.route, made);
                }
                routes.insert(place, order, &rules, plan);
            } else if let Some(plan) = plan {
                routes.replace(place, order, plan);
            }
            self.conditions += conditions(&route);
            self.conditions -= slot.as_ref().map_or(0, |old| conditions(&old.route));
            self.last = self.last.max(order);
            self.places.insert(key.clone(), place);
            *slot = Some(Held { key, order, route });
        }
        // A place that was given anew is not free, whoever asked for it first.
        let held = &self.held;
        self.free.retain(|place| held.get(*place).is_some_and(Option::is_none));
    }

    fn at(&self, place: usize) -> Option<&Held> {
        self.held.get(place)?.as_ref()
    }

    /// Places for routes that are new.
    fn spare(&self) -> impl FnMut() -> usize {
        let mut free = self.free.clone();
        let mut next = self.held.len();
        move || {
            free.pop().unwrap_or_else(|| {
                next += 1;
                next - 1
            })
        }
    }

    /// `None`: the route is there as it is to be.
    fn put(
        &self,
        listener: &str,
        (place, key, order): (usize, Key, u64),
        route: Arc<Route>,
        compiler: &mut Compiler<'_>,
    ) -> Result<Option<Put>, RouteError> {
        let held = self.at(place);
        let same = held.filter(|held| *held.route == *route);
        if same.is_some_and(|held| held.order == order) {
            return Ok(None);
        }
        let placed_alike = held.is_some_and(|held| {
            let (old, new) = (&held.route, &route);
            held.order == order
                && (&old.section, &old.hosts, &old.matches, &old.when)
                    == (&new.section, &new.hosts, &new.matches, &new.when)
        });
        let rules = if placed_alike { None } else { Some(Rules::compile(&route, compiler.made)?) };
        let (route, plan) = match same {
            Some(held) => (Arc::clone(&held.route), None),
            None => {
                let plan = Arc::new(compiler.route(listener, &route)?);
                (route, Some(plan))
            }
        };
        Ok(Some(Put { place, key, order, route, rules, plan }))
    }

    /// The number of each route: its own where that still grows along the list, else one that fits between its neighbours.
    fn orders(&self, known: &[Option<usize>]) -> Vec<u64> {
        let mut greatest = None;
        let kept: Vec<Option<u64>> = known
            .iter()
            .map(|place| {
                let order = place.and_then(|place| self.at(place)).map(|held| held.order);
                let order = order.filter(|order| greatest.is_none_or(|greatest| *order > greatest));
                greatest = order.or(greatest);
                order
            })
            .collect();
        let mut orders = Vec::with_capacity(known.len());
        let mut rest = &kept[..];
        while let Some((first, others)) = rest.split_first() {
            if let Some(order) = first {
                orders.push(*order);
                rest = others;
                continue;
            }
            let run = rest.iter().take_while(|order| order.is_none()).count();
            let before = orders.last().copied().unwrap_or(0);
            let places = u64::try_from(run).unwrap_or(u64::MAX).saturating_add(1);
            let step = match rest.get(run).copied().flatten() {
                Some(after) => (after - before) / places,
                None => APART,
            };
            if step == 0 || before > u64::MAX / 2 {
                // There is no room left: all get new numbers.
                return (1..).map(|at: u64| at.saturating_mul(APART)).take(known.len()).collect();
            }
            orders.extend((1..places).map(|at| before + step * at));
            rest = rest.get(run..).unwrap_or_default();
        }
        orders
    }
}

/// The key of each route: names should be unique, but nobody is harmed if they are not.
fn keys(routes: &[Arc<Route>]) -> Vec<Key> {
    let mut seen: HashMap<&str, u32> = HashMap::with_capacity(routes.len());
    let key = |route: &Route, nth: u32| (Box::from(route.name.as_str()), nth);
    let mut keys = Vec::with_capacity(routes.len());
    for route in routes {
        let nth = seen.entry(&route.name).and_modify(|nth| *nth += 1).or_insert(0);
        keys.push(key(route, *nth));
    }
    keys
}

#[cfg(test)]
mod tests;
