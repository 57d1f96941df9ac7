//! Header fields that end at the proxy, that it adds, and that pass.

use http::{Request, Response};
use tutti_net::Body;

use crate::harness::*;

/// What the upstream is sent when the client sends these lines.
async fn sent(lines: &[&str], options: tutti_proxy::Options) -> Vec<String> {
    let echo = echo().await;
    sent_to(&Tutti::start(options, vec![to("echo")], vec![passing("echo", 1, echo.addr)]).await, lines).await
}

async fn sent_to(tutti: &Tutti, lines: &[&str]) -> Vec<String> {
    let head = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let answer =
        raw(tutti.edge, format!("GET /x HTTP/1.1\r\nHost: Shop.Test:81\r\n{head}Connection: close\r\n\r\n"))
            .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.lines().skip(1).map(str::to_owned).collect()
}

fn value<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

#[tokio::test]
async fn fields_of_the_clients_hop_end_and_the_others_pass() {
    let lines = sent(
        &[
            "Keep-Alive: timeout=5",
            "Connection: x-hop, host",
            "X-Hop: 1",
            "TE: gzip",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABk",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic eA==",
            "X-End: 1",
            "Cookie: a=b",
            "Trailer: x-sum",
        ],
        options(),
    )
    .await;
    for gone in [
        "keep-alive",
        "x-hop",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-connection",
        "proxy-authorization",
        "transfer-encoding",
    ] {
        assert_eq!(value(&lines, gone), [] as [&str; 0], "{gone}");
    }
    assert_eq!(value(&lines, "host"), ["Shop.Test:81"]);
    assert_eq!(value(&lines, "x-end"), ["1"]);
    assert_eq!(value(&lines, "cookie"), ["a=b"]);
    assert_eq!(value(&lines, "trailer"), ["x-sum"]);
}

#[tokio::test]
async fn a_service_says_nothing_in_our_name() {
    let web = upstream(|_| async {
        let fields = ["x-tutti-fault", "x-tutti-fallback", "x-tutti-explain", "x-tutti-own"];
        let answer = fields.iter().fold(Response::builder(), |answer, name| answer.header(*name, "forged"));
        answer.body(Body::from("well")).unwrap()
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("web")], vec![passing("web", 0, web.addr)]).await;
    let answer = get(tutti.edge, "/").await;
    let ours: Vec<_> = answer.headers().keys().filter(|name| name.as_str().starts_with("x-tutti-")).collect();
    assert_eq!(ours, ["x-tutti-own"]);
}

