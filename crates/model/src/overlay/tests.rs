//! What an overlay adds to an application, and the mistakes that are found in it.

mod external;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{
    Abort, Adaptive, AdaptiveRule, DeadlineRule, FallbackOn, FallbackTo, Filter, PathMatch, PathRewrite,
    Resilience, Retries, RetryOn, Serve,
};

use crate::app::{Command, Test};
use crate::{LoadOptions, Loaded, load};

const COMPOSE: &str = "
name: shop
services:
  web: {build: ./web, ports: ['8080:3000'], environment: {A: 1, B: 2}, depends_on: [api]}
  api: {build: ./api, expose: [9000], networks: [back]}
  db: {image: postgres, ports: ['5432:5432'], networks: [back, default]}
  dns: {image: d, ports: ['53:53/udp']}
networks: {back: }
";

fn run(overlay: &str) -> Result<Loaded, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
    let env = BTreeMap::from([("WHERE".to_owned(), "here".to_owned())]);
    load(&LoadOptions { folder: dir.path().to_owned(), env, ..LoadOptions::default() })
        .map_err(|problems| problems.render(false))
}

fn good(overlay: &str) -> Loaded {
    run(overlay).unwrap_or_else(|problems| panic!("{problems}"))
}

fn bad(overlay: &str) -> String {
    run(overlay).unwrap_err()
}

#[test]
fn a_service_gets_what_compose_cannot_say() {
    let loaded = good(
        "
x-note: {anything: true}
services:
  web:
    run: npm start -- --port $PORT
    setup: [npm ci, [npm, run, build]]
    dir: web/app
    env: {B: 3, C: '${WHERE}', A: null, T: true}
    port: 3001
    health: {http: /ready, interval: 2s, retries: 5}
    replicas: 2
  db: {external: 'localhost:6543', health: none}
  api: {uses: [web], protocol: grpc, health: {grpc: '', port: 9001}}
  dns: {skip: true}
",
    );
    let web = &loaded.application.services["web"];
    assert_eq!(web.run, Some(Command::Shell("npm start -- --port $PORT".into())));
    assert_eq!(
        web.setup.as_ref().unwrap()[1],
        Command::Args(["npm", "run", "build"].map(str::to_owned).into())
    );
    assert!(web.dir.as_ref().unwrap().ends_with("web/app"));
    let env: Vec<_> = web.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["B=3", "C=here", "T=true"]);
    assert_eq!((web.fixed_port, web.replicas, web.listens[0].port), (Some(3001), 2, 3000));
    let health = web.health.as_ref().unwrap();
    assert_eq!(health.test, Test::Http { port: 3000, path: "/ready".into(), any_status: false });
    assert_eq!((health.interval.as_secs(), health.retries), (2, 5));
    let (db, api) = (&loaded.application.services["db"], &loaded.application.services["api"]);
    assert_eq!(db.external, [(5432, "localhost:6543".to_owned())]);
    assert_eq!(db.health.as_ref().unwrap().test, Test::None);
    assert_eq!(api.listens[0].protocol, AppProtocol::H2c);
    assert!(api.peers.iter().any(|peer| peer.host == "web"), "{:?}", api.peers);
    assert!(loaded.application.services["dns"].skip);
}

#[test]
fn published_ports_are_served_without_routes() {
    let loaded = good("services: {}");
    let listeners = &loaded.application.routing.listeners;
    assert_eq!(listeners.len(), 2);
    assert_eq!(listeners[0].bind, SocketAddr::from(([0, 0, 0, 0], 8080)));
    assert!(matches!(&listeners[0].serve, Serve::Http(routes) if routes[0].backends[0].port == 3000));
    assert!(matches!(&listeners[1].serve, Serve::Tcp(backend) if backend.port == 5432));
    assert!(loaded.notices.render(false).contains("the UDP port 53 of `dns` is not served"));
}

#[test]
fn the_gateway_takes_the_place_of_the_published_root() {
    let loaded = good("routes: [{path: /api, to: api, strip_prefix: true}, {path: /, to: web}]");
    let listeners = &loaded.application.routing.listeners;
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(names, ["gateway", "db:5432"]);
    assert_eq!(listeners[0].bind, SocketAddr::from(([0, 0, 0, 0], 8080)));
    let Serve::Http(routes) = &listeners[0].serve else { panic!() };
    assert_eq!(
        routes[0].filters,
        [Filter::Rewrite { host: None, path: Some(PathRewrite::Prefix("/".into())) }]
    );
    assert_eq!(routes[0].backends[0].port, 9000);
}

#[test]
fn the_gateway_listens_at_home_by_default() {
    let loaded = good("routes: [{path: /api, to: 'api:9000'}]");
    assert_eq!(loaded.application.routing.listeners[0].bind, SocketAddr::from(([127, 0, 0, 1], 8080)));
    let loaded = good("gateway: {listen: 9999}\nroutes: [{to: web}]");
    assert_eq!(loaded.application.routing.listeners[0].bind, SocketAddr::from(([127, 0, 0, 1], 9999)));
    assert_eq!(loaded.application.routing.listeners.len(), 3);
}

