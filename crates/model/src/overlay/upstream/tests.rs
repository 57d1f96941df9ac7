//! What `services.NAME.upstream` and subsets may say.

use std::collections::BTreeMap;

use tutti_ports::routing::Serve;

use super::*;
use crate::{LoadOptions, load};

const COMPOSE: &str = "
name: shop
services:
  web: {image: 'web:2', ports: ['8080:3000'], labels: {team: a}}
  api: {image: i, expose: [9000]}
";

fn run(overlay: &str) -> Result<crate::app::Application, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
    load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() })
        .map(|loaded| loaded.application)
        .map_err(|problems| problems.render(false))
}

fn upstream(text: &str) -> Upstream {
    let application = run(&format!("services: {{web: {{upstream: {text}}}}}")).unwrap();
    application.routing.upstreams[&ServiceName::new("web").unwrap()].clone()
}

#[test]
fn every_key_is_read() {
    let balance = upstream(
        "{balance: ring_hash, hash_on: {header: X-User}, bounded_load: 125, panic_threshold: 30, \
         prefer_zone: true, overprovisioning: 200, failover: 'api:9000', \
         sticky: {cookie: at, ttl: 1h, path: /x, secure: true, same_site: none}}",
    )
    .balance;
    let wanted = Balance {
        algorithm: Some(Algorithm::RingHash),
        hash_on: HashOn::Header("x-user".into()),
        bounded_load: Some(125),
        sticky: Some(Sticky {
            cookie: "at".into(),
            ttl: Some(Duration::from_secs(3600)),
            path: "/x".into(),
            secure: true,
            same_site: SameSite::None,
        }),
        slow_start: None,
        panic_threshold: 30,
        prefer_zone: true,
        overprovisioning: 200,
        failover: Some(Failover { service: ServiceName::new("api").unwrap(), port: Some(9000) }),
    };
    assert_eq!(balance, wanted);
    let short = upstream("{balance: round_robin, sticky: at, slow_start: 30s}").balance;
    assert_eq!(short.sticky.unwrap().cookie, "at");
    assert_eq!(short.slow_start, Some(SlowStart { window: Duration::from_secs(30), minimum: 10 }));
    assert_eq!(upstream("{sticky: {}}").balance.sticky.unwrap().cookie, "tutti-web");
    assert_eq!(upstream("{slow_start: {window: 5s, minimum: 20}}").balance.slow_start.unwrap().minimum, 20);
    for (text, on) in [("source", HashOn::Source), ("path", HashOn::Path), ("uri", HashOn::Uri)] {
        assert_eq!(upstream(&format!("{{balance: maglev, hash_on: {text}}}")).balance.hash_on, on);
    }
    assert_eq!(upstream("{}"), Upstream::default());
}

#[test]
fn health_has_sane_defaults_and_every_key_is_read() {
    use tutti_ports::routing::{Breaker, LatencyRule, Outlier, Rate, SuccessRate};
    let secs = Duration::from_secs;
    assert_eq!(upstream("{outlier: false}").outlier, Outlier::off());
    assert_eq!(upstream("{outlier: true, breaker: false}"), Upstream::default());
    assert_eq!(upstream("{breaker: true}").breaker, Some(Breaker::default()));
    let read = upstream(
        "{outlier: {consecutive_5xx: 7, consecutive_gateway_errors: 3, consecutive_local_failures: 0, interval: 1s, \
         base_ejection: 3s, max_ejection: 1m, max_ejection_percent: 30, success_rate: {stdev_factor: 1.5}, \
         failure_percentage: {threshold: 60, minimum_hosts: 2, request_volume: 9}, latency: {minimum: 10ms}}, \
         breaker: {window: 20s, minimum: 5, failure_percent: 30, open: 2s, open_max: 1s, probes: 1}}",
    );
    let wanted = Outlier {
        consecutive_5xx: 7,
        consecutive_gateway_errors: 3,
        consecutive_local_failures: 0,
        success_rate: Some(SuccessRate { stdev_factor: 1.5, minimum_hosts: 5, request_volume: 100 }),
        failure_percentage: Some(Rate { threshold: 60, minimum_hosts: 2, request_volume: 9 }),
        latency: Some(LatencyRule {
            factor: 3.0,
            minimum: Duration::from_millis(10),
            minimum_hosts: 3,
            request_volume: 20,
        }),
        interval: secs(1),
        base_ejection: secs(3),
        max_ejection: secs(60),
        max_ejection_percent: 30,
    };
    assert_eq!(read.outlier, wanted);
    let breaker = Breaker {
        window: secs(20),
        minimum: 5,
        failure_percent: 30,
        open: secs(2),
        open_max: secs(2),
        probes: 1,
    };
    assert_eq!(read.breaker, Some(breaker));
}

