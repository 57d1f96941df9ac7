//! A service that answers its first request with what a case says, and every other one with its own answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::PATIENCE;
use super::cases::{Case, Expect};
use super::wire::{Got, read_all};
use crate::harness::*;

const CLEAN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean";

/// Runs a case; what is wrong with its outcome.
pub async fn run(case: Case) -> Result<(), String> {
    let upstream = serve(case.clone());
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, upstream)]).await;
    let edge = tutti.edge;
    let got = tokio::task::spawn_blocking(move || ask(edge)).await.unwrap();
    let other = tokio::task::spawn_blocking(move || second(edge)).await.unwrap();
    if (&*other.statuses, &*other.bodies) != (&[200][..], &[b"clean".to_vec()][..]) {
        return Err(format!("another client's answer was {other:?}"));
    }
    judge(&case, &got)
}

fn judge(case: &Case, got: &Got) -> Result<(), String> {
    let body = |at: usize| got.bodies.get(at).map(Vec::as_slice).unwrap_or_default();
    let fine = match case.expect {
        Expect::Pass(status, length) => {
            let own = got.statuses.get(1).is_none_or(|status| *status == 200 && body(1) == b"clean");
            got.statuses.first() == Some(&status) && body(0).len() == length && own && !got.cut
        }
        Expect::BadGateway => got.statuses == [502, 200] && body(1) == b"clean",
        // What was said before it broke cannot be taken back; but nobody may take it for the whole.
        Expect::Cut => got.cut || got.statuses.first() == Some(&502),
        _ => false,
    };
    if fine { Ok(()) } else { Err(format!("{got:?}")) }
}

/// Two requests on one connection.
fn ask(edge: SocketAddr) -> Got {
    let mut stream = TcpStream::connect(edge).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").unwrap();
    stream.write_all(b"GET /two HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    read_all(&mut stream, false).unwrap()
}

/// A request of somebody else, a moment later: what lies in a kept connection must not become its answer.
fn second(edge: SocketAddr) -> Got {
    let mut stream = TcpStream::connect(edge).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /three HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    read_all(&mut stream, false).unwrap()
}

fn serve(case: Case) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let case = case.clone();
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    head.push(byte[0]);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let first = head.starts_with(b"POST /one ");
                    head.clear();
                    let answer = if first { &case.bytes[..] } else { CLEAN };
                    if stream.write_all(answer).is_err() || (first && case.eof) {
                        break;
                    }
                }
            });
        }
    });
    address
}