#[test]
fn the_gateway_limits_its_clients() {
    let limits = |yaml: &str| {
        let loaded = good(&format!("{yaml}\nroutes: [{{to: web}}]"));
        let listeners = loaded.application.routing.listeners;
        listeners.into_iter().find(|listener| listener.name == "gateway").unwrap().transport.limits
    };
    assert_eq!(limits("gateway: {}"), tutti_ports::routing::ClientLimits::default());
    let said = limits("gateway: {limits: {connections_per_client: 20, min_rate: 0, min_rate_grace: 3s}}");
    assert_eq!((said.connections, said.min_rate, said.min_rate_grace.as_secs()), (Some(20), 0, 3));
    for (yaml, wrong) in [
        ("connections_per_client: -1", "connections_per_client"),
        ("min_rate: fast", "min_rate"),
        ("min_rate_grace: soon", "min_rate_grace"),
        ("speed: 3", "speed"),
    ] {
        let problems = bad(&format!("gateway: {{limits: {{{yaml}}}}}\nroutes: [{{to: web}}]"));
        assert!(problems.contains(wrong), "{problems}");
    }
}

#[test]
fn routes_have_every_condition() {
    let loaded = good(
        "
routes:
  - name: all
    host: [shop.example, '*.shop.example']
    path: [/a, /b]
    method: [get, POST]
    headers: {X-Version: '2', X-Any: {regex: 'a.*'}}
    query: {q: '1'}
    to: [web, {service: 'api:9000', weight: 3}]
    request_headers: {set: {X-A: b}, remove: [Cookie]}
    response_headers: {add: {X-B: c}}
    timeout: 5s
    per_try_timeout: 1s
    idle_timeout: 0s
  - {path_exact: /old, redirect: {path: /new, status: 308}}
  - {path_regex: '/x/[0-9]+', to: web, rewrite: {host: other, path: /y}}
",
    );
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    assert_eq!(routes[0].matches.len(), 4);
    assert_eq!(routes[0].matches[3].method.as_deref(), Some("POST"));
    assert_eq!(routes[0].matches[3].path, Some(PathMatch::Prefix("/b".into())));
    assert_eq!(routes[0].matches[0].headers[1].name, "x-version");
    assert_eq!(routes[0].backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [1, 3]);
    assert!(matches!(routes[0].timeouts.idle, Some(idle) if idle.is_zero()));
    assert!(routes[1].backends.is_empty() && routes[1].name == "route-2");
}

