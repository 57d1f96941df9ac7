//! Counters, gauges and histograms: declared as statics, updated without locks, shown as Prometheus text.
//!
//! Names are `tutti_<room>_<noun>_<unit>[_total]`. A metric with labels is a [`Family`], whose
//! children are made on first use and bounded by [`Family::MAX_CHILDREN`]; what comes after goes to
//! one child labelled `overflow`, so that hostile input cannot fill the memory. Children of a family whose names come and go
//! ([`Family::kept`]) make room when nobody holds them any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the value.
    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a latency histogram's buckets, in microseconds: 1-2.5-5 steps from 250 µs to 60 s.
pub const LATENCY_BOUNDS_US: [u64; 17] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// A latency histogram in seconds with fixed buckets ([`LATENCY_BOUNDS_US`]).
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Records one duration.
    pub fn record(&self, duration: std::time::Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// Something a [`Page`] can show.
pub trait Sample: Send + Sync {
    /// The Prometheus type.
    const TYPE: &'static str;
    /// Appends the sample lines of one child.
    fn write(&self, name: &str, labels: &str, out: &mut String);
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name} {value}")
    } else {
        writeln!(out, "{name}{{{labels}}} {value}")
    };
}

impl Sample for Counter {
    const TYPE: &'static str = "counter";
    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}

impl Sample for Gauge {
    const TYPE: &'static str = "gauge";
    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, labels, self.get());
    }
}

impl Sample for Histogram {
    const TYPE: &'static str = "histogram";
    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            let bound =
                LATENCY_BOUNDS_US.get(at).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            line(out, &format!("{name}_bucket"), &format!("{labels}{comma}le=\"{bound}\""), seen);
        }
        line(out, &format!("{name}_sum"), labels, self.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        line(out, &format!("{name}_count"), labels, seen);
    }
}

/// Metrics of one name that differ by labels.
#[derive(Debug, Default)]
pub struct Family<M> {
    children: RwLock<BTreeMap<String, Arc<M>>>,
    /// How many look-ups without room to wait before room is looked for again.
    sweep_after: AtomicUsize,
}

impl<M: Default> Family<M> {
    /// Most label combinations that one family keeps.
    pub const MAX_CHILDREN: usize = 2_000;

    const SWEEP_EVERY: usize = Self::MAX_CHILDREN / 16;

    /// An empty family.
    pub const fn new() -> Self {
        Self { children: RwLock::new(BTreeMap::new()), sweep_after: AtomicUsize::new(0) }
    }

    /// The child with these labels; keep it, the look-up is not for the hot path.
    pub fn with(&self, labels: &[(&str, &str)]) -> Arc<M> {
        let key = render_labels(labels);
        if let Some(child) = self.children.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(child);
        }
        Self::place(&mut self.children.write().unwrap_or_else(PoisonError::into_inner), key)
    }

    /// As [`with`](Self::with), for a child that the caller holds as long as it is counted: where there is no room, those that nobody
    /// holds any more make it, and their numbers are gone.
    pub fn kept(&self, labels: &[(&str, &str)]) -> Arc<M> {
        let key = render_labels(labels);
        let mut children = self.children.write().unwrap_or_else(PoisonError::into_inner);
        if children.len() >= Self::MAX_CHILDREN && !children.contains_key(&key) {
            self.sweep(&mut children);
        }
        Self::place(&mut children, key)
    }

    /// Takes out what nobody holds. Where there was little of that, not soon again: a look-up takes a few steps on average.
    fn sweep(&self, children: &mut BTreeMap<String, Arc<M>>) {
        let wait = self.sweep_after.load(Ordering::Relaxed);
        if wait > 0 {
            return self.sweep_after.store(wait - 1, Ordering::Relaxed);
        }
        children.retain(|_, child| Arc::strong_count(child) > 1);
        if Self::MAX_CHILDREN.saturating_sub(children.len()) < Self::SWEEP_EVERY {
            self.sweep_after.store(Self::SWEEP_EVERY, Ordering::Relaxed);
        }
    }

    fn place(children: &mut BTreeMap<String, Arc<M>>, key: String) -> Arc<M> {
        let key = if children.len() < Self::MAX_CHILDREN || children.contains_key(&key) {
            key
        } else {
            "overflow=\"true\"".to_owned()
        };
        Arc::clone(children.entry(key).or_default())
    }
}