#[tokio::test]
async fn strangers_cannot_say_who_they_are_and_trusted_proxies_can() {
    let forged = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "Forwarded: for=6.6.6.6",
    ];
    let lines = sent(&forged, options()).await;
    assert_eq!(value(&lines, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(value(&lines, "x-forwarded-proto"), ["http"]);
    assert_eq!(value(&lines, "x-forwarded-host"), ["Shop.Test:81"]);
    assert_eq!(value(&lines, "forwarded"), ["for=127.0.0.1;proto=http;host=\"Shop.Test:81\""]);
    let echo = echo().await;
    let tutti = Tutti::trusting(options(), vec![to("echo")], vec![passing("echo", 1, echo.addr)]).await;
    let lines = sent_to(&tutti, &forged).await;
    assert_eq!(value(&lines, "x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(value(&lines, "x-forwarded-proto"), ["https"]);
    assert_eq!(value(&lines, "x-forwarded-host"), ["evil"]);
    // What a client says before its own address, or in the other field, reaches no service.
    let chain = ["X-Forwarded-For: 6.6.6.6, 203.0.113.9, 127.0.0.7", "Forwarded: for=7.7.7.7;host=evil"];
    let lines = sent_to(&tutti, &chain).await;
    assert_eq!(value(&lines, "x-forwarded-for"), ["203.0.113.9, 127.0.0.7, 127.0.0.1"]);
    let told = "for=203.0.113.9, for=127.0.0.7, for=127.0.0.1;proto=http;host=\"Shop.Test:81\"";
    assert_eq!(value(&lines, "forwarded"), [told]);
    // Also field by field, and with what is no address in between.
    let chain =
        ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: unknown, 127.0.0.7", "X-Forwarded-Proto: a, b"];
    let lines = sent_to(&tutti, &chain).await;
    assert_eq!(value(&lines, "x-forwarded-for"), ["127.0.0.7, 127.0.0.1"]);
    assert_eq!(value(&lines, "x-forwarded-proto"), ["http"]);
}

#[tokio::test]
async fn who_is_trusted_changes_without_a_restart() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("echo")], vec![passing("echo", 1, echo.addr)]).await;
    let chain = ["X-Forwarded-For: 203.0.113.9"];
    assert_eq!(value(&sent_to(&tutti, &chain).await, "x-forwarded-for"), ["127.0.0.1"]);
    let mut next = routing(tutti_ports::routing::Serve::http(vec![to("echo")]));
    next.listeners[0].transport.trusted_proxies.ranges = vec!["127.0.0.1".parse().unwrap()];
    tutti.handle.apply(next).await.unwrap();
    assert_eq!(value(&sent_to(&tutti, &chain).await, "x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
}

#[tokio::test]
async fn request_ids_and_traces_are_kept_or_begun() {
    let begun =
        sent(&["X-Request-Id: bad id", "traceparent: 00-nonsense", "tracestate: a=1"], options()).await;
    let trace = value(&begun, "traceparent")[0].to_owned();
    assert_eq!(trace.len(), 55);
    assert_eq!(value(&begun, "x-request-id"), [&trace[3..35]]);
    assert_eq!(value(&begun, "tracestate"), [] as [&str; 0]);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let kept =
        sent(&["X-Request-Id: abc-1", &format!("traceparent: {parent}"), "tracestate: a=1"], options()).await;
    let next = value(&kept, "traceparent")[0];
    assert!(next.starts_with(&parent[..36]) && next.ends_with("-00") && next != parent, "{next}");
    assert_eq!(value(&kept, "x-request-id"), ["abc-1"]);
    assert_eq!(value(&kept, "tracestate"), ["a=1"]);
}

#[tokio::test]
async fn a_second_request_id_or_trace_state_is_looked_at_too() {
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let half = format!("tracestate: a={}", "x".repeat(300));
    let lines = sent(&["X-Request-Id: one", "X-Request-Id: \"two", parent, &half, &half], options()).await;
    assert_eq!(value(&lines, "x-request-id"), ["one"]);
    assert_eq!(value(&lines, "tracestate"), [] as [&str; 0]);
}

#[tokio::test]
async fn trailers_cannot_say_what_fields_may_not() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("echo")], vec![passing("echo", 1, echo.addr)]).await;
    let forged = "X-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
                  Traceparent: x\r\nX-Request-Id: x\r\nX_Forwarded_For: 6.6.6.6\r\n";
    let answer = raw(
        tutti.edge,
        format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n{forged}\r\n"),
    )
    .await;
    assert!(answer.contains("abc\nx-sum: 1"), "{answer}");
    assert!(!answer.contains("6.6.6.6") && !answer.contains(": x"), "{answer}");
}

#[tokio::test]
async fn fields_of_the_upstreams_hop_end_too() {
    let (addr, _task) = raw_upstream(|mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n\
                      Upgrade: h2c\r\nServer: mine\r\nX-Request-Id: theirs\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let answer = send(tutti.edge, Request::get("/").header("host", "h").body(Body::empty()).unwrap()).await;
    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(answer.headers()["server"], "mine");
    assert_eq!(answer.headers()["x-request-id"], "theirs");
    assert!(answer.headers().contains_key("date"));
    assert_eq!(text(&answer), "ok");
}

#[tokio::test]
async fn an_old_client_that_names_no_host_is_served() {
    let echo = echo().await;
    let named = tutti_ports::routing::Route { hosts: vec!["*.test".into()], ..to("nobody") };
    let tutti = Tutti::start(options(), vec![named, to("echo")], vec![passing("echo", 1, echo.addr)]).await;
    let answer = raw(tutti.edge, "GET /old HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("GET /old\n"), "{answer}");
    assert!(answer.contains(&format!("\nhost: {}\n", tutti.edge)), "{answer}");
    assert!(!answer.contains("x-forwarded-host"), "{answer}");
}
