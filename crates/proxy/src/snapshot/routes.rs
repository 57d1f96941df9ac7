//! The compiled routes of a listener. A copy costs little and shares everything with the original; changing it copies what is near.

use std::sync::Arc;

use tutti_ports::routing::Route;

use super::plan::{RoutePlan, Target};
use crate::model::router::{Made, Router, Rules};
use crate::model::shared::List;

/// Compiled routes.
#[derive(Clone, Default)]
pub struct Routes {
    /// Finds the place of a route.
    pub router: Router,
    list: List<Placed>,
    /// How many of them answer preflights: whether one must be looked for.
    pub cors: usize,
    /// Where bytes go that turn out not to be HTTP. Doors only: there the port may speak anything.
    pub otherwise: Option<Target>,
}

/// A route and the number by which it was declared.
#[derive(Clone)]
struct Placed {
    order: u64,
    plan: Arc<RoutePlan>,
}

impl Routes {
    /// The route at a place.
    pub fn get(&self, place: usize) -> Option<&Arc<RoutePlan>> {
        self.list.get(place).map(|placed| &placed.plan)
    }

    /// All routes, by their places.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RoutePlan>> {
        self.list.iter().map(|placed| &placed.plan)
    }

    /// All routes, in the order of declaration.
    pub fn declared(&self) -> Vec<&Arc<RoutePlan>> {
        let mut all: Vec<&Placed> = self.list.iter().collect();
        all.sort_unstable_by_key(|placed| placed.order);
        all.into_iter().map(|placed| &placed.plan).collect()
    }

    pub(super) fn insert(&mut self, place: usize, order: u64, rules: &Rules, plan: Option<Arc<RoutePlan>>) {
        let Some(plan) = plan else { return };
        self.router.insert(place, order, rules);
        self.replace(place, order, plan);
    }

    /// Another plan for the same requests.
    pub(super) fn replace(&mut self, place: usize, order: u64, plan: Arc<RoutePlan>) {
        self.cors += usize::from(answers_preflights(&plan));
        let old = self.list.set(place, Some(Placed { order, plan }));
        self.cors -= old.map_or(0, |old| usize::from(answers_preflights(&old.plan)));
    }

    pub(super) fn forget(&mut self, place: usize, route: &Route, made: &mut Made) {
        // What was compiled once compiles again.
        if let Ok(rules) = Rules::compile(route, made) {
            self.router.remove(place, &rules);
        }
        let old = self.list.set(place, None);
        self.cors -= old.map_or(0, |old| usize::from(answers_preflights(&old.plan)));
    }
}

fn answers_preflights(plan: &RoutePlan) -> bool {
    plan.content.as_ref().is_some_and(|content| content.cors.is_some())
}
