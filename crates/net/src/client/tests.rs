//! The one-shot client against scripted servers.

use super::*;
use crate::listen::{ListenOptions, Listener};
use crate::testing::Raw;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), body_bytes: 10 };

/// Answers one connection on a Unix socket.
async fn answered(answer: &'static str) -> Result<Response<Bytes>, ClientError> {
    let folder = tempfile::tempdir().unwrap();
    let addr = Addr::unix(folder.path().join("s"));
    let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        let asked = raw.until("\r\n\r\n").await;
        assert!(asked.contains("host: localhost\r\n"), "{asked}");
        raw.send(answer).await;
        if answer.is_empty() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        answer = async { tokio::join!(request(&addr, Request::new(Body::empty()), LIMITS), server).0 } => answer,
        () = tokio::time::sleep(LIMITS.timeout * 2) => Err(ClientError::Timeout(LIMITS.timeout)),
    }
}

#[tokio::test]
async fn an_answer_comes_whole_over_a_unix_socket() {
    let answer = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"hello"[..]));
}

#[tokio::test]
async fn an_answer_has_a_limit() {
    let error = answered("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n").await.unwrap_err();
    assert!(matches!(error, ClientError::Body(BodyError::TooLarge(10))));
}

#[tokio::test(start_paused = true)]
async fn silence_has_a_limit() {
    assert!(matches!(answered("").await.unwrap_err(), ClientError::Timeout(_)));
}

#[tokio::test]
async fn a_bad_path_is_told_before_anything_is_sent() {
    let error = get(&Addr::unix("/nowhere"), "h", "no path", LIMITS).await.unwrap_err();
    assert!(matches!(error, ClientError::Send(SendError { cause: SendCause::Request(_), .. })));
    let error = get(&Addr::unix("/nowhere"), "h", "/", LIMITS).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)));
}
