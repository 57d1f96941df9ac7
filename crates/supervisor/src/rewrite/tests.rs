//! What is an address or path and what only looks like one.

use super::*;
use proptest::prelude::*;
use tutti_core::ServiceName;

fn peer(service: &str, ports: &[(u16, u16)]) -> PeerTarget {
    let ports = ports.iter().map(|(port, door)| (*port, ("127.0.0.1".to_owned(), door.to_string())));
    PeerTarget { service: service.to_owned(), ports: ports.collect(), at: None }
}

fn targets() -> Targets {
    let peers = [
        ("catalog", peer("catalog", &[(8080, 61001)])),
        ("db", peer("db", &[(5432, 61002)])),
        ("mysql", peer("mysql", &[(3306, 61003)])),
        ("mq", peer("mq", &[(5672, 61004), (15672, 61005)])),
        ("web", peer("web", &[(80, 61006), (9000, 61007)])),
        ("a", peer("a", &[(1, 61011)])),
        ("b", peer("b", &[(2, 61012)])),
        ("data", peer("data", &[(80, 61013)])),
        ("cart-service", peer("cart-service", &[(8080, 61014)])),
    ];
    Targets {
        peers: peers.into_iter().map(|(host, target)| (host.to_owned(), target)).collect(),
        own: [(8080, "20080".to_owned()), (9090, "20090".to_owned())].into(),
        mounts: vec![
            ("/data".to_owned(), "/d/volumes/data".into()),
            ("/data/cache".to_owned(), "/d/volumes/cache".into()),
            ("/etc/app.conf".to_owned(), "/src/app.conf".into()),
            ("/".to_owned(), "/never".into()),
        ],
        ours: vec!["/data/project".into()],
    }
}

fn rewritten(key: &str, from: &str) -> String {
    value(key, from, &targets()).map_or_else(|| from.to_owned(), |changed| changed.value)
}

#[test]
fn addresses_of_peers_become_doors() {
    for (from, to) in [
        ("catalog:8080", "127.0.0.1:61001"),
        ("CATALOG:8080", "127.0.0.1:61001"),
        ("http://catalog:8080", "http://127.0.0.1:61001"),
        ("http://catalog:8080/x?y=z", "http://127.0.0.1:61001/x?y=z"),
        ("jdbc:mysql://mysql:3306/x", "jdbc:mysql://127.0.0.1:61003/x"),
        ("amqp://user:pw@mq:5672", "amqp://user:pw@127.0.0.1:61004"),
        ("postgres://u:p@db:5432/x?sslmode=disable", "postgres://u:p@127.0.0.1:61002/x?sslmode=disable"),
        ("a:1,b:2", "127.0.0.1:61011,127.0.0.1:61012"),
        ("a:1, b:2", "127.0.0.1:61011, 127.0.0.1:61012"),
        ("mongodb://a:1,b:2/x", "mongodb://127.0.0.1:61011,127.0.0.1:61012/x"),
        ("host=db:5432 user=x", "host=127.0.0.1:61002 user=x"),
        ("{\"url\":\"http://catalog:8080\"}", "{\"url\":\"http://127.0.0.1:61001\"}"),
        ("http://cart-service:8080", "http://127.0.0.1:61014"),
        ("see catalog:8080.", "see 127.0.0.1:61001."),
        ("user@tcp(mysql:3306)/x", "user@tcp(127.0.0.1:61003)/x"),
    ] {
        assert_eq!(rewritten("URL", from), to);
    }
}

#[test]
fn a_url_without_port_means_its_schemes_or_the_only_one() {
    for (from, to) in [
        ("http://web", "http://127.0.0.1:61006"),
        ("http://web/x", "http://127.0.0.1:61006/x"),
        ("http://catalog/x", "http://127.0.0.1:61001/x"),
        ("postgres://u:p@db/x", "postgres://u:p@127.0.0.1:61002/x"),
        ("amqp://mq", "amqp://127.0.0.1:61004"),
        ("mongodb://a,b/x", "mongodb://127.0.0.1:61011,127.0.0.1:61012/x"),
        // Two ports, and none of them the scheme's: which one is meant cannot be known.
        ("redis://mq", "redis://mq"),
    ] {
        assert_eq!(rewritten("URL", from), to);
    }
    let changed = value("URL", "http://catalog/x", &targets()).unwrap();
    assert_eq!(changed.reasons, ["catalog is catalog:8080, its only port"]);
}