fn render_labels(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text
}

/// A page of metrics in the Prometheus text format 0.0.4.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// Adds a metric without labels.
    pub fn one<M: Sample>(&mut self, name: &str, help: &str, metric: &M) {
        self.head::<M>(name, help);
        metric.write(name, "", &mut self.text);
    }

    /// Adds a metric with labels.
    pub fn family<M: Sample>(&mut self, name: &str, help: &str, family: &Family<M>) {
        self.head::<M>(name, help);
        for (labels, child) in family.children.read().unwrap_or_else(PoisonError::into_inner).iter() {
            child.write(name, labels, &mut self.text);
        }
    }

    /// Adds a metric that is a part of each child of a family: `parts` gives those of one, each with labels of its own (`class="2xx"`, or
    /// none) to come after the child's.
    pub fn part<M, S: Sample>(
        &mut self,
        name: &str,
        help: &str,
        family: &Family<M>,
        parts: impl Fn(&M, &mut dyn FnMut(&str, &S)),
    ) {
        self.head::<S>(name, help);
        let text = &mut self.text;
        for (labels, child) in family.children.read().unwrap_or_else(PoisonError::into_inner).iter() {
            parts(child, &mut |own, sample| {
                let comma = if own.is_empty() || labels.is_empty() { "" } else { "," };
                sample.write(name, &format!("{labels}{comma}{own}"), text);
            });
        }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn head<M: Sample>(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", M::TYPE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_histogram_counts_upwards_and_ends_at_infinity() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_micros(250));
        histogram.record(Duration::from_millis(3));
        histogram.record(Duration::from_secs(3600));
        let mut page = Page::default();
        page.one("t_seconds", "Time.", &histogram);
        let text = page.finish();
        assert!(text.contains("t_seconds_bucket{le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{le=\"0.005\"} 2\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{le=\"60\"} 2\n"), "{text}");
        assert!(text.contains("t_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("t_seconds_count 3\n"), "{text}");
    }

    #[test]
    fn hostile_labels_neither_break_the_page_nor_fill_the_memory() {
        let family = Family::<Counter>::new();
        family.with(&[("route", "a\"} 1\nb")]).inc();
        let mut page = Page::default();
        page.family("t_total", "T.", &family);
        assert!(page.finish().ends_with("t_total{route=\"a\\\"} 1\\nb\"} 1\n"));
        for n in 0..Family::<Counter>::MAX_CHILDREN * 2 {
            family.with(&[("n", &n.to_string())]).inc();
        }
        assert_eq!(family.children.read().unwrap().len(), Family::<Counter>::MAX_CHILDREN + 1);
    }

    #[test]
    fn names_that_come_and_go_do_not_use_up_the_room() {
        let family = Family::<Counter>::new();
        let held = family.kept(&[("n", "held")]);
        held.inc();
        for n in 0..Family::<Counter>::MAX_CHILDREN * 2 {
            family.kept(&[("n", &n.to_string())]).inc();
        }
        assert!(!family.children.read().unwrap().contains_key("overflow=\"true\""));
        let all: Vec<_> =
            (0..Family::<Counter>::MAX_CHILDREN).map(|n| family.kept(&[("m", &n.to_string())])).collect();
        all.iter().for_each(|one| one.inc());
        let children = family.children.read().unwrap();
        assert_eq!(children.len(), Family::<Counter>::MAX_CHILDREN + 1);
        assert_eq!((children["n=\"held\""].get(), children["overflow=\"true\""].get()), (1, 1));
        drop(children);
        // Who is there is found again, room or not.
        assert!(
            Arc::ptr_eq(&held, &family.kept(&[("n", "held")]))
                && Arc::ptr_eq(&held, &family.with(&[("n", "held")]))
        );
    }

    #[test]
    fn a_part_of_a_child_has_labels_of_its_own() {
        let family = Family::<[Counter; 2]>::new();
        family.with(&[("a", "1")])[1].add(3);
        let mut page = Page::default();
        page.part("t_total", "T.", &family, |child, show| {
            show("b=\"x\"", &child[0]);
            show("", &child[1]);
        });
        assert!(page.finish().ends_with("t_total{a=\"1\",b=\"x\"} 0\nt_total{a=\"1\"} 3\n"));
    }
}
