//! Where requests go: an instance's port, and how many requests its instance has under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tutti_core::{InstanceId, ServiceName};
use tutti_net::Addr;
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::SlowStart;

use super::carrier::Carrier;
use super::passive::Passive;
use crate::model::balance::ewma::Ewma;

/// The requests and connections of one instance that are under way, over all workers and snapshots.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU64,
    watchers: AtomicUsize,
    idle: Notify,
}

impl Load {
    /// How many are under way.
    pub fn get(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is under way.
    pub async fn until_idle(&self) {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        let _watching = Watching(self);
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            // Registered before looking, so that an end in between is not missed.
            idle.as_mut().enable();
            if self.get() == 0 {
                return;
            }
            idle.await;
        }
    }
}

struct Watching<'a>(&'a Load);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One port of one instance. Shared by all workers and by every snapshot in which it occurs unchanged.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process.
    pub uid: u64,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
    /// Where it listens.
    pub addr: Addr,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// How connections to it begin; `None`: plainly.
    pub carrier: Option<Arc<Carrier>>,
    /// As errors name it: `catalog (catalog-2 at 127.0.0.1:4001)`.
    pub hop: String,
    /// What is under way.
    pub load: Arc<Load>,
    /// How long its answers take, for who asks. Bad news is believed at once.
    pub cost: Pace,
    /// What its answers have shown.
    pub passive: Passive,
    /// Whether a worker found all of its HTTP/2 connections at their limit of streams when it last asked for one.
    crowded: AtomicBool,
    /// Until when it is passed over for having refused a connection, in milliseconds of the engine's clock.
    cold_until: AtomicU64,
    /// Since when it takes traffic, in milliseconds of the engine's clock and one; 0: it does not.
    ready_since: AtomicU64,
}

/// An [`Ewma`] that all workers share. Two that write at the same moment may lose one observation; that is a mean for you.
#[derive(Debug, Default)]
pub struct Pace {
    mean: AtomicU64,
    at_micros: AtomicU64,
}

impl Pace {
    /// What is known.
    pub fn get(&self) -> Ewma {
        Ewma {
            mean: f64::from_bits(self.mean.load(Ordering::Relaxed)),
            at: Duration::from_micros(self.at_micros.load(Ordering::Relaxed)),
        }
    }