#[test]
fn what_only_looks_like_a_peer_stays() {
    for same in [
        "mycatalog:8080",
        "catalog:80801",
        "catalog:08080",
        "catalog:8081",
        "catalog:8080x",
        "catalog:8080_1",
        "catalog.example.com:8080",
        "my.catalog:8080",
        "my-catalog:8080",
        "catalog-2:8080",
        "http://catalog.example.com/x",
        "registry.io/catalog:8080",
        "/var/lib/catalog:8080",
        "http://example.com/catalog:8080/x",
        "http://catalog:8080@example.com/",
        "x:catalog:8080",
        "catalog",
        "the catalog is nice",
        "catalogué:8080",
        "http://",
        "://catalog",
        "",
        ":",
    ] {
        assert_eq!(rewritten("URL", same), same);
    }
}

#[test]
fn a_host_and_its_port_in_two_variables_change_together() {
    let env = |pairs: &[(&str, &str)]| -> IndexMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let result =
        environment("x", &env(&[("DB_HOST", "db"), ("DB_PORT", "5432"), ("DB_NAME", "db")]), &targets());
    assert_eq!(result.value, env(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", "61002"), ("DB_NAME", "db")]));
    assert_eq!(result.rewrites.len(), 2);
    assert_eq!(result.rewrites[0].reason, "DB_HOST and DB_PORT name db:5432");
    let result = environment("x", &env(&[("dbHost", "db"), ("dbPort", "5432")]), &targets());
    assert_eq!(result.value, env(&[("dbHost", "127.0.0.1"), ("dbPort", "61002")]));
    // Without the port, or with one of somebody else, there is no address to give.
    for alone in [&[("DB_HOST", "db")][..], &[("DB_HOST", "db"), ("DB_PORT", "3306")]] {
        let result = environment("x", &env(alone), &targets());
        assert_eq!(result.value, env(alone));
        assert_eq!(result.notices.len(), 1);
    }
}

#[test]
fn a_services_own_port_becomes_the_one_it_was_given() {
    for (key, from, to) in [
        ("PORT", "8080", "20080"),
        ("GRPC_PORT", "9090", "20090"),
        ("SIZE", "8080", "8080"),
        ("PORT", "8081", "8081"),
        ("LISTEN", ":8080", ":20080"),
        ("LISTEN", "0.0.0.0:8080", "0.0.0.0:20080"),
        ("ASPNETCORE_URLS", "http://+:8080", "http://+:20080"),
        ("ASPNETCORE_URLS", "http://*:8080/", "http://*:20080/"),
        ("LISTEN", "[::]:8080", "[::]:20080"),
        // What a browser is told is not where the service listens.
        ("PUBLIC_URL", "http://localhost:8080", "http://localhost:8080"),
        ("PUBLIC_URL", "https://example.com:8080", "https://example.com:8080"),
    ] {
        assert_eq!(rewritten(key, from), to, "{key}");
    }
}

#[test]
fn arguments_are_rewritten_too() {
    let args = ["serve", "--port", "8080", "--grpc-port=9090", "-p", "8080", "--db", "db:5432", "8080"];
    let result = command("x", &Command::Args(args.map(str::to_owned).to_vec()), &targets());
    let expected =
        ["serve", "--port", "20080", "--grpc-port=20090", "-p", "20080", "--db", "127.0.0.1:61002", "8080"];
    assert_eq!(result.value, Command::Args(expected.map(str::to_owned).to_vec()));
    let keys: Vec<&str> = result.rewrites.iter().map(|rewrite| rewrite.key.as_str()).collect();
    assert_eq!(keys, ["run[2]", "run[3]", "run[5]", "run[7]"]);
    let line = Command::Shell("curl http://catalog:8080/ | tee /data/x".to_owned());
    let expected = Command::Shell("curl http://127.0.0.1:61001/ | tee /d/volumes/data/x".to_owned());
    assert_eq!(command("x", &line, &targets()).value, expected);
}

#[test]
fn paths_of_volumes_become_their_folders() {
    for (from, to) in [
        ("/data", "/d/volumes/data"),
        ("/data/", "/d/volumes/data/"),
        ("/data/x.db", "/d/volumes/data/x.db"),
        ("/data/cache/y", "/d/volumes/cache/y"),
        ("sqlite:////data/x.db", "sqlite:////d/volumes/data/x.db"),
        ("file:///data/x.db?mode=rw", "file:////d/volumes/data/x.db?mode=rw"),
        ("jdbc:h2:/data/x", "jdbc:h2:/d/volumes/data/x"),
        ("--config=/etc/app.conf", "--config=/src/app.conf"),
        ("/data:/data/cache", "/d/volumes/data:/d/volumes/cache"),
        ("/database", "/database"),
        ("/data.bak", "/data.bak"),
        ("/var/data/x", "/var/data/x"),
        ("http://data/x", "http://127.0.0.1:61013/x"),
        ("data/x", "data/x"),
        ("./data", "./data"),
        ("/data/project/target/x.jar", "/data/project/target/x.jar"),
        ("/data/projects", "/d/volumes/data/projects"),
        ("/", "/"),
    ] {
        // `file:///data` has one slash more than before; that is the same path.
        assert_eq!(
            rewritten("X", from).replace("file:////", "file:///"),
            to.replace("file:////", "file:///")
        );
    }
}

#[test]
fn a_preview_names_what_is_not_known_yet() {
    let name = |text: &str| ServiceName::new(text).unwrap();
    let mut web = Service::new(name("web"));
    web.environment.insert("CATALOG".to_owned(), "http://catalog:8080".to_owned());
    web.peers.push(tutti_model::app::Peer { host: "catalog".to_owned(), service: name("catalog") });
    let mut catalog = Service::new(name("catalog"));
    catalog.listens = vec![tutti_model::app::Listen { port: 8080, protocol: Default::default(), udp: false }];
    let application = Application {
        name: tutti_core::ProjectName::new("x").unwrap(),
        folder: "/x".into(),
        files: Vec::new(),
        services: [web, catalog].into_iter().map(|service| (service.name.clone(), service)).collect(),
        routing: Default::default(),
    };
    let rewrites = preview(&application);
    assert_eq!(rewrites.len(), 1);
    assert_eq!(rewrites[0].to, "http://127.0.0.1:<door>");
}

proptest! {
    #[test]
    fn without_targets_nothing_changes(key in ".{0,20}", text in ".{0,80}") {
        prop_assert_eq!(value(&key, &text, &Targets::default()), None);
    }

    #[test]
    fn text_around_an_address_is_kept(
        before in "[ ,;=(\"]{0,3}",
        after in "(|[ ,;)\"/][a-z /,]{0,9})",
    ) {
        let from = format!("{before}catalog:8080{after}");
        prop_assert_eq!(rewritten("URL", &from), format!("{before}127.0.0.1:61001{after}"));
    }

    #[test]
    fn a_longer_word_is_another_word(before in "[a-z0-9._-]{1,5}", after in "[a-z0-9_]{1,5}") {
        for from in [format!("{before}catalog:8080"), format!("catalog:8080{after}"), format!("catalog{after}:8080")] {
            prop_assert_eq!(rewritten("URL", &from), from);
        }
    }

    #[test]
    fn hostile_text_is_survived(text in "[a-z:/@,.\u{e9}0-9\u{1f600} ]{0,60}") {
        // Twice the same, and no panic at any boundary.
        prop_assert_eq!(rewritten("URL", &text), rewritten("URL", &text));
    }

    #[test]
    fn rewriting_is_done_once(text in "(http://)?(catalog|db|web|a|b)(:[0-9]{1,5})?(/data|/x)?") {
        let once = rewritten("URL", &text);
        prop_assert_eq!(rewritten("URL", &once), once);
    }
}

#[test]
fn a_host_alone_is_changed_where_the_port_is_the_usual_one() {
    let mut service = Service::new(ServiceName::new("db").unwrap());
    service.external = vec![(5432, "127.0.0.1:5432".to_owned())];
    assert_eq!(PeerTarget::host_of(&service).as_deref(), Some("127.0.0.1"));
    service.external = vec![(5432, "127.0.0.1:15432".to_owned())];
    assert_eq!(PeerTarget::host_of(&service), None, "a program that takes 5432 by itself would miss it");
    service.external.clear();
    assert_eq!(PeerTarget::host_of(&service), None, "where it will listen is not known yet");
    service.fixed_port = Some(5432);
    let listen = |port| tutti_model::app::Listen { port, protocol: Default::default(), udp: false };
    service.listens = vec![listen(5432)];
    assert_eq!(PeerTarget::host_of(&service).as_deref(), Some("127.0.0.1"));
    service.listens.push(listen(9187));
    assert_eq!(PeerTarget::host_of(&service), None);

    let mut targets = targets();
    targets.peers.get_mut("db").unwrap().at = Some("10.0.0.5".to_owned());
    let env = [("PG_HOST", "db"), ("DB_HOST", "db"), ("DB_PORT", "5432"), ("MQ_HOST", "mq")];
    let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let result = environment("api", &env, &targets);
    assert_eq!(result.value["PG_HOST"], "10.0.0.5");
    assert_eq!((result.value["DB_HOST"].as_str(), result.value["DB_PORT"].as_str()), ("127.0.0.1", "61002"));
    assert_eq!(result.value["MQ_HOST"], "mq");
    assert!(
        result.notices.iter().any(|notice| notice.starts_with("MQ_HOST=mq names a peer without its port"))
    );
    assert_eq!(result.notices.len(), 1);
}
