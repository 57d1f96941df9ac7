//! The forms in which public compose files ask whether a service is well, each with what becomes of it.

use super::*;

fn environment() -> IndexMap<String, String> {
    [("PORT", "3000"), ("HEALTH", "/livez"), ("EMPTY", ""), ("SPACED", "a b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

fn shell(line: &str) -> Native {
    let environment = environment();
    let names = ["shop-api", "api.internal"];
    native(
        &Test::Command(Command::Shell(line.to_owned())),
        &Surroundings { environment: &environment, names: &names },
    )
}

fn args(words: &[&str]) -> Native {
    let environment = environment();
    native(
        &Test::Command(Command::Args(owned(words))),
        &Surroundings { environment: &environment, names: &["shop-api"] },
    )
}

/// `http 8080 /health`, `any 80 /`, `tcp 5432`, `grpc 50051 shop.Cart`; with ` within 5s` for a limit of its own.
fn short(native: &Native) -> String {
    let Native::Probe { test, limit } = native else { return format!("{native:?}") };
    let mut text = match test {
        Test::Http { port, path, any_status: false } => format!("http {port} {path}"),
        Test::Http { port, path, any_status: true } => format!("any {port} {path}"),
        Test::Tcp { port } => format!("tcp {port}"),
        Test::Grpc { port, service } => format!("grpc {port} {service}").trim_end().to_owned(),
        other => format!("{other:?}"),
    };
    if let Some(limit) = limit {
        text.push_str(&format!(" within {limit:?}"));
    }
    text
}

/// Lines for the shell (`CMD-SHELL`, or a plain string) that are understood.
const LINES: &[(&str, &str)] = &[
    // curl
    ("curl -f http://localhost:8080/health", "http 8080 /health"),
    ("curl -f http://localhost:8080/health || exit 1", "http 8080 /health"),
    ("curl -f http://localhost || exit 1", "http 80 /"),
    ("curl -f http://localhost/ || exit 1", "http 80 /"),
    ("curl -f localhost:9200/_cluster/health || false", "http 9200 /_cluster/health"),
    ("curl -fsS http://127.0.0.1:4000/healthz || exit 1", "http 4000 /healthz"),
    ("curl -sf http://0.0.0.0:8181/health", "http 8181 /health"),
    ("curl --silent --fail localhost:9200/_cat/health || exit 1", "http 9200 /_cat/health"),
    ("curl --fail http://[::1]:8000/ || exit 1", "http 8000 /"),
    ("curl -f 'http://localhost:8080/health?full=1&deep=0' || exit 1", "http 8080 /health?full=1&deep=0"),
    ("curl -f http://localhost:8080?ready", "http 8080 /?ready"),
    (
        "curl -fsS --max-time 5 http://127.0.0.1:8888/index.html > /dev/null || exit 1",
        "http 8888 /index.html within 5s",
    ),
    ("curl -fs -m 2 http://localhost:3000 >/dev/null 2>&1 || exit 1", "http 3000 / within 2s"),
    ("curl -s -o /dev/null -w '%{http_code}' -f http://localhost/", "http 80 /"),
    ("curl -so/dev/null -f http://localhost:81", "http 81 /"),
    ("curl -fI http://localhost:8080", "http 8080 /"),
    ("curl -fL http://localhost:8080/login", "http 8080 /login"),
    ("curl -f -X GET http://localhost:8080/ping", "http 8080 /ping"),
    (
        "curl --fail --silent --show-error --output /dev/null http://shop-api:7000/up || exit 1",
        "http 7000 /up",
    ),
    ("/usr/bin/curl -fs http://api.internal:7000/up", "http 7000 /up"),
    ("curl --connect-timeout 3 --noproxy '*' -f http://localhost:1/", "http 1 /"),
    ("curl -f --url http://localhost:8080/x", "http 8080 /x"),
    ("curl -f http://localhost:$PORT/health || exit 1", "http 3000 /health"),
    ("curl -f \"http://localhost:${PORT}${HEALTH}\" || exit 1", "http 3000 /livez"),
    ("curl -f http://localhost:${PORT:-8080}/health", "http 3000 /health"),
    ("curl -f http://localhost:${ADMIN_PORT:-9001}/health", "http 9001 /health"),
    ("curl -f http://localhost:${EMPTY:-9001}/health", "http 9001 /health"),
    ("curl -f http://$HOSTNAME:8080/health", "http 8080 /health"),
    ("curl -f http://$(hostname):8080/health", "http 8080 /health"),
    ("curl http://localhost:3000/api/heartbeat", "any 3000 /api/heartbeat"),
    ("curl -s http://localhost:9200 >/dev/null || exit 1", "any 9200 /"),
    ("curl \\\n  -f \\\n  http://localhost:8080/health \\\n  || exit 1\n", "http 8080 /health"),
    ("curl -f http://localhost:8080/health || (exit 1)", "http 8080 /health"),
    ("sh -c 'curl -f http://localhost:8080/health || exit 1'", "http 8080 /health"),
    ("timeout 3 curl -f http://localhost:8080/health", "http 8080 /health within 3s"),
    ("timeout 10s curl -fm 2 http://localhost:8080/health", "http 8080 /health within 2s"),
    // wget
    ("wget http://localhost:5000/api/health", "http 5000 /api/health"),
    (
        "wget --no-verbose --tries=1 --spider http://localhost:8090/api/health || exit 1",
        "http 8090 /api/health",
    ),
    ("wget -q --spider http://localhost:8080/ || exit 1", "http 8080 /"),
    ("wget --spider localhost:7474 || exit 1", "http 7474 /"),
    ("wget -qO- http://localhost:3000/ || exit 1", "http 3000 /"),
    ("wget -qO - http://localhost:3000/ready", "http 3000 /ready"),
    ("wget -q -O /dev/null http://127.0.0.1:8123/ping", "http 8123 /ping"),
    ("wget -q -O- http://127.0.0.1:${PORT}/ >/dev/null 2>&1 || exit 1", "http 3000 /"),
    ("wget -nv -t1 --spider 'http://localhost:8081/nexus' || exit 1", "http 8081 /nexus"),
    ("wget -q -T 5 --spider http://localhost:80/", "http 80 /"),
    ("wget -q -t 1 -T 5 --spider http://localhost:80/", "http 80 / within 5s"),
    ("wget -Y off -O - http://localhost:9998/version", "http 9998 /version"),
    ("wget -q --spider --proxy=off localhost:3000/health || exit 1", "http 3000 /health"),
    ("busybox wget -q --spider http://localhost:8080", "http 8080 /"),
    // nc and bash
    ("nc -z localhost 5432", "tcp 5432"),
    ("nc -z localhost 9090 || exit 1", "tcp 9090"),
    ("nc -zv 127.0.0.1 6379", "tcp 6379"),
    ("nc -vz -w1 localhost 6379 || exit 1", "tcp 6379 within 1s"),
    ("netcat -z localhost ${PORT}", "tcp 3000"),
    ("nc -z localhost 11211 &> /dev/null", "tcp 11211"),
    ("bash -c 'echo > /dev/tcp/localhost/8080'", "tcp 8080"),
    ("bash -c '</dev/tcp/127.0.0.1/6333' || exit 1", "tcp 6333"),
    ("timeout 5 bash -c ':> /dev/tcp/127.0.0.1/9092' || exit 1", "tcp 9092 within 5s"),
    ("(echo > /dev/tcp/localhost/7687) >/dev/null 2>&1 || exit 1", "tcp 7687"),
    ("bash -c 'exec 3<>/dev/tcp/localhost/9000'", "tcp 9000"),
    ("cat < /dev/null > /dev/tcp/localhost/3306", "tcp 3306"),
    // gRPC
    ("grpc_health_probe -addr=:50051", "grpc 50051 within 2s"),
    (
        "/bin/grpc_health_probe -addr=localhost:9090 -service=shop.Cart || exit 1",
        "grpc 9090 shop.Cart within 2s",
    ),
];

#[test]
fn lines_of_public_files_become_probes() {
    for (line, expected) in LINES {
        assert_eq!(short(&shell(line)), *expected, "{line}");
    }
}

#[test]
fn argument_lists_become_probes() {
    for (words, expected) in [
        (&["curl", "-f", "http://localhost:8080/health"][..], "http 8080 /health"),
        (&["curl", "--fail", "--silent", "http://127.0.0.1:5000/health"], "http 5000 /health"),
        (&["curl", "-f", "http://localhost/q?a=1&b=2"], "http 80 /q?a=1&b=2"),
        (&["wget", "--quiet", "--tries=1", "--spider", "http://localhost:2112/health"], "http 2112 /health"),
        (&["wget", "-qO-", "http://localhost:7880/"], "http 7880 /"),
        (&["wget", "-O", "/dev/null", "http://localhost:8080"], "http 8080 /"),
        (&["nc", "-z", "localhost", "50051"], "tcp 50051"),
        (&["grpc_health_probe", "-addr=:4445"], "grpc 4445 within 2s"),
        (&["grpc_health_probe", "--addr", "localhost:1", "-rpc-timeout=250ms"], "grpc 1 within 1.25s"),
        (&["grpc_health_probe", "-addr=127.0.0.1:1", "-connect-timeout", "5s"], "grpc 1 within 6s"),
        (&["sh", "-c", "curl -f http://localhost:$PORT/ || exit 1"], "http 3000 /"),
        (&["/bin/bash", "-c", "echo > /dev/tcp/localhost/8080"], "tcp 8080"),
    ] {
        assert_eq!(short(&args(words)), expected, "{words:?}");
    }
}

/// What must stay a command, and a word of the reason.
const COMMANDS: &[(&str, &str)] = &[
    ("python -c \"import urllib.request; urllib.request.urlopen('http://localhost:8000/health')\"", "python"),
    (
        "node -e \"require('http').get('http://localhost:3000', r => process.exit(r.statusCode === 200 ? 0 : 1))\"",
        "node",
    ),
    ("pg_isready -U shop -d shop", "pg_isready"),
    ("redis-cli ping", "redis-cli"),
    ("redis-cli ping | grep PONG", "pipe"),
    ("mysqladmin ping -h localhost", "mysqladmin"),
    ("curl -s http://localhost:8083/connectors | grep -q sink", "pipe"),
    ("curl -f https://localhost:8443/health", "https"),
    ("curl -kf https://localhost/ || exit 1", "https"),
    ("curl -f http://db:5432/", "not the service itself"),
    ("curl -f http://example.com/", "not the service itself"),
    ("curl -f http://localhost:8080/a && curl -f http://localhost:8081/b", "more than one"),
    ("curl -f http://localhost:8080/a http://localhost:8080/b", "several"),
    ("curl -f http://localhost:8080/a || curl -f http://localhost:8080/b || exit 1", "||"),
    ("curl -f http://localhost:8080/a || exit 0", "||"),
    ("curl -f http://localhost:8080/a || true", "||"),
    ("curl -f http://localhost:8080/a; exit 0", "more than one"),
    ("curl -f -X POST http://localhost:8080/rpc", "POST"),
    ("curl -f -H 'Host: shop.example' http://localhost/", "-H"),
    ("curl -f -u admin:secret http://localhost/", "-u"),
    ("curl -f http://admin:secret@localhost/", "logs in"),
    ("curl -f -d '{}' http://localhost/", "-d"),
    ("curl -f --retry 5 http://localhost/", "--retry"),
    ("curl -f --unix-socket /run/app.sock http://localhost/", "--unix-socket"),
    ("curl -f -o /tmp/health http://localhost/", "/tmp/health"),
    ("curl -f http://localhost:8080/ > /tmp/health", "/tmp/health"),
    ("curl -f http://localhost:$UNKNOWN/", "UNKNOWN"),
    ("curl -f http://localhost:8080/$SPACED", "split"),
    ("curl -f http://localhost:8080/${PORT%0}", "not understood"),
    ("curl -f http://localhost:8080/a?b=1&c=2", "background"),
    ("curl -f http://localhost:99999/", "not a port"),
    ("curl -f http://localhost:0/", "not a port"),
    ("curl -f 'http://localhost:8080/{a,b}'", "plain address"),
    ("curl -f", "no or several"),
    (
        "test \"$(curl -s -o /dev/null -w '%{http_code}' http://localhost/)\" = 200",
        "output of another command",
    ),
    ("[ \"`curl -s http://localhost/`\" = ok ]", "output of another command"),
    ("wget -qO- https://localhost:8443/", "https"),
    ("wget -qO /tmp/x http://localhost/", "/tmp/x"),
    ("wget --post-data=x http://localhost/", "--post-data"),
    ("wget --header='Accept: x' http://localhost/", "--header"),
    ("wget --max-redirect=0 http://localhost/", "--max-redirect"),
    ("echo ruok | nc localhost 2181", "pipe"),
    ("nc localhost 2181", "without -z"),
    ("nc -zu localhost 53", "-zu"),
    ("nc -z localhost 80-90", "not a port"),
    ("nc -z db 5432", "not the service itself"),
    ("bash -c 'exec 3<>/dev/tcp/localhost/9000; echo -e \"GET / HTTP/1.0\" >&3'", "more than one"),
    ("cat < /dev/tcp/localhost/9092", "talks"),
    ("grpc_health_probe -addr=:50051 -tls", "TLS"),
    ("grpc_health_probe", "no address"),
    ("if curl -f http://localhost/; then exit 0; else exit 1; fi", "more than one"),
    ("while ! curl -f http://localhost; do sleep 1; done", "more than one"),
    ("! curl -f http://localhost/", "native equal"),
    ("FOO=1 curl -f http://localhost/", "native equal"),
    ("curl -f 'http://localhost/", "not closed"),
    ("curl -f \"http://localhost/", "not closed"),
    ("curl -f http://localhost/ \\", "backslash"),
    ("", "empty"),
    ("exit 0", "exit"),
];

#[test]
fn what_is_in_doubt_stays_a_command_and_says_why() {
    for (line, word) in COMMANDS {
        match shell(line) {
            Native::Command { why } => assert!(why.contains(word), "{line}: {why}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn without_a_shell_nothing_is_expanded_or_chained() {
    for words in [
        &["curl", "-f", "http://localhost:$PORT/"][..],
        &["curl", "-f", "http://localhost/", "||", "exit", "1"],
        &["CURL", "-f", "http://localhost/"],
        &[],
    ] {
        assert!(matches!(args(words), Native::Command { .. }), "{words:?}");
    }
}

#[test]
fn what_is_no_command_stays_as_it_is() {
    let environment = IndexMap::new();
    let surroundings = Surroundings { environment: &environment, names: &[] };
    for test in [Test::None, Test::Tcp { port: 1 }] {
        assert_eq!(native(&test, &surroundings), Native::AsIs);
    }
}

#[test]
fn a_commands_own_limit_only_shortens_the_timeout() {
    let environment = IndexMap::new();
    let surroundings = Surroundings { environment: &environment, names: &[] };
    for (line, timeout) in
        [("nc -zw 2 localhost 1", 2), ("nc -zw 60 localhost 1", 30), ("nc -z localhost 1", 30)]
    {
        let mut check = Healthcheck {
            test: Test::Command(Command::Shell(line.to_owned())),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: None,
        };
        assert_eq!(make_native(&mut check, &surroundings), None);
        assert_eq!(check.test, Test::Tcp { port: 1 });
        assert_eq!(check.timeout, Duration::from_secs(timeout), "{line}");
    }
}

proptest::proptest! {
    /// Any line ends in an answer, and what the shell would take for a second command never becomes a probe.
    #[test]
    fn no_line_panics_and_none_hides_a_second_command(
        line in "(curl -f |wget -q |nc -z )?[ -~\n]{0,40}",
        sequel in proptest::sample::select(vec!["; true", " && true", " | cat", "\ntrue", " & true", " || true"]),
    ) {
        let _ = shell(&line);
        let whole = format!("curl -f http://localhost:8080/{sequel}");
        let is_command = matches!(shell(&whole), Native::Command { .. });
        proptest::prop_assert!(is_command, "{}", whole);
    }
}