    /// One more observation.
    pub fn observe(&self, took: Duration, now: Duration, peak: bool) {
        let next = self.get().observed(took, now, peak);
        self.mean.store(next.mean.to_bits(), Ordering::Relaxed);
        self.at_micros.store(u64::try_from(next.at.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes over what another one knows.
    pub fn inherit(&self, other: &Self) {
        self.mean.store(other.mean.load(Ordering::Relaxed), Ordering::Relaxed);
        self.at_micros.store(other.at_micros.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.mean.store(0, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// An endpoint that nothing bad is known of.
    pub fn new(
        uid: u64,
        service: ServiceName,
        instance: InstanceId,
        addr: Addr,
        protocol: AppProtocol,
        load: Arc<Load>,
    ) -> Self {
        let hop = format!("{service} ({instance} at {addr})");
        Self {
            uid,
            service,
            instance,
            addr,
            protocol,
            carrier: None,
            hop,
            load,
            cost: Pace::default(),
            passive: Passive::default(),
            crowded: AtomicBool::new(false),
            cold_until: AtomicU64::new(0),
            ready_since: AtomicU64::new(0),
        }
    }

    /// Whether requests to it may have to wait for a stream; each worker knows better of its own connections.
    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// A worker has found a stream on its connections, or none.
    pub fn crowd(&self, crowded: bool) {
        if self.is_crowded() != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
    }

    /// Takes over what another one has shown that led to the same instance.
    pub fn inherit(&self, other: &Self) {
        self.cost.inherit(&other.cost);
        self.passive.inherit(&other.passive);
        self.ready_since.store(other.ready_since.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cold_until.store(other.cold_until.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Whether the catalog says that it takes traffic. What is remembered of an earlier life is forgotten when it begins to.
    pub fn ready(&self, now: Duration, ready: bool) {
        if !ready {
            self.ready_since.store(0, Ordering::Relaxed);
        } else if self.ready_since.load(Ordering::Relaxed) == 0 {
            self.ready_since.store(millis(now) + 1, Ordering::Relaxed);
            self.cost.clear();
            self.passive.clear();
        }
    }

    /// The part of its share that it gets while it is new, from 0.0 to 1.0.
    pub fn ramp(&self, now: Duration, slow: &SlowStart) -> f64 {
        let since = Duration::from_millis(self.ready_since.load(Ordering::Relaxed).saturating_sub(1));
        let age = now.saturating_sub(since).as_secs_f64();
        let least = f64::from(slow.minimum.clamp(1, 100)) / 100.0;
        (age / slow.window.as_secs_f64()).clamp(least, 1.0)
    }

    /// Whether it refused a connection a moment ago.
    pub fn is_cold(&self, now: Duration) -> bool {
        let until = self.cold_until.load(Ordering::Relaxed);
        until != 0 && until > millis(now)
    }

    /// Whether it is not chosen while there are others.
    pub fn is_passed_over(&self, now: Duration) -> bool {
        self.is_cold(now) || self.passive.is_ejected(now)
    }

    /// It refused a connection. Says whether that is news: then the catalog should hear of it.
    pub fn cool(&self, now: Duration, cool_off: Duration) -> bool {
        let was = self.cold_until.swap(millis(now + cool_off), Ordering::Relaxed);
        was <= millis(now)
    }

    /// It accepted a connection.
    pub fn warm(&self) {
        if self.cold_until.load(Ordering::Relaxed) != 0 {
            self.cold_until.store(0, Ordering::Relaxed);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A request or connection under way. Counted from before the choice is visible to anybody until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl InFlight {
    /// Counts.
    pub fn begin(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.load.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(endpoint))
    }

    /// Where it is under way.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let load = &self.0.load;
        if load.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && load.watchers.load(Ordering::SeqCst) > 0 {
            load.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        let addr = Addr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let service = ServiceName::new("a").unwrap();
        let id = InstanceId::of(&service, 1);
        Arc::new(Endpoint::new(1, service, id, addr, AppProtocol::Http, Arc::default()))
    }

    #[tokio::test]
    async fn the_last_request_wakes_who_waits() {
        let endpoint = endpoint();
        endpoint.load.until_idle().await;
        let (one, two) = (InFlight::begin(&endpoint), InFlight::begin(&endpoint));
        let load = Arc::clone(&endpoint.load);
        let waiter = tokio::spawn(async move { load.until_idle().await });
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(two);
        waiter.await.unwrap();
        assert_eq!(endpoint.load.watchers.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_new_one_gets_its_share_bit_by_bit() {
        let endpoint = endpoint();
        let at = Duration::from_millis;
        let slow = SlowStart { window: at(10_000), minimum: 10 };
        endpoint.ready(at(5_000), true);
        endpoint.ready(at(6_000), true);
        let share = |now| (endpoint.ramp(at(now), &slow) * 100.0).round() as u32;
        assert_eq!(
            [share(5_000), share(7_000), share(10_000), share(15_000), share(99_000)],
            [10, 20, 50, 100, 100]
        );
        endpoint.cost.observe(at(10), at(6_000), true);
        endpoint.ready(at(20_000), false);
        endpoint.ready(at(21_000), true);
        assert_eq!((share(21_000), endpoint.cost.get().mean), (10, 0.0));
    }

    #[test]
    fn a_refusal_is_news_once() {
        let endpoint = endpoint();
        let at = Duration::from_millis;
        assert!(endpoint.cool(at(10), at(100)));
        assert!(!endpoint.cool(at(20), at(100)));
        assert!(endpoint.is_cold(at(119)) && !endpoint.is_cold(at(120)));
        assert!(endpoint.cool(at(130), at(100)));
        endpoint.warm();
        assert!(!endpoint.is_cold(at(131)));
    }
}
