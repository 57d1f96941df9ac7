//! The keeper in paused time, with an authority that does what a test says.

use super::*;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use tutti_ports::certificates::OnDemand;
use tutti_ports::state::Store;
use tutti_testkit::state::MemoryStore;
use tutti_testkit::time::TokioClock;

use super::super::order::Issued;
use crate::dev::Authority as Root;
use crate::dev::authority::LEAF_LIFE;
use crate::seal::Seal;

const DAY: Duration = Duration::from_secs(86_400);

/// A clock that follows tokio's time, and whose wall clock can be moved.
struct Jumpy {
    steady: TokioClock,
    ahead: AtomicI64,
}

impl Clock for Jumpy {
    fn monotonic(&self) -> Duration {
        self.steady.monotonic()
    }

    fn wall(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { self.steady.wall() - by } else { self.steady.wall() + by }
    }
}

/// What the authority was asked for, and what it will say.
#[derive(Default)]
struct Script {
    asked: Vec<(Duration, Wanted)>,
    refusals: VecDeque<TrustError>,
    window: Option<Window>,
    takes: Duration,
    now: usize,
    most: usize,
}

struct Fake {
    root: Root,
    clock: Arc<Jumpy>,
    script: Mutex<Script>,
}

#[async_trait::async_trait]
impl Authority for Fake {
    async fn order(&self, wanted: Wanted) -> Result<Issued, TrustError> {
        let takes = {
            let mut script = self.script.lock().unwrap();
            script.asked.push((self.clock.monotonic(), wanted.clone()));
            script.now += 1;
            script.most = script.most.max(script.now);
            script.takes
        };
        tokio::time::sleep(takes).await;
        let mut script = self.script.lock().unwrap();
        script.now -= 1;
        if let Some(refusal) = script.refusals.pop_front() {
            return Err(refusal);
        }
        let identity = self.root.issue(&wanted.names, self.clock.wall())?;
        Ok(Issued { chain: pem(&identity.chain[0]), key: identity.key })
    }

