//! Streams: looking ahead, taking apart, dialling.

use super::*;
use crate::testing::tcp_pair;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn what_was_looked_at_is_still_read() {
    let (mut near, mut far) = Stream::pair().unwrap();
    near.write_all(b"hello").await.unwrap();
    assert_eq!(far.peek(3).await.unwrap().get(..3).unwrap(), b"hel");
    near.write_all(b" world").await.unwrap();
    near.shutdown().await.unwrap();
    assert_eq!(far.peek(100).await.unwrap(), b"hello world", "the end comes before 100 bytes");
    let mut all = Vec::new();
    far.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"hello world");
}

#[tokio::test]
async fn a_stream_comes_apart_and_together() {
    let (near, mut far) = tcp_pair().await;
    let (_, read, write) = near.into_parts();
    let mut near = Stream::from_parts(BytesMut::from(&b"before "[..]), read, write).unwrap();
    far.write_all(b"after").await.unwrap();
    far.shutdown().await.unwrap();
    let mut all = Vec::new();
    near.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"before after");
    let (other, _peer) = tcp_pair().await;
    let ((_, read, _w), (_, _r, write)) = (near.into_parts(), other.into_parts());
    assert!(Stream::from_parts(BytesMut::new(), read, write).is_none(), "two halves of two streams");
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = Addr::Tcp(listener.local_addr().unwrap());
    drop(listener);
    let error = Stream::connect(&addr, Duration::from_secs(5)).await.unwrap_err();
    assert!(error.is_refused());
    assert_eq!(error.to_string(), format!("cannot connect to {addr}"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_answers_times_out() {
    // The backlog of a listener that never accepts fills up; then nothing answers.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = Addr::Tcp(socket.local_addr().unwrap().as_socket().unwrap());
    let mut open = Vec::new();
    let error = loop {
        match Stream::connect(&addr, Duration::from_secs(5)).await {
            Ok(stream) => open.push(stream),
            Err(error) => break error,
        }
        assert!(open.len() < 100);
    };
    assert!(matches!(error.cause, ConnectCause::Timeout(_)), "{error:?}");
}