#[test]
fn what_cannot_be_is_said() {
    for (text, part) in [
        ("{balance: fastest}", "fastest"),
        ("{hash_on: path}", "has no effect without `balance: ring_hash`"),
        ("{bounded_load: 150}", "has no effect without"),
        ("{balance: maglev, bounded_load: 100}", "101"),
        ("{balance: maglev, slow_start: 3s}", "leaves no choice"),
        ("{balance: maglev, hash_on: {header: a, cookie: b}}", "exactly one of"),
        ("{balance: maglev, hash_on: {header: 'a b'}}", "`a b` is not a name"),
        ("{sticky: {same_site: none}}", "without `secure: true`"),
        ("{sticky: 'a;b'}", "`a;b` is not a name"),
        ("{sticky: {path: '/;x'}}", "`;`"),
        ("{failover: nobody}", "there is no service `nobody`"),
        ("{failover: web}", "cannot take over for itself"),
        ("{failover: 'api:x'}", "is not `service` or `service:port`"),
        ("{slow_start: {minimum: 5}}", "window"),
        ("{panic_threshold: 101}", "100"),
        ("{outlier: {latency: {factor: 1}}}", "`latency.factor` is more than 1"),
        ("{outlier: {base_ejection: 0s}}", "`base_ejection` is longer than nothing"),
        ("{outlier: {max_ejection_percent: 150}}", "100"),
        ("{breaker: {window: 0s}}", "`window` is longer than nothing"),
        ("{breaker: {failure_percent: 0}}", "failure_percent"),
        ("{breaker: sometimes}", "breaker"),
        ("{ballance: random}", "did you mean `balance`"),
        ("{door: {per_try_timeout: soon}}", "per_try_timeout"),
        ("{door: {hedge: p20}}", "`p20` is neither a percentile"),
        ("{door: {retries: {attempts: 2, on: [often]}}}", "`often` is not something"),
        ("{door: {retries: {backoff: 2s, max_backoff: 1s}}}", "shorter than `backoff`"),
        ("{door: {rate_limit: 5/s}}", "rate_limit"),
        ("{health_check: {tls: true}}", "`health_check.tls` has no effect without `tls`"),
        ("{tls: true, health_check: {proxy_protocol: false}}", "no effect without `proxy_protocol`"),
        ("{tls: true, health_check: {tls: maybe}}", "health_check"),
        ("{tls: true, health_check: {ssl: false}}", "ssl"),
    ] {
        let problems = run(&format!("services: {{web: {{upstream: {text}}}}}")).unwrap_err();
        assert!(problems.contains(part), "{text}: {problems}");
    }
}

