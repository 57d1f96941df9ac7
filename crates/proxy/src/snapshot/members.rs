//! Which instances belong to a cluster, and at which level.

use std::fmt::Write as _;
use std::sync::Arc;

use tutti_ports::catalog::{Health, Instance};
use tutti_ports::routing::Subset;

use crate::model::balance::priority::LEVELS;
use crate::upstream::endpoint::Endpoint;

/// The metadata that says an instance's priority: 0, and what is not said, comes first.
pub const PRIORITY: &str = "tutti.priority";

/// An instance as a member of a cluster.
pub struct Member {
    /// Its port.
    pub endpoint: Arc<Endpoint>,
    /// Its share.
    pub weight: u32,
    ready: bool,
    known: bool,
    stands_in: bool,
    priority: u32,
    zone: Option<String>,
}

impl Member {
    /// An instance. In a `panic` it is taken even if it is critical.
    pub fn new(instance: &Instance, endpoint: Arc<Endpoint>, panic: bool, stands_in: bool) -> Self {
        let spec = &instance.spec;
        let takes = instance.health.takes_traffic() || panic && instance.health == Health::Critical;
        Self {
            endpoint,
            weight: spec.weight,
            ready: takes && spec.weight > 0,
            known: is_known(instance) && spec.weight > 0,
            stands_in,
            priority: spec.meta.get(PRIORITY).and_then(|text| text.parse().ok()).unwrap_or(0),
            zone: spec.zone.clone(),
        }
    }
}

/// Neither coming nor going: it counts when asked how well a service is.
fn is_known(instance: &Instance) -> bool {
    !matches!(instance.health, Health::Starting | Health::Draining)
}

/// The members of a level.
pub struct Group {
    /// Those that take traffic.
    pub ready: Vec<Member>,
    /// How many there are, but for those that come or go.
    pub known: usize,
}

/// The levels, best first: by priority, and within it those in `zone` before the others; those that stand in come last.
/// Levels in which nobody is ready are there too, since what they lack is what spills over.
pub fn levels(members: Vec<Member>, zone: Option<&str>) -> Vec<Group> {
    let key = |one: &Member| {
        let far = zone.is_some() && one.zone.as_deref() != zone;
        (one.stands_in, one.priority, far)
    };
    let mut members = members;
    // Stable: within a level the catalog's order stays.
    members.sort_by_key(key);
    let mut groups: Vec<Group> = Vec::new();
    let mut last = None;
    for member in members {
        let this = key(&member);
        if last != Some(this) && groups.len() < LEVELS {
            groups.push(Group { ready: Vec::new(), known: 0 });
        }
        last = Some(this);
        let Some(group) = groups.last_mut() else { continue };
        group.known += usize::from(member.known);
        if member.ready {
            group.ready.push(member);
        }
    }
    groups
}

/// The instances that a subset means; of a subset without any that takes traffic, all if it says so.
pub fn of<'a>(all: &'a [Instance], subset: Option<&Subset>) -> Vec<&'a Instance> {
    let Some(subset) = subset else { return all.iter().collect() };
    let chosen: Vec<&Instance> = all.iter().filter(|instance| is_in(subset, instance)).collect();
    let any = chosen.iter().any(|instance| instance.health.takes_traffic() && instance.spec.weight > 0);
    if any || !subset.or_any { chosen } else { all.iter().collect() }
}

fn is_in(subset: &Subset, instance: &Instance) -> bool {
    let spec = &instance.spec;
    subset.version.as_ref().is_none_or(|version| spec.version.as_ref() == Some(version))
        && subset.tags.iter().all(|tag| spec.tags.contains(tag))
        && subset.meta.iter().all(|(key, value)| spec.meta.get(key) == Some(value))
}

/// A subset in words: `version v2, tagged canary`.
pub fn words(subset: &Subset) -> String {
    let mut text = String::new();
    let mut add = |part: std::fmt::Arguments<'_>| {
        let _ = write!(text, "{}{part}", if text.is_empty() { "" } else { ", " });
    };
    if let Some(version) = &subset.version {
        add(format_args!("of version {version}"));
    }
    for tag in &subset.tags {
        add(format_args!("tagged {tag}"));
    }
    for (key, value) in &subset.meta {
        add(format_args!("labelled {key}={value}"));
    }
    text
}

/// Whether fewer than `threshold` percent of the instances that offer a port are well.
pub fn panics(instances: &[&Instance], port: u16, threshold: u32) -> bool {
    if threshold == 0 {
        return false;
    }
    let offers = |one: &&&Instance| one.spec.endpoints.iter().any(|endpoint| endpoint.port == port);
    let counted = instances.iter().filter(offers).filter(|one| is_known(one) && one.spec.weight > 0);
    let (mut well, mut known) = (0_u64, 0_u64);
    for instance in counted {
        known += 1;
        well += u64::from(instance.health.takes_traffic());
    }
    well * 100 < u64::from(threshold) * known
}