#[test]
fn retries_and_deadlines_of_routes() {
    let loaded = good(
        "
services:
  api: {upstream: {retry_budget: {percent: 5}}}
routes:
  - {path: /a, to: api, retries: 1, deadline: propagate}
  - path: /b
    to: api
    retries: {attempts: 4, on: [5xx, 429, reset, unavailable], backoff: 1s, idempotent: true, buffer: 1MiB}
  - {path: /, to: web}
",
    );
    let routing = &loaded.application.routing;
    let Serve::Http(routes) = &routing.listeners[0].serve else { panic!() };
    let one = &routes[0].resilience;
    assert_eq!(one.deadline, DeadlineRule::Propagate);
    assert_eq!(one.retries, Some(Retries { attempts: 1, ..Retries::default() }));
    let all = routes[1].resilience.retries.as_ref().unwrap();
    let on = [RetryOn::ServerError, RetryOn::Status(429), RetryOn::Reset, RetryOn::Grpc(14)];
    assert_eq!((all.attempts, &all.on[..], all.idempotent, all.buffer), (4, &on[..], true, 1 << 20));
    // A longer first pause takes the longest one with it.
    assert_eq!((all.backoff.as_secs(), all.max_backoff.as_secs()), (1, 1));
    assert_eq!(*routes[2].resilience, Resilience::default());
    let budget = routing.upstreams["api"].retry_budget.unwrap();
    assert_eq!((budget.percent, budget.min_per_second), (5, 10));

    let text = bad("
services:
  api: {upstream: {retry_budget: {percent: 101}}}
routes:
  - {path: /a, to: api, retries: 10}
  - {path: /b, to: api, deadline: never}
");
    for part in ["101", "10", "`never`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bad("
routes:
  - {path: /c, to: api, retries: {on: [sometimes, 200], max_backoff: 1ms, buffer: 17MiB}}
");
    for part in [
        "`sometimes` is not something after which a request can be sent again",
        "`200` is not something",
        "`max_backoff` is shorter than `backoff`",
        "at most 16 MiB",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn limits_fallbacks_and_faults() {
    let loaded = good(
        "
services:
  api: {upstream: {adaptive: gradient, concurrency: {queue: 5, queue_timeout: 1s}}}
  db: {upstream: {concurrency: 8, adaptive: {rule: aimd, min: 4, max: 9, initial: 5, timeout: 2s}}}
routes:
  - {path: /a, to: api, priority: high, concurrency: 20, fallback: {service: web, on: [5xx, 404, unavailable]}}
  - {path: /b, to: api, priority: 7, fallback: {body: '{}', content_type: application/json}}
  - path: /
    to: web
    fault: {percent: 12.5, headers: {X-Chaos: 1}, delay: {min: 10ms, max: 1s}, abort: 503, throttle: 10KiB}
",
    );
    let routing = &loaded.application.routing;
    let Serve::Http(routes) = &routing.listeners[0].serve else { panic!() };
    let one = &routes[0].resilience;
    assert_eq!((one.priority, one.concurrency.as_ref().unwrap().limit), (Some(192), Some(20)));
    let fallback = one.fallback.as_ref().unwrap();
    assert_eq!(fallback.on, [FallbackOn::ServerError, FallbackOn::Status(404), FallbackOn::Unavailable]);
    assert!(matches!(&fallback.to, FallbackTo::Service(backend) if backend.port == 3000));
    assert_eq!(routes[1].resilience.priority, Some(7));
    let answer = &routes[1].resilience.fallback.as_ref().unwrap().to;
    assert!(matches!(answer, FallbackTo::Answer { status: 200, body, .. } if body == b"{}"));
    let fault = routes[2].resilience.fault.as_ref().unwrap();
    assert_eq!((fault.percent, fault.abort, fault.throttle), (12.5, Some(Abort::Status(503)), Some(10_240)));
    assert_eq!(fault.headers, [("x-chaos".to_owned(), "1".to_owned())]);
    let api = &routing.upstreams["api"];
    assert_eq!(api.adaptive, Some(Adaptive::default()));
    assert_eq!(api.concurrency.as_ref().map(|one| (one.limit, one.queue)), Some((None, 5)));
    let db = routing.upstreams["db"].adaptive.unwrap();
    assert_eq!((db.rule, db.min), (AdaptiveRule::Aimd(std::time::Duration::from_secs(2)), 4));
}

#[test]
fn limits_fallbacks_and_faults_that_make_no_sense() {
    let text = bad("
services:
  api: {upstream: {concurrency: {queue: 5}}}
  db: {upstream: {adaptive: {min: 5, max: 4}}}
routes:
  - {path: /a, to: api, concurrency: {queue: 5}, fallback: {on: [timeout]}}
  - {path: /b, to: api, fallback: {service: web, body: x}}
  - {path: /c, to: api, fallback: {on: [sometimes], file: nowhere.html}}
  - {path: /d, to: api, fault: {percent: 101, abort: 200}}
  - {path: /e, to: api, fault: {percent: 1}}
");
    for part in [
        "`concurrency` needs a `limit` where there is no `adaptive` one",
        "have to be in this order",
        "`concurrency` of a route needs a `limit`",
        "a fallback needs a `service`, or a `status`",
        "`service` and an answer of its own exclude each other",
        "`sometimes` is not something for which there is a fallback",
        "`nowhere.html` cannot be read",
        "101 is not a share of 100",
        "`200` is neither a status from 400 to 599",
        "a fault says what goes wrong",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bad("{mode: production, routes: [{to: web, fault: {reset: true}}]}");
    assert!(text.contains("TUT0538") && text.contains("in_production: true"), "{text}");
    good("{mode: production, routes: [{to: web, fault: {reset: true, in_production: true}}]}");
    good("{mode: development, routes: [{to: web, fault: {reset: true}}]}");
}

#[test]
fn mistakes_are_found_all_at_once() {
    let text = bad("
auth: {}
services:
  wbe: {run: x}
  web: {runn: x, port: 70000, health: {http: ready}}
routes:
  - {path: /x, to: nobody}
");
    for part in
        ["TUT0115", "`auth` is kept for login", "did you mean `run`?", "70000", "`ready` is not a path"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bad("
services:
  wbe: {run: x}
  api: {uses: [wbe], health: {http: /, tcp: true}}
routes:
  - {path: x, to: web}
  - {path_regex: '(', to: web}
  - {to: nobody}
  - {}
  - {to: web, redirect: {status: 305}}
  - {name: a, to: web}
  - {name: a, to: web, strip_prefix: true}
gateway: {listen: nowhere}
");
    for part in [
        "there is no service `wbe` in the compose file",
        "did you mean `web`?",
        "exactly one of",
        "`x` is not a path",
        "`(` is not a regular expression",
        "there is no service `nobody`",
        "neither `to` nor `redirect`",
        "exclude each other",
        "305 is not the status",
        "`strip_prefix` needs a `path`",
        "`nowhere` is not an address",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn routes_match_grpc_methods_and_have_mirrors_and_edits_for_single_backends() {
    let loaded = good(
        "
routes:
  - name: all
    grpc: [{service: shop.v1.Catalog, method: Get}, {service: shop.v1.Cart}, {service: {regex: 'shop.*'}, method: Put}]
    to: [web, {service: 'api:9000', request_headers: {set: {X-A: b}}, response_headers: {remove: [server]}}]
    mirror: [web, {to: 'api:9000', percent: 10, request_headers: {set: {x-copy: '1'}}}, {to: web, fraction: {numerator: 1, denominator: 1000}}]
",
    );
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let grpc = |service: &str, method: Option<&str>| PathMatch::Grpc {
        service: Some(service.into()),
        method: method.map(str::to_owned),
    };
    let paths: Vec<_> = routes[0].matches.iter().map(|one| one.path.clone().unwrap()).collect();
    let regex = PathMatch::Regex("/(?:shop.*)/Put".into());
    assert_eq!(paths, [grpc("shop.v1.Catalog", Some("Get")), grpc("shop.v1.Cart", None), regex]);
    assert_eq!(routes[0].backends.iter().map(|backend| backend.filters.len()).collect::<Vec<_>>(), [0, 2]);
    let shares: Vec<_> = routes[0]
        .filters
        .iter()
        .filter_map(|filter| match filter {
            Filter::Mirror { backend, numerator, denominator } => {
                Some((backend.service.as_str(), backend.filters.len(), *numerator, *denominator))
            }
            _ => None,
        })
        .collect();
    assert_eq!(shares, [("web", 0, 100, 100), ("api", 1, 10, 100), ("web", 0, 1, 1000)]);
    for (route, part) in [
        ("grpc: {service: 'a b'}, to: web", "`a b` is not the name of a gRPC service"),
        ("grpc: {method: {regex: '('}}, to: web", "is not a regular expression"),
        ("mirror: nowhere, to: web", "there is no service `nowhere`"),
        ("mirror: {percent: 5}, to: web", "to"),
        ("mirror: {to: web, percent: 101}, to: web", "101"),
        ("mirror: {to: web, percent: 5, fraction: {numerator: 1}}, to: web", "exclude each other"),
        ("mirror: {to: web, fraction: {numerator: 3, denominator: 2}}, to: web", "more than all"),
        ("mirror: web, redirect: {path: /x}", "exclude each other"),
        ("to: [{service: web, request_headers: {set: {'a b': c}}}]", "not the name of a header field"),
    ] {
        let text = bad(&format!("routes: [{{{route}}}]"));
        assert!(text.contains(part), "{route}: {text}");
    }
}

#[test]
fn routes_say_what_requests_and_responses_may_hold() {
    use tutti_ports::routing::{Coding, Content};
    let loaded = good(
        "
routes:
  - name: all
    to: web
    allow_methods: [get, POST]
    allow_content_types: [application/json, 'image/*', 'application/*+json']
    max_request_body: 10M
    max_response_body: 1g
    max_header_fields: 50
    max_header_bytes: 16k
    max_uri_bytes: 2000
    max_query_bytes: 1k
    max_query_parameters: 20
    cors: {origins: ['https://a.test', 'https://*.b.test', 'http://localhost:*'], methods: [put], headers: '*', credentials: true, max_age: 1h}
    security_headers: {frame_options: none, content_security_policy: \"default-src 'self'\"}
    compression: {codings: [zstd], min_size: 2k, types: text/*, level: 9}
    decompress: {max_size: 1M, max_ratio: 10}
  - {path: /a, to: web, compression: true, decompress: true, security_headers: true, cors: {origins: '*'}}
  - {path: /b, to: web, compression: false, decompress: false, security_headers: false}
",
    );
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let content = &routes[0].content;
    assert_eq!(content.methods, ["GET", "POST"]);
    assert_eq!((content.request.body, content.response_bytes), (Some(10 << 20), Some(1 << 30)));
    assert_eq!((content.request.header_bytes, content.request.query_bytes), (Some(16 << 10), Some(1 << 10)));
    assert_eq!((content.request.fields, content.request.query_parameters), (Some(50), Some(20)));
    let cors = content.cors.as_ref().unwrap();
    assert_eq!((cors.max_age_s, &cors.methods[..], cors.credentials), (3_600, &["PUT".to_owned()][..], true));
    let security = content.security.as_ref().unwrap();
    assert_eq!(
        (security.frame_options.as_deref(), security.hsts.as_deref()),
        (None, Some("max-age=31536000"))
    );
    let compression = content.compression.as_ref().unwrap();
    assert_eq!(
        (&compression.codings[..], compression.min_bytes, compression.level),
        (&[Coding::Zstd][..], 2_048, 9)
    );
    assert_eq!(content.decompression.unwrap().max_ratio, 10);
    let short = &routes[1].content;
    assert!(short.compression.is_some() && short.decompression.is_some() && short.security.is_some());
    assert_eq!(short.cors.as_ref().unwrap().max_age_s, 600);
    assert_eq!(*routes[2].content, Content::default());
    for (keys, part) in [
        ("allow_methods: 'a b'", "`A B` is not a name of HTTP"),
        ("allow_content_types: json", "`json` is not a media type"),
        ("compression: {types: '*/json'}", "`*/json` is not a media type"),
        ("compression: {level: 10}", "10"),
        ("compression: {codings: [deflate]}", "deflate"),
        ("max_request_body: much", "is not a size"),
        ("max_request_body: -1", "a size is not negative"),
        ("max_header_fields: 0", "0"),
        ("cors: {methods: [PUT]}", "origins"),
        ("cors: {origins: a.test}", "`a.test` is not an origin"),
        ("cors: {origins: '*', credentials: true}", "name the origins"),
        ("cors: {origins: 'https://a.test', expose: '*', credentials: true}", "exposes nothing"),
        ("cors: true", "cors"),
        ("decompress: {max_ratio: 0}", "0"),
    ] {
        let text = bad(&format!("routes: [{{{keys}, to: web}}]"));
        assert!(text.contains(part), "{keys}: {text}");
    }
}

#[test]
fn the_checked_in_schema_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/tutti.schema.json");
    let current = format!("{:#}\n", crate::schema());
    if std::env::var_os("TUTTI_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &current).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == current,
        "docs/schema/tutti.schema.json is not current; run this test with TUTTI_UPDATE=1"
    );
}

#[test]
fn the_edge_makes_room_for_what_listens_itself() {
    let bound = |overlay: &str| {
        let loaded = good(overlay);
        let listeners = loaded.application.routing.listeners.iter();
        let bound: Vec<String> = listeners.map(|one| format!("{} {}", one.name, one.bind)).collect();
        let notices =
            loaded.notices.iter().map(|notice| notice.message.clone()).collect::<Vec<_>>().join("\n");
        (bound, notices)
    };
    let (listeners, notices) = bound("services: {web: {port: 8080}, api: {port: 8081}}");
    assert_eq!(listeners, ["web:3000 0.0.0.0:8082", "db:5432 0.0.0.0:5432"]);
    assert!(
        notices.contains("`web` listens at 8080 itself, so the gateway serves that port at 8082"),
        "{notices}"
    );
    // A database of this machine is there already; one of another machine is published.
    assert_eq!(bound("services: {db: {external: 'localhost:5432'}}").0, ["web:3000 0.0.0.0:8080"]);
    let elsewhere = bound("services: {db: {external: '10.0.0.5:5432'}}").0;
    assert_eq!(elsewhere, ["web:3000 0.0.0.0:8080", "db:5432 0.0.0.0:5432"]);
    let (gateway, _) = bound("{services: {web: {port: 8080}}, routes: [{to: web}]}");
    assert!(gateway[0].ends_with(":8081"), "{gateway:?}");
}

#[test]
fn secrets_and_configs_of_this_machine_are_files_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let compose = "
services:
  api: {image: i, secrets: [pw, {source: key, target: api.key}], configs: [{source: c, target: /etc/c.toml}, c]}
secrets: {pw: {file: ./pw.txt}, key: {file: key.pem}}
configs: {c: {file: c.toml}}
";
    std::fs::write(dir.path().join("compose.yaml"), compose).unwrap();
    let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let mounts: Vec<String> = loaded.application.services["api"]
        .mounts
        .iter()
        .map(|mount| match &mount.source {
            crate::app::MountSource::Bind(path) => {
                format!(
                    "{} {}",
                    mount.target,
                    path.strip_prefix(&loaded.application.folder).unwrap().display()
                )
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        mounts,
        ["/run/secrets/pw pw.txt", "/run/secrets/api.key key.pem", "/etc/c.toml c.toml", "/c c.toml"]
    );
}

#[test]
fn who_may_ask_and_how_often() {
    use tutti_ports::rate::Algorithm;
    use tutti_ports::routing::{KeyPart, Unavailable};

    let loaded = good(
        "
gateway: {rate_limit: [{rate: 1000/h, name: everybody, key: all}]}
routes:
  - {name: one, to: web, rate_limit: 10/m, allow: 10.0.0.0/8, deny: [10.1.0.0/16, '::1']}
  - name: two
    path: /api
    to: api
    rate_limit:
      - 100/10s
      - {rate: 5/s, algorithm: sliding_window, key: ['header:X-Tenant', route], when_unavailable: closed}
      - {rate: 5/s, burst: 20, name: bursts}
",
    );
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let (one, two) = (&routes[0].guard, &routes[1].guard);
    assert_eq!((one.allow.len(), one.deny[1].to_string()), (1, "::1/128".to_owned()));
    let names = |limits: &[tutti_ports::routing::RateLimit]| -> Vec<String> {
        limits.iter().map(|limit| limit.policy.name.clone()).collect()
    };
    assert_eq!(names(&one.rate_limits), ["gateway/everybody", "route one/10/m"]);
    assert_eq!(one.rate_limits[0].key, []);
    let limit = &one.rate_limits[1];
    assert_eq!((limit.policy.requests, limit.policy.burst, limit.policy.window.as_secs()), (10, 10, 60));
    assert_eq!(limit.key, [KeyPart::Address]);
    assert_eq!(names(&two.rate_limits)[3], "route two/bursts");
    let limit = &two.rate_limits[2];
    assert_eq!(limit.key, [KeyPart::Header("x-tenant".into()), KeyPart::Route]);
    assert_eq!((limit.policy.algorithm, limit.unavailable), (Algorithm::SlidingWindow, Unavailable::Closed));
    assert_eq!((two.rate_limits[3].policy.burst, two.rate_limits[1].policy.window.as_secs()), (20, 10));
}

#[test]
fn mistakes_in_limits_and_addresses_are_found() {
    let text = bad("
routes:
  - {to: web, rate_limit: fast, allow: 10.0.0.0/33}
  - {to: web, rate_limit: [0/s, 5/2d, {burst: 3}, {rate: 1/s, algorithm: leaky}], deny: [nobody]}
");
    for part in [
        "`fast` is not a rate: it is written `100/s`",
        "`10.0.0.0/33` is neither an address",
        "`0/s` is not a rate",
        "`5/2d` is not a rate",
        "`rate`",
        "leaky",
        "`nobody` is neither",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bad("
routes:
  - {to: web, rate_limit: [1/s, 1/s, {rate: 2/s, key: [all, route]}, {rate: 3/s, key: colour}]}
  - {to: web, rate_limit: [{rate: 2/s, burst: 3, algorithm: sliding_window}]}
");
    for part in [
        "two rate limits of the route are called `1/s`",
        "`all` tells no callers apart",
        "`colour` tells no callers apart",
        "`burst` has no meaning for a sliding window",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn https_is_an_address_with_certificates() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    std::fs::create_dir(dir.path().join("certs")).unwrap();
    for file in ["shop.pem", "shop.key", "ca.pem"] {
        std::fs::write(dir.path().join("certs").join(file), "").unwrap();
    }
    let listeners = |gateway: &str| {
        let overlay = format!("{{gateway: {gateway}, routes: [{{to: web}}]}}");
        std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
        let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
        loaded.map(|loaded| loaded.application.routing.listeners).map_err(|problems| problems.render(false))
    };
    let made = listeners(
        "{listen: ':8000', https: '0.0.0.0:8443', tls: {min_version: 1.3, client_auth: {ca: certs/ca.pem, mode: optional},
          files: [{cert: certs/shop.pem, key: ./certs/shop.key}]}}",
    );
    let made = made.unwrap_or_else(|problems| panic!("{problems}"));
    let (plain, secure) = (&made[0], &made[1]);
    assert_eq!(plain.bind, "127.0.0.1:8000".parse::<SocketAddr>().unwrap());
    assert_eq!(plain.transport, tutti_ports::routing::Transport::default());
    let Serve::Http(routes) = &plain.serve else { panic!("{plain:?}") };
    assert!(
        matches!(&routes[0].filters[..], [Filter::Redirect { scheme: Some(scheme), port: Some(8443), status: 308, .. }]
            if scheme == "https")
    );
    assert_eq!((secure.name.as_str(), secure.bind.port()), ("gateway-https", 8443));
    let Serve::Http(routes) = &secure.serve else { panic!("{secure:?}") };
    assert_eq!(routes[0].backends[0].service.as_str(), "web");
    let tls = secure.transport.tls.as_ref().unwrap();
    assert_eq!(tls.min_version, tutti_ports::routing::TlsVersion::Tls13);
    assert!(tls.files[0].cert.ends_with("certs/shop.pem") && tls.files[0].cert.is_absolute());
    assert!(!tls.client_auth.as_ref().unwrap().required);

    let http3 = |gateway: &str| {
        let made = listeners(gateway).unwrap();
        assert_eq!(made[0].transport.http3, None);
        made.get(1).and_then(|secure| secure.transport.http3)
    };
    let default = tutti_ports::routing::Http3::default();
    assert_eq!(http3("{https: 8443}"), None);
    assert_eq!(http3("{http3: false}"), None);
    assert_eq!(http3("{https: 8443, http3: true}"), Some(default));
    assert_eq!(http3("{https: 8443, http3: {}}"), Some(default));
    assert!(!http3("{https: 8443, http3: false}").unwrap().on);
    let said = http3("{https: 8443, http3: {advertised_port: 443, max_age: 1h, retry: true}}").unwrap();
    assert_eq!((said.advertised_port, said.max_age.as_secs(), said.retry), (Some(443), 3_600, true));

    let both = listeners("{https: 8443, https_redirect: false}").unwrap();
    let routes = |at: usize| match &both[at].serve {
        Serve::Http(routes) => routes.clone(),
        Serve::Tcp(_) | Serve::Stream(_) => Vec::new(),
    };
    assert_eq!(routes(0), routes(1));
    for (gateway, text) in [
        ("{https: nowhere}", "`nowhere` is not an address"),
        ("{listen: 8443, https: 8443}", "cannot both be served"),
        ("{tls: {}}", "`tls` needs `https`"),
        ("{https_redirect: true}", "`https_redirect` needs `https`"),
        ("{https: 8443, tls: {min_version: 1.1}}", "`1.1` is not a version"),
        ("{https: 8443, tls: {files: [{cert: certs/none.pem, key: certs/shop.key}]}}", "there is no file"),
        ("{https: 8443, tls: {files: [{cert: certs/shop.pem}]}}", "key"),
        ("{https: 8443, tls: {client_auth: {ca: certs/ca.pem, mode: maybe}}}", "maybe"),
        ("{http3: true}", "`http3` needs `https`"),
        ("{http3: {retry: true}}", "`http3` needs `https`"),
        ("{https: 8443, http3: yes please}", "yes please"),
        ("{https: 8443, http3: {advertised_port: 0}}", "advertised_port"),
        ("{https: 8443, http3: {max_age: soon}}", "soon"),
        ("{https: 8443, http3: {port: 443}}", "port"),
    ] {
        let problems = listeners(gateway).unwrap_err();
        assert!(problems.contains(text), "{gateway}: {problems}");
    }
}

#[test]
fn a_development_certificate_for_strangers_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(dir.path().join("a.pem"), "").unwrap();
    let noticed = |gateway: &str| {
        let overlay = format!("{{gateway: {gateway}, routes: [{{to: web}}]}}");
        std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
        let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
        let notices = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false))).notices;
        notices.render(false).contains("TUT0710")
    };
    assert!(noticed("{https: '0.0.0.0:8443'}"));
    assert!(noticed("{https: '[::]:8443', tls: {min_version: 1.3}}"));
    assert!(!noticed("{https: 8443}"));
    assert!(!noticed("{https: '0.0.0.0:8443', tls: {files: [{cert: a.pem, key: a.pem}]}}"));
    assert!(!noticed("{https: '0.0.0.0:8443', tls: {acme: {hosts: [shop.example.com]}}}"));
}

#[test]
fn credentials_and_conditions() {
    use tutti_ports::routing::{KeySource, Place};

    let hash = "0".repeat(64);
    let loaded = good(&format!(
        "
routes:
  - to: web
    auth:
      jwt: {{issuer: 'https://id.test/', audience: shop, headers: {{X-User: sub}}, claims: {{tid: [a, b]}}, leeway: 5s}}
      api_key: {{keys: {{mobile: 'sha256:{hash}'}}, from: ['header:X-Key', 'query:k'], file: keys.txt}}
      basic: {{file: users}}
      optional: true
    authorize: auth.name != '' && request.method == 'GET'
    rate_limit: [{{rate: 1/s, key: ['claim:sub', api_key]}}]
"
    ));
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let guard = &routes[0].guard;
    let auth = guard.auth.as_ref().unwrap();
    let jwt = auth.jwt.as_ref().unwrap();
    assert_eq!(jwt.keys, KeySource::Issuer("https://id.test/".into()));
    assert_eq!((jwt.leeway.as_secs(), jwt.headers["x-user"].as_str()), (5, "sub"));
    assert_eq!(jwt.from, [Place::Header("authorization".into())]);
    let keys = auth.api_key.as_ref().unwrap();
    assert_eq!(keys.from, [Place::Header("x-key".into()), Place::Query("k".into())]);
    assert_eq!(keys.file.as_ref().unwrap(), &loaded.application.folder.join("keys.txt"));
    assert!(auth.optional && guard.authorize.is_some());
}

#[test]
fn mistakes_in_credentials_and_conditions_are_found() {
    let text = bad("
routes:
  - {to: web, auth: {jwt: {issuer: id.test, algorithms: [HS256]}}, authorize: 'request.method =='}
  - {to: web, auth: {api_key: {keys: {a: hunter2}}, basic: {realm: x}}, authorize: user.name == 'x'}
");
    for part in [
        "`id.test` is not a URL",
        "HS256",
        "is not a condition: line 1 column",
        "a key is written by its hash",
        "`file`",
        "`user` is not known: there are",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = bad("
routes:
  - {to: web, auth: {}}
  - {to: web, auth: {jwt: {audience: x}}}
  - {to: web, auth: {jwt: {jwks: 'https://a/', jwks_file: b, from: body}}}
  - {to: web, auth: {api_key: {from: body}}}
");
    for part in [
        "`auth` says none of",
        "`jwt` says none of `issuer`, `jwks` and `jwks_file`",
        "exclude each other",
        "`body` is no place",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn who_is_believed_is_said_and_never_everybody() {
    use tutti_ports::routing::ForwardedHeader;

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), "services: {web: {image: x, ports: ['8081:80']}}")
        .unwrap();
    let listeners = |gateway: &str| {
        let overlay = format!("{{gateway: {gateway}, routes: [{{to: web}}], services: {{web: {{run: x}}}}}}");
        std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
        let loaded = load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() });
        loaded.map(|loaded| loaded.application.routing.listeners).map_err(|problems| problems.render(false))
    };
    let made = listeners(
        "{listen: 8000, https: 8443, trusted_proxies: [192.0.2.7, private_ranges], trusted_header: forwarded}",
    );
    let made = made.unwrap_or_else(|problems| panic!("{problems}"));
    // The published port beside the gateway has the same proxies in front.
    assert_eq!(made.len(), 3);
    for listener in made {
        let trusted = listener.transport.trusted_proxies;
        assert_eq!(trusted.header, ForwardedHeader::Forwarded);
        for (address, believed) in [
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("172.31.0.1", true),
            ("172.32.0.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(trusted.contains(address.parse().unwrap()), believed, "{address}");
        }
    }
    assert!(listeners("{}").unwrap().iter().all(|one| one.transport.trusted_proxies.ranges.is_empty()));
    for (gateway, text) in [
        ("{trusted_proxies: lb.test}", "`lb.test` is neither an address"),
        ("{trusted_proxies: [10.0.0.0/40]}", "`10.0.0.0/40` is neither"),
        ("{trusted_proxies: [192.0.2.1, '::/0']}", "holds every address"),
        ("{trusted_header: forwarded}", "`trusted_header` has no effect without"),
        ("{trusted_proxies: 10.0.0.1, trusted_header: x-real-ip}", "x-real-ip"),
    ] {
        let problems = listeners(gateway).unwrap_err();
        assert!(problems.contains(text), "{gateway}: {problems}");
    }
}

#[test]
fn a_route_matches_by_a_condition() {
    let text = "request.headers['x-team'] in ['a', 'b'] && source.address.startsWith('10.')";
    let loaded = good(&format!("routes: [{{to: web, path: /a, when: \"{text}\"}}, {{to: web}}]"));
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    assert_eq!((routes[0].when.as_deref(), routes[1].when.as_deref()), (Some(text), None));
    for (when, why) in [
        ("request.method ==", "line 1 column"),
        ("request.path", "is true or false, and this is a text"),
        ("auth.name == 'x'", "not known yet who asks"),
        ("request.metod == 'GET'", "`request` has no `metod`"),
        ("request.path.matches('(')", "unclosed group"),
        ("''", "this is a text"),
    ] {
        let problems = bad(&format!("routes: [{{to: web, when: \"{when}\"}}]"));
        assert!(problems.contains(why) && problems.contains("tutti.yaml:1"), "{when}: {problems}");
    }
}

#[test]
fn a_description_is_of_a_route_or_of_its_service() {
    use tutti_ports::routing::OpenApiMode;

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), COMPOSE).unwrap();
    std::fs::write(dir.path().join("api.yaml"), "openapi: 3.1.0").unwrap();
    let run = |overlay: &str| {
        std::fs::write(dir.path().join("tutti.yaml"), overlay).unwrap();
        load(&LoadOptions { folder: dir.path().to_owned(), ..LoadOptions::default() })
            .map_err(|problems| problems.render(false))
    };
    let loaded = run("
services: {api: {openapi: api.yaml}}
routes:
  - {to: api}
  - {to: [api, {service: api, weight: 2}]}
  - {to: [api, web]}
  - {to: api, openapi: {file: ./api.yaml, requests: report, responses: enforce, unknown_paths: pass, max_body: 2M, base_path: /v1}}
");
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let Serve::Http(routes) = &loaded.application.routing.listeners[0].serve else { panic!() };
    let all: Vec<_> = routes.iter().map(|route| route.content.openapi.clone()).collect();
    let first = all[0].clone().unwrap();
    assert_eq!(first.file, loaded.application.folder.join("api.yaml"));
    assert_eq!((first.requests, first.responses), (OpenApiMode::Enforce, OpenApiMode::Off));
    assert_eq!((first.unknown_pass, first.max_body), (false, 1 << 20));
    assert_eq!((all[1].as_ref(), all[2].as_ref()), (Some(&first), None));
    let own = all[3].clone().unwrap();
    assert_eq!((own.requests, own.responses), (OpenApiMode::Report, OpenApiMode::Enforce));
    assert_eq!((own.unknown_pass, own.max_body, own.base_path.as_deref()), (true, 2 << 20, Some("/v1")));
    for (openapi, why) in [
        ("../api.yaml", "is not in the project's folder"),
        ("/etc/passwd", "is not in the project's folder"),
        ("none.yaml", "there is no file `none.yaml`"),
        ("{requests: enforce}", "`file`"),
        ("{file: api.yaml, responses: maybe}", "maybe"),
        ("{file: api.yaml, max_body: 17M}", "at most 16777216"),
        ("{file: api.yaml, base_path: v1}", "is not a path"),
    ] {
        let problems = run(&format!("routes: [{{to: api, openapi: {openapi}}}]")).err().unwrap();
        assert!(problems.contains(why), "{openapi}: {problems}");
    }
}

#[test]
fn what_is_told_of_requests_is_said_once_for_all_listeners() {
    use tutti_ports::routing::{AccessLog, Explain, LogField, LogFormat, LogTo, Observe};
    let of = |gateway: &str| {
        let loaded = good(&format!(
            "gateway: {gateway}\nroutes: [{{to: web, access_log: false}}, {{path: /x, to: web}}]"
        ));
        loaded.application.routing
    };
    let routing = of("{explain: [10.0.0.0/8, 192.0.2.1], access_log: off}");
    let ranges = ["10.0.0.0/8", "192.0.2.1"].map(|range| range.parse().unwrap());
    assert_eq!(routing.observe.explain, Explain::Ranges(ranges.into()));
    assert_eq!(routing.observe.access_log.to, LogTo::Off);
    let Serve::Http(routes) = &routing.listeners[0].serve else { panic!() };
    assert!(routes[0].unlogged && !routes[1].unlogged);
    let rules = "{to: logs/a.log, format: text, fields: [time, status, host], sample: 5, slower_than: 2s, max_size: 1M, keep: 2}";
    let log = of(&format!("{{explain: on, access_log: {rules}}}")).observe.access_log;
    let LogTo::File(path) = &log.to else { panic!("{log:?}") };
    assert!(path.is_absolute() && path.ends_with("logs/a.log"));
    let expected = AccessLog {
        to: log.to.clone(),
        format: LogFormat::Text,
        fields: vec![LogField::Time, LogField::Status, LogField::Host],
        sample: Some(5),
        slower_than: Some(std::time::Duration::from_secs(2)),
        max_size: Some(1 << 20),
        keep: Some(2),
    };
    assert_eq!(log, expected);
    assert_eq!(of("{access_log: stdout}").observe.access_log.to, LogTo::Stdout);
    assert_eq!(good("routes: [{to: web}]").application.routing.observe, Observe::default());
    assert_eq!(good("{}").application.routing.observe, Observe::default());
    // In production nobody is told unless somebody said so; also without routes.
    assert_eq!(good("mode: production").application.routing.observe.explain, Explain::Off);
    let said = good("{mode: production, gateway: {explain: loopback}}");
    assert_eq!(said.application.routing.observe.explain, Explain::Loopback);
    assert!(!said.notices.render(false).contains("`gateway`"));
}

#[test]
fn mistakes_of_what_is_told_are_found() {
    for (gateway, words) in [
        ("{explain: maybe}", "`maybe` is neither `off`, `loopback`, `on` nor an address"),
        ("{explain: [on]}", "`on` is neither an address"),
        ("{access_log: {format: xml}}", "xml"),
        (
            "{access_log: {fields: [time, query]}}",
            "`query` is not a field of the access log: there are time,",
        ),
        ("{access_log: {sample: 101}}", "101"),
        ("{access_log: {max_size: big}}", "big"),
        ("{access_log: {slower_than: soon}}", "soon"),
        ("{access_log: {fiels: [time]}}", "did you mean `fields`"),
        ("{access_log: ''}", "empty"),
    ] {
        let text = bad(&format!("gateway: {gateway}\nroutes: [{{to: web}}]"));
        assert!(text.contains(words), "{gateway}: {text}");
    }
    assert!(bad("routes: [{to: web, access_log: maybe}]").contains("maybe"));
}