#[test]
fn routes_may_mean_a_subset_and_services_say_what_they_are() {
    let application = run("
services:
  web: {version: 3, zone: eu-1, tags: [canary], weight: 5}
routes:
  - path: /new
    to: {service: web, subset: {version: 3, tags: [canary], labels: {team: a}, fallback: any}}
  - to: [web, {service: api, weight: 2, subset: {version: 1}}]
")
    .unwrap();
    let web = &application.services["web"];
    assert_eq!((web.version.as_deref(), web.zone.as_deref(), web.weight), (Some("3"), Some("eu-1"), 5));
    assert_eq!(web.tags, ["canary"]);
    let Serve::Http(routes) = &application.routing.listeners[0].serve else { panic!("not HTTP") };
    let subset = routes[0].backends[0].subset.clone().unwrap();
    let meta = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let wanted = Subset { version: Some("3".into()), tags: vec!["canary".into()], meta, or_any: true };
    assert_eq!(subset, wanted);
    assert_eq!(routes[1].backends[0].subset, None);
    assert!(!routes[1].backends[1].subset.as_ref().unwrap().or_any);
    assert_eq!(run("{}").unwrap().services["web"].version.as_deref(), Some("2"));
    let problems = run("routes: [{to: {service: web, subset: {verson: 1}}}]").unwrap_err();
    assert!(problems.contains("did you mean `version`"), "{problems}");
}

#[test]
fn checks_begin_as_requests_do_unless_they_are_told_not_to() {
    use tutti_ports::routing::CheckCarriage;
    let both = CheckCarriage { tls: true, proxy_protocol: true };
    assert_eq!(upstream("{tls: true, proxy_protocol: v2}").checks, both);
    assert_eq!(
        upstream("{tls: true, health_check: {tls: false}}").checks,
        CheckCarriage { tls: false, ..both }
    );
    let text = "{proxy_protocol: v1, health_check: {proxy_protocol: false}}";
    assert_eq!(upstream(text).checks, CheckCarriage { proxy_protocol: false, ..both });
}

#[test]
fn doors_say_what_routes_say() {
    use tutti_ports::routing::{DoorRules, HedgeAfter, RetryOn, Timeouts};
    let door = *upstream(
        "{door: {timeout: 5s, per_try_timeout: 1s, idle_timeout: 0s, hedge: p95, retries: {attempts: 2, on: [unavailable, 5xx]}}}",
    )
    .door
    .unwrap();
    let ms = Duration::from_millis;
    assert_eq!(
        door.timeouts,
        Timeouts { request: Some(ms(5_000)), per_try: Some(ms(1_000)), idle: Some(ms(0)) }
    );
    assert_eq!(door.hedge.unwrap().after, HedgeAfter::Percentile(95.0));
    let retries = door.retries.unwrap();
    assert_eq!((retries.attempts, retries.on), (2, vec![RetryOn::Grpc(14), RetryOn::ServerError]));
    assert_eq!(upstream("{door: {}}").door.as_deref(), Some(&DoorRules::default()));
}

#[test]
fn what_carries_connections() {
    use tutti_ports::routing::{ProxyVersion, TlsVersion};

    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("certs")).unwrap();
    for file in ["ca.pem", "own.pem", "own.key"] {
        std::fs::write(dir.path().join("certs").join(file), "-").unwrap();
    }
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    let upstreams = |services: &str| {
        std::fs::write(dir.path().join("tutti.yaml"), format!("services: {services}")).unwrap();
        let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
        loaded.map(|loaded| loaded.application.routing.upstreams).map_err(|problems| problems.render(false))
    };
    let web = ServiceName::new("web").unwrap();
    let made = upstreams(
        "{web: {upstream: {proxy_protocol: v2, tls: {ca: certs/ca.pem, server_name: web.internal, cert: certs/own.pem,
          key: ./certs/own.key, min_version: 1.3}}}}",
    );
    let made = made.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(made[&web].proxy_protocol, Some(ProxyVersion::V2));
    let tls = made[&web].tls.as_ref().unwrap();
    assert_eq!((tls.server_name.as_str(), tls.min_version), ("web.internal", TlsVersion::Tls13));
    assert!(tls.ca.as_ref().unwrap().is_absolute() && !tls.insecure_skip_verify);
    assert!(tls.certificate.as_ref().unwrap().key.ends_with("certs/own.key"));
    let name = |services: &str| upstreams(services).unwrap()[&web].tls.as_ref().unwrap().server_name.clone();
    assert_eq!(name("{web: {upstream: {tls: true}}}"), "web");
    assert_eq!(name("{web: {external: 'db.test:5432', upstream: {tls: {}}}}"), "db.test");
    assert!(upstreams("{web: {upstream: {tls: false}}}").unwrap()[&web].tls.is_none());
    for (upstream, text) in [
        ("{proxy_protocol: v3}", "v3"),
        ("{tls: {ca: certs/none.pem}}", "there is no file"),
        ("{tls: {cert: certs/own.pem}}", "`cert` needs `key`"),
        ("{tls: {key: certs/own.key}}", "`key` needs `cert`"),
        ("{tls: {min_version: 1.1}}", "`1.1` is not a version"),
        ("{tls: {server_name: 'https://web'}}", "neither a host name"),
        ("{tls: {insecure_skip_verify: true, ca: certs/ca.pem}}", "`ca` has no effect"),
        ("{tls: {verify: false}}", "verify"),
    ] {
        let problems = upstreams(&format!("{{web: {{upstream: {upstream}}}}}")).unwrap_err();
        assert!(problems.contains(text), "{upstream}: {problems}");
    }
}
