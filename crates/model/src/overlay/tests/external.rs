//! Which other service decides who may ask.

use std::time::Duration;

use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{CachePart, ExternalAsk, Serve, Unavailable};

use super::{bad, good};

#[test]
fn a_hedge_is_a_percentile_or_a_time() {
    use tutti_ports::routing::HedgeAfter;

    let loaded = good(
        "
routes:
  - {path: /, to: web, hedge: p99.9}
  - {path: /b, to: web, grpc_web: true, hedge: {after: 50ms, max_extra: 2, idempotent: true}}
",
    );
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let of = |at: usize| routes[at].resilience.hedge.clone().unwrap();
    assert_eq!((of(0).after, of(0).max_extra, of(0).idempotent), (HedgeAfter::Percentile(99.9), 1, false));
    let fixed = HedgeAfter::Delay(Duration::from_millis(50));
    assert_eq!((of(1).after, of(1).max_extra, of(1).idempotent), (fixed, 2, true));
    assert_eq!((routes[0].content.grpc_web, routes[1].content.grpc_web), (None, Some(true)));
    for rule in ["p10", "p100", "pinf", "p9e1", "0s", "2m", "soon", "{after: soon}"] {
        let problems = bad(&format!("routes:\n  - {{to: web, hedge: {rule}}}\n"));
        assert!(problems.contains("neither a percentile from `p50`"), "{rule}: {problems}");
    }
    assert!(bad("routes:\n  - {to: web, hedge: {after: p95, max_extra: 4}}\n").contains("max_extra"));
}

#[test]
fn another_service_decides() {
    let loaded = good("
gateway: {external_auth: {url: 'http://api/verify?x=1', allowed_upstream_headers: [X-User, 'x-auth-*']}}
routes:
  - {path: /, to: web}
  - {path: /open, to: web, external_auth: false}
  - {path: /login, to: api}
  - {path: /old, redirect: {path: /}}
  - path: /grpc
    to: web
    external_auth: {service: api, protocol: grpc, timeout: 1s, when_unavailable: open, context_extensions: {a: b}, with_request_body: {max_request_bytes: 1K}}
  - {path: /envoy, to: web, external_auth: {service: api, path_prefix: /check/, allowed_headers: cookie, cache: {ttl: 5s, key: [host]}}}
");
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let of = |at: usize| routes[at].guard.external.as_ref();
    let first = of(0).unwrap();
    assert_eq!((first.to.service.as_str(), &first.ask), ("api", &ExternalAsk::Path("/verify?x=1".into())));
    assert_eq!((first.timeout, first.unavailable), (Duration::from_secs(2), Unavailable::Closed));
    assert_eq!(first.upstream_headers, ["x-user", "x-auth-*"]);
    assert!((1..4).all(|at| of(at).is_none()));
    let grpc = of(4).unwrap();
    assert_eq!(grpc.ask, ExternalAsk::Grpc([("a".to_owned(), "b".to_owned())].into()));
    assert_eq!((grpc.to.protocol, grpc.unavailable), (AppProtocol::H2c, Unavailable::Open));
    assert_eq!(grpc.body.unwrap().max_bytes, 1024);
    let envoy = of(5).unwrap();
    assert_eq!(envoy.ask, ExternalAsk::Prefix("/check".into()));
    assert_eq!(envoy.cache.as_ref().unwrap().key, [CachePart::Host]);

    for (rules, text) in [
        ("{}", "says one of `service` and `url`"),
        ("{service: api, url: 'http://api/'}", "says one of `service` and `url`"),
        ("{url: 'https://auth.test/'}", "has to be `http` and name a service of the application"),
        ("{service: apii}", "apii"),
        ("{service: web}", "`web` would be asked whether requests may go to `web`"),
        ("{service: api, path: /a, path_prefix: /b}", "exclude each other"),
        ("{service: api, path: a}", "is not a path"),
        ("{service: api, protocol: grpc, path: /a}", "has no path"),
        ("{service: api, context_extensions: {a: b}}", "needs `protocol: grpc`"),
        ("{service: api, timeout: 0s}", "nobody would be let in"),
        ("{service: api, allowed_upstream_headers: ['*']}", "would name every header field"),
        ("{service: api, allowed_headers: ['a b']}", "is not the name of a header field"),
        ("{service: api, sign_in: '//evil.test'}", "could be sent to"),
        ("{service: api, with_request_body: {max_request_bytes: 2M}}", "between 1 and `1M`"),
        ("{service: api, cache: {ttl: 5s}}", "needs `allowed_headers`"),
        ("{service: api, allowed_headers: cookie, cache: {ttl: 2h}}", "at most `1h`"),
        (
            "{service: api, allowed_headers: cookie, cache: {ttl: 1s}, with_request_body: {}}",
            "exclude each other",
        ),
        ("true", "the gateway has none"),
    ] {
        let problems = bad(&format!("routes:\n  - {{to: web, external_auth: {rules}}}\n"));
        assert!(problems.contains(text), "{rules}: {problems}");
    }
}
