//! Load balancers in front that say who the client is, by the PROXY protocol.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tutti_net::proxy_protocol::{Version, write};
use tutti_ports::routing::{Guard, ProxyProtocol, Route, Routing, Serve, Tls};

use crate::harness::*;
use crate::tls::{Authority, trusting};

const ASK: &str = "GET /who HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";

fn proxied(required: bool, from: &str, serve: Serve) -> Routing {
    let mut routing = routing(serve);
    let from = vec![from.parse().unwrap()];
    routing.listeners[0].transport.proxy_protocol = Some(ProxyProtocol { from, required });
    routing
}

async fn start(routing: Routing) -> (Tutti, Upstream) {
    let echo = echo().await;
    (Tutti::applying(options(), routing, vec![passing("a", 1, echo.addr)], None).await, echo)
}

fn to_a() -> Serve {
    Serve::http(vec![to("a")])
}

fn header(version: Version) -> Vec<u8> {
    let (from, to): (SocketAddr, SocketAddr) =
        ("203.0.113.9:4711".parse().unwrap(), "198.51.100.1:8443".parse().unwrap());
    write(version, Some((from, to)))
}

fn asking(header: &[u8]) -> Vec<u8> {
    [header, ASK.as_bytes()].concat()
}

/// A header of version 2 with an extension that says that the client spoke TLS.
fn over_tls() -> Vec<u8> {
    let mut header = header(Version::V2);
    header[15] = 12 + 8;
    header.extend_from_slice(&[0x20, 0, 5, 1, 0, 0, 0, 0]);
    header
}

#[tokio::test]
async fn the_client_is_the_one_that_the_proxy_names() {
    let guard = Guard { allow: vec!["203.0.113.0/24".parse().unwrap()], ..Guard::default() };
    let guarded = Serve::http(vec![Route { guard: guard.into(), ..to("a") }]);
    let (tutti, _echo) = start(proxied(true, "127.0.0.1", guarded)).await;
    for version in [Version::V1, Version::V2] {
        let answer = raw(tutti.edge, asking(&header(version))).await;
        assert!(answer.contains("\nx-forwarded-for: 203.0.113.9\n"), "{answer}");
        assert!(answer.contains("\nx-forwarded-proto: http\n"), "{answer}");
        assert!(answer.contains("\nx-forwarded-port: 8443\n"), "{answer}");
    }
    let answer = raw(tutti.edge, asking(&over_tls())).await;
    assert!(answer.contains("\nx-forwarded-proto: https\n"), "{answer}");
    // The proxy's own connection is from where it comes: here that may not ask.
    for own in [write(Version::V1, None), write(Version::V2, None)] {
        let answer = raw(tutti.edge, asking(&own)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    // What the client says of itself through the proxy is what a stranger says.
    let forged = ASK.replace("connection", "x-forwarded-for: 6.6.6.6\r\nconnection");
    let answer = raw(tutti.edge, [&header(Version::V2)[..], forged.as_bytes()].concat()).await;
    assert!(answer.contains("\nx-forwarded-for: 203.0.113.9\n"), "{answer}");
}

#[tokio::test]
async fn without_the_header_that_must_be_there_nothing_is_served() {
    let (tutti, _echo) = start(proxied(true, "127.0.0.1", to_a())).await;
    let mut broken = over_tls();
    // A checksum that is wrong.
    broken[15] += 7;
    broken.extend_from_slice(&[3, 0, 4, 1, 2, 3, 4]);
    for bytes in [ASK.as_bytes().to_vec(), asking(b"PROXY TCP4 nonsense\r\n"), asking(&broken)] {
        assert_eq!(raw(tutti.edge, &bytes).await, "", "{bytes:?}");
    }
    let mut page = tutti_core::metrics::Page::default();
    tutti.handle.metrics(&mut page);
    let page = page.finish();
    let line = "tutti_proxy_proxy_headers_total{listener=\"edge\",result=\"malformed\"} 3";
    assert!(page.contains(line) && page.contains("TUT0573"), "{page}");
    // And nobody but the proxies may connect.
    let (tutti, _echo) = start(proxied(true, "192.0.2.1", to_a())).await;
    assert_eq!(raw(tutti.edge, asking(&header(Version::V2))).await, "");
}

#[tokio::test]
async fn where_it_need_not_be_there_both_are_served_and_strangers_are_not_believed() {
    let (tutti, _echo) = start(proxied(false, "127.0.0.1", to_a())).await;
    let answer = raw(tutti.edge, ASK).await;
    assert!(answer.contains("\nx-forwarded-for: 127.0.0.1\n"), "{answer}");
    // Byte by byte too, and with a method that begins as the header does.
    let mut stream = dial(tutti.edge).await;
    for byte in asking(&header(Version::V1)) {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\nx-forwarded-for: 203.0.113.9\n"), "{answer}");
    let answer = raw(tutti.edge, ASK.replace("GET", "PROPFIND")).await;
    assert!(answer.contains("PROPFIND /who"), "{answer}");
    let (tutti, _echo) = start(proxied(false, "192.0.2.1", to_a())).await;
    for version in [Version::V1, Version::V2] {
        let answer = raw(tutti.edge, asking(&header(version))).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("203.0.113.9"), "{answer}");
    }
}

#[tokio::test]
async fn the_header_comes_before_tls_and_a_change_takes_force_at_once() {
    let echo = echo().await;
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let files = vec![authority.files(folder.path(), &["shop.test"])];
    let mut wanted = proxied(true, "127.0.0.1", to_a());
    wanted.listeners[0].transport.tls = Some(Tls { files, ..Tls::default() });
    let tutti = Tutti::applying(options(), wanted.clone(), vec![passing("a", 1, echo.addr)], None).await;
    let client = trusting(&authority, "shop.test", &[]);
    for (header, told) in
        [(Some(header(Version::V2)), "for=203.0.113.9;proto=https"), (None, "for=127.0.0.1;proto=https")]
    {
        let mut stream = dial(tutti.edge).await;
        if let Some(header) = header {
            stream.write_all(&header).await.unwrap();
        }
        let (mut stream, _) = client.connect(stream).await.unwrap();
        stream.write_all(ASK.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(told), "{answer}");
        wanted.listeners[0].transport.proxy_protocol = None;
        tutti.handle.apply(wanted.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn clients_behind_a_proxy_have_their_own_limits() {
    let mut wanted = proxied(true, "127.0.0.1", to_a());
    wanted.listeners[0].transport.limits.connections = Some(1);
    let (tutti, _echo) = start(wanted).await;
    let mut first = dial(tutti.edge).await;
    let keep = ASK.replace("connection: close", "x: y");
    first.write_all(&[&header(Version::V2)[..], keep.as_bytes()].concat()).await.unwrap();
    let answer = read_until(&mut first, "x: y\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(raw(tutti.edge, asking(&header(Version::V2))).await, "");
    // Another client of the same proxy is served.
    let (from, to) = ("203.0.113.10:1".parse().unwrap(), "198.51.100.1:8443".parse().unwrap());
    let other = raw(tutti.edge, asking(&write(Version::V2, Some((from, to))))).await;
    assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
}
