//! WebSocket over HTTP/2 (RFC 8441), in and out.

use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tutti_net::{Stream, websocket};
use tutti_ports::catalog::{AppProtocol, Health};

use crate::frames::*;
use crate::harness::*;

/// A server of HTTP/1.1 that takes WebSockets, tells what it was asked, and echoes bytes until its client stops.
async fn echoing() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (told, heard) = mpsc::unbounded_channel();
    let (addr, task) = raw_upstream(move |mut stream| {
        let told = told.clone();
        async move {
            let mut start = [0; 1];
            stream.read_exact(&mut start).await.unwrap();
            let head = format!("{}{}", char::from(start[0]), read_until(&mut stream, "\r\n\r\n").await);
            let key = head.to_lowercase();
            let at = key.find("sec-websocket-key: ").unwrap() + 19;
            let key = HeaderValue::from_str(head[at..].split("\r\n").next().unwrap()).unwrap();
            let accept = websocket::accept(&key);
            told.send(head).unwrap();
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\nX-Served: yes\r\n\r\nfirst ",
                accept.to_str().unwrap()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..read]).await.unwrap();
            }
            stream.write_all(b"last").await.unwrap();
            told.send("ended".to_owned()).unwrap();
        }
    })
    .await;
    // It ends with the test's runtime.
    drop(task);
    (addr, heard)
}

/// An extended CONNECT on a stream.
fn connect(stream: u32, protocol: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // `:scheme http`, `:authority h`, `:path /socket`.
    let mut block = b"\x86\x41\x01h\x44\x07/socket".to_vec();
    let mut pseudo = field(":method", "CONNECT");
    pseudo.extend(field(":protocol", protocol));
    pseudo.append(&mut block);
    for (name, value) in more {
        pseudo.extend(field(name, value));
    }
    frame(1, 4, stream, &pseudo)
}

/// What comes on a stream as data, until it holds a text.
async fn data(client: &mut Stream, wanted: &str) -> String {
    let mut all = String::new();
    while !all.ends_with(wanted) {
        let (_, flags, _, payload) = until(client, 0).await.expect("it ends");
        all.push_str(std::str::from_utf8(&payload).unwrap());
        assert!(flags & 1 == 0 || all.ends_with(wanted), "it ends with {all:?}");
    }
    all
}

#[tokio::test]
async fn a_websocket_over_http2_becomes_one_over_http1() {
    let (addr, mut heard) = echoing().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let mut client = open(tutti.edge).await;
    let (.., settings) = until(&mut client, 4).await.unwrap();
    // SETTINGS_ENABLE_CONNECT_PROTOCOL is 8 (RFC 8441 section 3).
    assert!(settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]), "{settings:?}");
    client
        .write_all(&connect(1, "websocket", &[("sec-websocket-version", "13"), ("x-a", "b")]))
        .await
        .unwrap();
    let (_, flags, stream, head) = until(&mut client, 1).await.unwrap();
    // `:status 200` is the eighth of the static table.
    assert_eq!((flags & 1, stream, head[0]), (0, 1, 0x88));
    assert!(!head.windows(6).any(|part| part == b"accept"));
    let asked = heard.recv().await.unwrap().to_lowercase();
    assert!(asked.starts_with("get /socket http/1.1\r\n"), "{asked}");
    for wanted in
        ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13", "x-a: b", "host: h"]
    {
        assert!(asked.contains(&format!("\r\n{wanted}\r\n")), "{wanted}: {asked}");
    }
    assert_eq!(data(&mut client, "first ").await, "first ");
    client.write_all(&frame(0, 0, 1, b"hello")).await.unwrap();
    data(&mut client, "hello").await;
    assert_eq!(tutti.handle.describe().services[0].endpoints[0].in_flight, 1);
    // The client stops sending, the service hears it and has the last word.
    client.write_all(&frame(0, 1, 1, b"bye")).await.unwrap();
    data(&mut client, "byelast").await;
    assert_eq!(heard.recv().await.unwrap(), "ended");
    // The connection goes on.
    client.write_all(&connect(3, "websocket", &[])).await.unwrap();
    assert_eq!(until(&mut client, 1).await.unwrap().2, 3);
    // A stream that is reset ends the service's connection.
    client.write_all(&frame(3, 0, 3, &[0, 0, 0, 8])).await.unwrap();
    assert!(heard.recv().await.unwrap().starts_with("GET /socket"));
    assert_eq!(heard.recv().await.unwrap(), "ended");
}

