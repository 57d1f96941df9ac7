//! What answers mean, and what probes say of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use tutti_ports::exec::Finished;

use super::*;

#[test]
fn the_status_decides() {
    for (status, verdict) in [
        (200, Verdict::Pass),
        (204, Verdict::Pass),
        (302, Verdict::Pass),
        (399, Verdict::Pass),
        (400, Verdict::Fail),
        (404, Verdict::Fail),
        (429, Verdict::Warn),
        (503, Verdict::Fail),
    ] {
        assert_eq!(http::judge(StatusCode::from_u16(status).unwrap(), false), verdict, "{status}");
        assert_eq!(http::judge(StatusCode::from_u16(status).unwrap(), true), Verdict::Pass, "{status}");
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

#[test]
fn the_request_is_protobuf_in_a_grpc_frame() {
    assert_eq!(&grpc::message("")[..], [0, 0, 0, 0, 0]);
    assert_eq!(&grpc::message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
    let long = grpc::message(&"x".repeat(300));
    assert_eq!(long.get(..8).unwrap(), [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    assert_eq!(long.len(), 5 + 303);
}

#[test]
fn the_response_is_read_as_protobuf_demands() {
    assert_eq!(grpc::serving_status(&frame(&[0x08, 1])), Some(1));
    assert_eq!(grpc::serving_status(&frame(&[])), Some(0), "the default is not sent");
    // Unknown fields of every wire type before and after, and the last value wins.
    let message = [0x12, 2, 9, 9, 0x08, 2, 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 1];
    assert_eq!(grpc::serving_status(&frame(&message)), Some(1));
    for bad in [
        &[][..],
        &[0, 0, 0, 0],
        &[0, 0, 0, 0, 2, 8],
        &[1, 0, 0, 0, 2, 8, 1],
        &[0, 0, 0, 0, 1, 8],
        &[0, 0, 0, 0, 1, 7],
    ] {
        assert_eq!(grpc::serving_status(bad), None, "{bad:?}");
    }
}

#[test]
fn a_grpc_answer_is_judged_by_both_statuses() {
    let trailers = |status: &'static str, message: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        trailers
    };
    let (ok, none) = (trailers("0", ""), HeaderMap::new());
    for (status, trailers, body, expected) in [
        (200, &ok, frame(&[8, 1]), (Verdict::Pass, "answered SERVING")),
        (200, &ok, frame(&[8, 2]), (Verdict::Fail, "answered NOT_SERVING")),
        (200, &ok, frame(&[8, 9]), (Verdict::Fail, "answered the unknown status 9")),
        (200, &ok, vec![], (Verdict::Fail, "answered something that is no health response")),
        (200, &none, frame(&[8, 1]), (Verdict::Fail, "answered without a gRPC status")),
        (415, &ok, frame(&[8, 1]), (Verdict::Fail, "answered HTTP status 415")),
    ] {
        let (verdict, said) = grpc::judge(status, trailers, &body);
        assert_eq!((verdict, said.as_str()), expected);
    }
    let (verdict, said) = grpc::judge(200, &trailers("12", "no"), &[]);
    assert_eq!(verdict, Verdict::Fail);
    assert_eq!(said, "answered gRPC status 12 (it does not offer health checks) \"no\"");
}

proptest! {
    #[test]
    fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..64), framed in any::<bool>()) {
        let body = if framed { frame(&body) } else { body };
        let _ = grpc::serving_status(&body);
    }
}

/// Says what it is told, and counts.
struct Fake {
    answer: fn() -> Result<Finished, ExecError>,
    runs: AtomicUsize,
}

#[async_trait::async_trait]
impl Exec for Fake {
    async fn run(&self, id: &InstanceId, argv: &[String], timeout: Duration) -> Result<Finished, ExecError> {
        assert_eq!((id.as_str(), argv.len(), timeout), ("db-1", 2, Duration::from_secs(3)));
        self.runs.fetch_add(1, Ordering::Relaxed);
        (self.answer)()
    }
}

async fn run(answer: fn() -> Result<Finished, ExecError>) -> Found {
    let fake = Arc::new(Fake { answer, runs: AtomicUsize::new(0) });
    let order = Order {
        service: ServiceName::new("web").unwrap(),
        protocol: AppProtocol::Http,
        id: InstanceId::new("db-1").unwrap(),
        probe: Probe::Command { argv: vec!["pg_isready".into(), "-q".into()] },
        timeout: Duration::from_secs(3),
        exec: Arc::clone(&fake) as Arc<dyn Exec>,
    };
    let found = NetProber::default().probe(order).await;
    assert_eq!(fake.runs.load(Ordering::Relaxed), 1);
    found
}

#[tokio::test]
async fn a_command_is_judged_by_its_status_and_quoted_by_its_last_line() {
    let found = run(|| Ok(Finished { status: 0, output: String::new() })).await;
    assert_eq!(found, Found::new(Verdict::Pass, "`pg_isready -q` ended with status 0"));
    let found = run(|| Ok(Finished { status: 2, output: "trying\nno \x1b[1mresponse\n\n".into() })).await;
    assert_eq!(found, Found::new(Verdict::Fail, "`pg_isready -q` ended with status 2 \"no [1mresponse\""));
    let found = run(|| Err(ExecError::Timeout(Duration::from_secs(3)))).await;
    assert_eq!(found, Found::new(Verdict::Fail, "`pg_isready -q` did not end within 3s"));
    let missing = || {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        Err(ExecError::Spawn { program: "pg_isready".into(), source })
    };
    let found = run(missing).await;
    assert_eq!(found.verdict, Verdict::Fail);
    assert!(found.reason.starts_with("cannot start \"pg_isready\": "), "{}", found.reason);
}