    async fn window(&self, _: &str) -> Result<(Window, Duration), TrustError> {
        match self.script.lock().unwrap().window {
            Some(window) => Ok((window, DAY / 4)),
            None => Err(TrustError::Unreachable("no renewal information".to_owned())),
        }
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

struct Lab {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
    clock: Arc<Jumpy>,
    fake: Arc<Fake>,
    acme: Acme,
}

impl Lab {
    fn new(certificates: &[&[&str]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Jumpy { steady: TokioClock::new(), ahead: AtomicI64::new(0) });
        let root = Root::open(&folder.path().join("root"), clock.wall()).unwrap();
        let script = Mutex::new(Script { takes: Duration::from_secs(2), ..Script::default() });
        let fake = Arc::new(Fake { root, clock: Arc::clone(&clock), script });
        let names = |names: &&[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let acme = Acme {
            directory: "https://ca.test/dir".to_owned(),
            email: None,
            challenges: vec![Challenge::TlsAlpn01, Challenge::Http01],
            certificates: certificates.iter().map(names).collect(),
            on_demand: Some(OnDemand::default()),
            external_account: None,
            dns_hook: None,
            trusted_root: None,
        };
        Self { folder, store: Arc::new(MemoryStore::new()), clock, fake, acme }
    }

    async fn keeper(&self) -> Keeper {
        let seal = Arc::new(Seal::open(&self.folder.path().join("seal")).unwrap());
        let tools = Tools {
            authority: Arc::clone(&self.fake) as Arc<dyn Authority>,
            vault: Vault::new(Arc::clone(&self.store) as Arc<dyn Store>, seal, &self.acme),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            rng: Arc::new(Rng::seeded(1)),
            shelf: Arc::default(),
            metrics: Arc::default(),
        };
        Keeper::load(tools, &self.acme).await.unwrap()
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.fake.script.lock().unwrap()
    }

    fn asked(&self) -> usize {
        self.script().asked.len()
    }
}

/// Lets the keeper work for a time.
async fn drive(keeper: &mut Keeper, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    loop {
        let again = keeper.start_due();
        tokio::select! {
            () = keeper.progress() => {}
            () = tokio::time::sleep(again) => {}
            () = tokio::time::sleep_until(end) => return,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_ordered_once_and_a_restart_orders_nothing() {
    let lab = Lab::new(&[&["a.test"], &["b.test", "*.b.test"]]);
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, MINUTE).await;
    assert_eq!(lab.asked(), 2);
    for name in ["a.test", "b.test", "x.b.test"] {
        assert!(keeper.tools.shelf.find(name).is_some(), "{name}");
    }
    let serial = |keeper: &Keeper| keeper.tools.shelf.find("a.test").unwrap().chain.clone();
    let before = serial(&keeper);
    drop(keeper);
    let mut keeper = lab.keeper().await;
    // In force before anything is begun.
    assert_eq!(serial(&keeper), before);
    drive(&mut keeper, DAY).await;
    assert_eq!(lab.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_after_two_thirds_of_its_life() {
    let lab = Lab::new(&[&["a.test"]]);
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, LEAF_LIFE / 3 * 2 - DAY / 2).await;
    assert_eq!(lab.asked(), 1);
    let before = keeper.tools.shelf.find("a.test").unwrap();
    drive(&mut keeper, DAY).await;
    assert_eq!(lab.asked(), 2);
    assert!(lab.script().asked[1].1.replaces.is_some(), "the authority is told which one it replaces");
    assert!(keeper.tools.shelf.find("a.test").unwrap().not_after > before.not_after);
    assert_eq!(keeper.tools.metrics.renewals.get(), 1);
    // And so on, for a month.
    drive(&mut keeper, DAY * 30).await;
    assert!((7..=9).contains(&lab.asked()), "{}", lab.asked());
}

#[tokio::test(start_paused = true)]
async fn the_authority_s_suggestion_brings_it_forward_and_outlives_a_restart() {
    let lab = Lab::new(&[&["a.test"]]);
    let start = x509::unix(lab.clock.wall()) + DAY.as_secs();
    lab.script().window = Some(Window { start, end: start + 60 });
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, MINUTE).await;
    drop(keeper);
    lab.script().window = None;
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, DAY - MINUTE * 5).await;
    assert_eq!(lab.asked(), 1);
    drive(&mut keeper, MINUTE * 10).await;
    assert_eq!(lab.asked(), 2, "a day, not two thirds of a week");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_always_suggests_the_past_is_not_asked_in_a_circle() {
    let lab = Lab::new(&[&["a.test"]]);
    lab.script().window = Some(Window { start: 1, end: 2 });
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, DAY).await;
    assert!((20..=24).contains(&lab.asked()), "{}", lab.asked());
}

#[tokio::test(start_paused = true)]
async fn failures_are_waited_out_over_restarts_and_each_begins_with_another_proof() {
    let lab = Lab::new(&[&["a.test"]]);
    let refused = || TrustError::Refused("no".to_owned());
    lab.script().refusals = [refused(), refused(), refused()].into();
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, Duration::from_secs(10)).await;
    assert_eq!(lab.asked(), 1);
    assert!(keeper.standings()[0].trouble.as_deref().unwrap().contains("TUT0704"));
    for _ in 0..20 {
        // A process that is started again and again asks no more often for it.
        drop(keeper);
        keeper = lab.keeper().await;
        drive(&mut keeper, Duration::from_millis(500)).await;
    }
    assert_eq!(lab.asked(), 1);
    drive(&mut keeper, MINUTE * 15).await;
    let asked: Vec<(Duration, Challenge)> =
        lab.script().asked.iter().map(|(at, wanted)| (*at, wanted.challenges[0])).collect();
    use Challenge::{Http01, TlsAlpn01};
    assert_eq!(asked.iter().map(|(_, how)| *how).collect::<Vec<_>>(), [TlsAlpn01, Http01, TlsAlpn01, Http01]);
    let gaps: Vec<u64> = asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
    assert!((24..=39).contains(&gaps[0]) && (96..=147).contains(&gaps[1]) && gaps[2] >= 384, "{gaps:?}");
    assert!(keeper.tools.shelf.find("a.test").is_some());
    assert_eq!(keeper.standings()[0].trouble, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_authority_says_about_waiting_is_obeyed() {
    let lab = Lab::new(&[&["a.test"]]);
    let after = Some(Duration::from_secs(3 * 3_600));
    lab.script().refusals = [TrustError::Wait { after, why: String::new() }].into();
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, Duration::from_secs(3 * 3_600)).await;
    assert_eq!(lab.asked(), 1);
    drive(&mut keeper, MINUTE * 30).await;
    assert_eq!(lab.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_orders_are_under_way() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}.test")).collect();
    let lists: Vec<Vec<&str>> = names.iter().map(|name| vec![name.as_str()]).collect();
    let lists: Vec<&[&str]> = lists.iter().map(Vec::as_slice).collect();
    let lab = Lab::new(&lists);
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, MINUTE * 2).await;
    assert_eq!((lab.asked(), lab.script().most), (20, limits::ACME_ORDERS));
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_state_order_once() {
    let lab = Lab::new(&[&["a.test"]]);
    let (mut one, mut other) = (lab.keeper().await, lab.keeper().await);
    tokio::join!(drive(&mut one, MINUTE), drive(&mut other, MINUTE));
    assert_eq!(lab.asked(), 1);
    let chain = |keeper: &Keeper| keeper.tools.shelf.find("a.test").map(|identity| identity.chain.clone());
    assert!(chain(&one).is_some());
    assert_eq!(chain(&one), chain(&other), "the other one takes it up");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_neither_starts_a_storm_nor_lets_a_certificate_end() {
    let lab = Lab::new(&[&["a.test"]]);
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, MINUTE).await;
    // Back by a year: the certificate is of the future, and nothing is to be done.
    lab.clock.ahead.store(-365 * 86_400, Ordering::Relaxed);
    drive(&mut keeper, DAY).await;
    assert_eq!(lab.asked(), 1);
    // Forward by a month, as a machine that slept: at once, and once.
    lab.clock.ahead.store(30 * 86_400, Ordering::Relaxed);
    drive(&mut keeper, MINUTE * 2).await;
    assert_eq!(lab.asked(), 2);
    drive(&mut keeper, DAY).await;
    assert_eq!(lab.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_brings_up_a_name_and_waits_but_not_for_one_that_failed_a_moment_ago() {
    let lab = Lab::new(&[]);
    let mut keeper = lab.keeper().await;
    let (reply, news) = oneshot::channel();
    keeper.bring("new.test", reply);
    drive(&mut keeper, Duration::from_secs(5)).await;
    assert!(news.await.is_err(), "it is told by the end of the waiting");
    assert!(keeper.tools.shelf.find("new.test").is_some());

    lab.script().refusals = [TrustError::Refused("no".to_owned())].into();
    let (reply, news) = oneshot::channel();
    keeper.bring("bad.test", reply);
    drive(&mut keeper, Duration::from_secs(5)).await;
    assert!(news.await.is_err());
    assert!(keeper.tools.shelf.find("bad.test").is_none());
    let asked = lab.asked();
    let (reply, news) = oneshot::channel();
    keeper.bring("bad.test", reply);
    assert!(news.await.is_err(), "at once");
    // Nobody waits, so nobody asks.
    drive(&mut keeper, DAY).await;
    assert_eq!(lab.asked(), asked);
    // After a restart it is still there, and renewed as the others.
    drop(keeper);
    let mut keeper = lab.keeper().await;
    assert!(keeper.tools.shelf.find("new.test").is_some());
    drive(&mut keeper, LEAF_LIFE).await;
    assert_eq!(lab.asked(), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn with_another_key_that_seals_a_new_certificate_is_ordered() {
    let lab = Lab::new(&[&["a.test"]]);
    let mut keeper = lab.keeper().await;
    drive(&mut keeper, MINUTE).await;
    drop(keeper);
    std::fs::remove_file(lab.folder.path().join("seal/seal.key")).unwrap();
    let mut keeper = lab.keeper().await;
    assert!(keeper.tools.shelf.find("a.test").is_none());
    drive(&mut keeper, MINUTE).await;
    assert_eq!(lab.asked(), 2);
    assert!(keeper.tools.shelf.find("a.test").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_full_is_an_error_and_not_the_end() {
    let lab = Lab::new(&[&["a.test"]]);
    let mut keeper = lab.keeper().await;
    lab.store.set_fault(Some(tutti_testkit::state::Fault::Full));
    drive(&mut keeper, MINUTE).await;
    assert_eq!(lab.asked(), 0, "what cannot be stored is not ordered");
    lab.store.set_fault(None);
    drive(&mut keeper, MINUTE * 10).await;
    assert_eq!(lab.asked(), 1);
}