#[tokio::test]
async fn what_is_no_websocket_is_refused() {
    let echo = echo().await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let mut client = open(tutti.edge).await;
    // A protocol that nobody knows: 501. `:status 501` is a literal.
    client.write_all(&connect(1, "connect-udp", &[])).await.unwrap();
    let (.., head) = until(&mut client, 1).await.unwrap();
    assert_ne!(head[0], 0x88);
    // A service that takes the request for another one: its 200 would be a yes.
    client.write_all(&connect(3, "websocket", &[])).await.unwrap();
    let (_, _, stream, head) = until(&mut client, 1).await.unwrap();
    assert_eq!(stream, 3);
    assert_ne!(head[0], 0x88);
    // Plain CONNECT stays refused.
    let plain = [field(":method", "CONNECT"), b"\x41\x01h".to_vec()].concat();
    client.write_all(&frame(1, 5, 5, &plain)).await.unwrap();
    let (.., head) = until(&mut client, 1).await.unwrap();
    assert_ne!(head[0], 0x88);
}

/// A client of HTTP/1.1 with a key of its own.
async fn over_http1(edge: std::net::SocketAddr) {
    let mut stream = dial(edge).await;
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // The proof of RFC 6455 section 1.3.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    assert_eq!(head.to_lowercase().matches("sec-websocket-accept").count(), 1, "{head}");
    read_until(&mut stream, "first ").await;
    stream.write_all(b"hello").await.unwrap();
    read_until(&mut stream, "hello").await;
    stream.shutdown().await.unwrap();
    assert_eq!(read_until(&mut stream, "last").await, "last");
}

#[tokio::test]
async fn a_websocket_goes_to_a_service_of_http2_and_back() {
    let (addr, mut heard) = echoing().await;
    // The second one is the service of the first: it offers what RFC 8441 asks for.
    let behind = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let instances = vec![speaking(AppProtocol::H2c, "b", 1, behind.edge, Health::Passing)];
    let tutti = Tutti::start(options(), vec![to("b")], instances).await;
    over_http1(tutti.edge).await;
    assert!(heard.recv().await.unwrap().starts_with("GET /socket HTTP/1.1\r\n"));
    let mut client = open(tutti.edge).await;
    client.write_all(&connect(1, "websocket", &[])).await.unwrap();
    assert_eq!(until(&mut client, 1).await.unwrap().3[0], 0x88);
    assert_eq!(data(&mut client, "first ").await, "first ");
}

#[tokio::test]
async fn a_service_of_http2_without_websockets_is_asked_over_http1() {
    let (old, _heard) = echoing().await;
    // It tells by the first byte which of the two it is to be; over HTTP/2 it offers nothing.
    let (addr, _task) = raw_upstream(move |mut stream| async move {
        if stream.peek(4).await.unwrap().starts_with(b"PRI ") {
            stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        } else {
            let behind = dial(old).await;
            tutti_net::tunnel::tunnel(stream, behind, LIMITS.timeout).await;
        }
    })
    .await;
    let instances = vec![speaking(AppProtocol::H2c, "b", 1, addr, Health::Passing)];
    let tutti = Tutti::start(options(), vec![to("b")], instances).await;
    over_http1(tutti.edge).await;
}

/// A client of HTTP/1.1 that is a WebSocket, behind what the service says first.
async fn switched(edge: std::net::SocketAddr) -> Stream {
    let mut stream = dial(edge).await;
    let ask = b"GET /socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    read_until(&mut stream, "\r\n\r\nfirst ").await;
    stream
}

#[tokio::test]
async fn thousands_of_small_messages_pass_one_after_the_other_over_http2() {
    let (addr, _heard) = echoing().await;
    let behind = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let instances = vec![speaking(AppProtocol::H2c, "b", 1, behind.edge, Health::Passing)];
    let tutti = Tutti::start(options(), vec![to("b")], instances).await;
    let mut stream = switched(tutti.edge).await;
    let mut back = [0; 24];
    for number in 0..5_000_u32 {
        let message = format!("a message, number {number:06}");
        stream.write_all(message.as_bytes()).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, message.as_bytes());
    }
}
