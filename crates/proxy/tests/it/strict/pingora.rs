//! The families of holes that another proxy's published advisories describe, as tests of this one.

use http::StatusCode;
use tutti_ports::routing::Filter;

use super::PATIENCE;
use super::cases::{Case, Expect};
use super::wire::{self, Recorder};
use crate::harness::*;

fn case(bytes: &[u8]) -> Case {
    let (family, name) = (String::new(), String::new());
    Case { family, name, expect: Expect::Starve, bytes: bytes.to_vec(), eof: false }
}

async fn send(edge: std::net::SocketAddr, bytes: &'static [u8]) -> wire::Got {
    let sending = move || wire::exchange(edge, &case(bytes), true, usize::MAX, PATIENCE).unwrap();
    tokio::task::spawn_blocking(sending).await.unwrap()
}

/// An answer that does not need the request's body (there, one from the cache) left the body unread on a connection that was
/// used again, and the body became the next request.
#[tokio::test]
async fn cve_2025_4366_a_body_that_nobody_wanted_is_never_the_next_request() {
    let recorder = Recorder::start().unwrap();
    let mut answered = to("a");
    answered.name = "answered".into();
    answered.matches = vec![tutti_ports::routing::Match {
        path: Some(tutti_ports::routing::PathMatch::Exact("/moved".into())),
        ..Default::default()
    }];
    answered.filters =
        vec![Filter::Redirect { scheme: None, host: None, port: None, path: None, status: 302 }];
    let routes = vec![answered, to("a")];
    let tutti = Tutti::start(options(), routes, vec![passing("a", 1, recorder.address)]).await;
    for bytes in [
        &b"POST /moved HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"POST /moved HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n\r\n0\r\n\r\n",
        // 404 by a fault of ours: no route.
        b"POST /moved HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /../x HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /moved HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 31\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let short = bytes.windows(6).any(|window| window == b"900000");
        let got = if short {
            let cut = case(bytes);
            let edge = tutti.edge;
            let sending = move || wire::exchange(edge, &cut, false, usize::MAX, PATIENCE).unwrap();
            tokio::task::spawn_blocking(sending).await.unwrap()
        } else {
            send(tutti.edge, bytes).await
        };
        let seen: Vec<_> = recorder.take().into_iter().map(|seen| seen.target).collect();
        assert!(seen.iter().all(|target| target == "/probe"), "{seen:?} {got:?}");
        assert!(got.statuses.first().is_some_and(|status| *status != 200), "{got:?}");
    }
}

/// The connection became a tunnel as soon as a client asked for an upgrade, whatever the service said to it.
#[tokio::test]
async fn cve_2026_2833_nothing_is_carried_before_the_service_has_agreed_to_an_upgrade() {
    let recorder = Recorder::start().unwrap();
    let mut inner = to("a");
    inner.name = "public".into();
    inner.matches = vec![tutti_ports::routing::Match {
        path: Some(tutti_ports::routing::PathMatch::Prefix("/public".into())),
        ..Default::default()
    }];
    let tutti = Tutti::start(options(), vec![inner], vec![passing("a", 1, recorder.address)]).await;
    // What follows is a request of its own and meets our routes: 404, not an answer of the service.
    let ask = b"GET /public HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n";
    let got = send(tutti.edge, ask).await;
    assert_eq!(got.statuses, [200, 404, 404]);
    let seen: Vec<_> = recorder.take().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/public"]);
}

/// HTTP/1.0 with Transfer-Encoding, a length beside a coding, and requests that end with the connection.
#[tokio::test]
async fn cve_2026_2835_no_request_has_two_framings_or_none() {
    let recorder = Recorder::start().unwrap();
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, recorder.address)]).await;
    for (bytes, statuses) in [
        (&b"GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: identity, chunked\r\nContent-Length: 29\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nX: y\r\n\r\n"[..], vec![400]),
        (b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", vec![400]),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", vec![400]),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", vec![400]),
        // Without a length a request has no body, also in HTTP/1.0: what follows is thrown away with the connection.
        (b"POST /first HTTP/1.0\r\nHost: h\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n", vec![200]),
    ] {
        let got = send(tutti.edge, bytes).await;
        assert_eq!(got.statuses, statuses, "{}", String::from_utf8_lossy(bytes));
        let seen: Vec<_> = recorder.take().into_iter().map(|seen| seen.target).collect();
        assert!(seen.iter().all(|target| target == "/first"), "{seen:?}");
    }
}

/// The key of a cached answer was its path alone. Nothing is cached today; this holds whatever is one day.
#[tokio::test]
async fn cve_2026_2836_an_answer_for_one_host_scheme_or_query_is_never_that_of_another() {
    let echo = upstream(|request| async move {
        let host = request.headers().get("host").map_or("", |host| host.to_str().unwrap()).to_owned();
        let mut response = http::Response::new(tutti_net::Body::from(format!("{host} {}", request.uri())));
        response.headers_mut().insert("cache-control", http::HeaderValue::from_static("public, max-age=600"));
        response
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    for (host, target) in
        [("a.test", "/x"), ("b.test", "/x"), ("a.test", "/x?1"), ("a.test", "/x?2"), ("a.test:81", "/x")]
    {
        for _ in 0..2 {
            let request =
                http::Request::get(target).header("host", host).body(tutti_net::Body::empty()).unwrap();
            let response = crate::harness::send(tutti.edge, request).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(text(&response), format!("{host} {target}"));
        }
    }
}
