//! Whole servers on loopback, and a client that writes what it likes on its streams.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};

use super::frame::{kind, write_head};
use super::qpack;
use super::*;
use crate::body::Body;
use crate::drain::Drainer;
use crate::server::{ConnectionInfo, LocalHandler, Refusal, Served, Settings as ServerSettings};
use crate::tls::server::{Options, Tickets};
use crate::tls::tests::{Authority, Shelf};
use crate::transport::{Failure, Transport};
use crate::{tls, upgrade};

const PATIENCE: Duration = Duration::from_secs(20);

struct Answering {
    transport: Arc<Transport>,
    told: mpsc::UnboundedSender<String>,
    /// Requests whose handlers are there.
    under_way: AtomicUsize,
}

struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LocalHandler for Answering {
    async fn handle(&self, request: Request<Body>, connection: &ConnectionInfo) -> Response<Body> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.under_way);
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/never" => std::future::pending().await,
            "/large" => Response::new(Body::full(vec![b'x'; 3 << 20])),
            "/half" => Response::new(Body::full(vec![b'x'; 512 << 10])),
            "/none" => Response::builder().status(204).body(Body::empty()).unwrap(),
            "/reset" => {
                let mut response = Response::new(Body::empty());
                response.extensions_mut().insert(upgrade::Reset);
                response
            }
            "/cut" => {
                let (mut sender, body) = Body::channel(1);
                tokio::spawn(async move { sender.send(Bytes::from_static(b"half")).await });
                Response::new(body)
            }
            "/trailers" => {
                let (_, trailers) = request.into_body().collect(1 << 20).await.unwrap();
                let (sender, body) = Body::channel(1);
                tokio::spawn(sender.finish_with(trailers.unwrap_or_default()));
                Response::new(body)
            }
            "/unread" => Response::new("enough".into()),
            _ => {
                let told = format!("{} {} {:?}", request.method(), connection.peer, request.version());
                let declared = http_body::Body::size_hint(request.body()).exact();
                match request.into_body().collect(8 << 20).await {
                    Ok((body, _)) => Response::new(format!("{told} {declared:?} {}", body.len()).into()),
                    Err(error) => {
                        let _ = self.told.send(error.to_string());
                        Response::builder().status(400).body(Body::empty()).unwrap()
                    }
                }
            }
        }
    }

    fn refused(&self, refusal: Refusal, _: &ConnectionInfo) {
        let _ = self.told.send(format!("{} {}", refusal.status.as_u16(), refusal.reason));
    }

    fn flooded(&self, reason: &'static str, _: &ConnectionInfo) {
        let _ = self.told.send(reason.to_owned());
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        Some(Arc::clone(&self.transport))
    }

    fn begun(&self, _: &ConnectionInfo, result: Result<(), &Failure>) {
        if let Err(failure) = result {
            let _ = self.told.send(failure.as_str().to_owned());
        }
    }
}

struct Server {
    addr: SocketAddr,
    handler: Arc<Answering>,
    told: mpsc::UnboundedReceiver<String>,
    drainer: Drainer,
    task: JoinHandle<Served>,
}

impl Server {
    fn start(change: impl FnOnce(&mut ServerSettings)) -> Self {
        let shelf = Shelf::with("shop.test", Authority::new().issue(&["shop.test"]));
        let options = Options { http3: true, ..Options::default() };
        let tls = tls::Server::new(shelf, &options, &Tickets::new().unwrap()).unwrap();
        let transport = Arc::new(Transport { tls: Some(Arc::new(tls)), ..Transport::default() });
        let (tell, told) = mpsc::unbounded_channel();
        let handler = Arc::new(Answering { transport, told: tell, under_way: AtomicUsize::new(0) });
        let endpoint = Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = endpoint.local_addr();
        let (drainer, signal) = Drainer::new();
        let mut settings = ServerSettings::named("test");
        change(&mut settings);
        let task = tokio::task::spawn_local(serve_local(endpoint, Arc::clone(&handler), settings, signal));
        Self { addr, handler, told, drainer, task }
    }

    async fn told(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    async fn under_way(&self, count: usize) {
        while self.handler.under_way.load(Ordering::SeqCst) != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Runs a test where tasks may stay on their thread.
async fn local(test: impl Future<Output = ()>) {
    tokio::time::timeout(3 * PATIENCE, LocalSet::new().run_until(test)).await.unwrap();
}

struct Client {
    endpoint: quinn::Endpoint,
    quic: quinn::Connection,
    control: quinn::SendStream,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The statuses, interim ones first.
    status: Vec<String>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

fn endpoint() -> quinn::Endpoint {
    endpoint_with(quinn::TransportConfig::default())
}

fn endpoint_with(transport: quinn::TransportConfig) -> quinn::Endpoint {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(tls::client::Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(config));
    config.transport_config(Arc::new(transport));
    let mut endpoint = endpoint;
    endpoint.set_default_client_config(config);
    endpoint
}

async fn connect(server: &Server) -> Client {
    connect_by(endpoint(), server).await
}

async fn connect_by(endpoint: quinn::Endpoint, server: &Server) -> Client {
    let quic = endpoint.connect(server.addr, "shop.test").unwrap().await.unwrap();
    let mut control = quic.open_uni().await.unwrap();
    control.write_all(&[0, 4, 0]).await.unwrap();
    Client { endpoint, quic, control }
}

/// A frame.
fn frame(kind: u64, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    write_head(&mut out, kind, payload.len() as u64);
    out.put_slice(payload);
    out
}

fn headers(lines: &[(&str, &str)]) -> BytesMut {
    frame(kind::HEADERS, &qpack::section(lines))
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> BytesMut {
    let first = [(":method", method), (":scheme", "https"), (":authority", "shop.test"), (":path", path)];
    headers(&[&first[..], more].concat())
}

/// How a stream ended that was reset, or its connection.
fn code(error: &quinn::ReadToEndError) -> u64 {
    match error {
        quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)) => code.into_inner(),
        quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(lost)) => closed(lost),
        other => panic!("{other:?}"),
    }
}

fn closed(lost: &quinn::ConnectionError) -> u64 {
    match lost {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other:?}"),
    }
}

impl Client {
    /// Sends octets on a stream of their own, ends it, and takes what comes back.
    async fn send(&self, octets: impl AsRef<[u8]>) -> Result<Answer, u64> {
        let (mut send, mut recv) = self.quic.open_bi().await.map_err(|lost| closed(&lost))?;
        let octets = octets.as_ref().to_vec();
        let sending = async move {
            // It may be stopped.
            let _ = send.write_all(&octets).await;
            let _ = send.finish();
        };
        let ((), got) = tokio::join!(sending, recv.read_to_end(16 << 20));
        got.map(|got| read(&got)).map_err(|error| code(&error))
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(head("GET", path, &[])).await.unwrap()
    }

    /// With which words the connection was closed.
    async fn closed(&self) -> u64 {
        let code = closed(&tokio::time::timeout(PATIENCE, self.quic.closed()).await.unwrap());
        // Section 6.2.1: at no time before.
        let stopped = self.control.stopped().await;
        assert!(matches!(stopped, Err(quinn::StoppedError::ConnectionLost(_))), "{stopped:?}");
        code
    }

    /// What is behind the settings on the server's control stream, as soon as there are two frames that say where the end is.
    async fn goaways(&self) -> (Vec<u8>, quinn::RecvStream) {
        let mut control = self.quic.accept_uni().await.unwrap();
        let mut octets = BytesMut::new();
        loop {
            let chunk = control.read_chunk(1 << 10, true).await.unwrap().unwrap();
            octets.extend_from_slice(&chunk.bytes);
            let (length, first) = varint::read(&octets[2..]).unwrap();
            let rest = &octets[2 + first + length as usize..];
            if rest.len() > 10 {
                return (rest.to_vec(), control);
            }
        }
    }
}

fn read(mut octets: &[u8]) -> Answer {
    let mut answer =
        Answer { status: Vec::new(), fields: Vec::new(), body: Vec::new(), trailers: Vec::new() };
    while !octets.is_empty() {
        let (kind, first) = varint::read(octets).unwrap();
        let (length, second) = varint::read(&octets[first..]).unwrap();
        let (payload, rest) = octets[first + second..].split_at(length as usize);
        octets = rest;
        match kind {
            kind::HEADERS => {
                let mut lines = Vec::new();
                let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
                qpack::decode(payload, 1 << 20, |name, value| {
                    lines.push((text(name), text(value)));
                    Ok::<(), ()>(())
                })
                .unwrap();
                if lines.first().is_some_and(|(name, _)| name == ":status") {
                    answer.status.push(lines.remove(0).1);
                    answer.fields = lines;
                } else {
                    answer.trailers = lines;
                }
            }
            kind::DATA => answer.body.extend_from_slice(payload),
            other => panic!("{other:x}"),
        }
    }
    answer
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[tokio::test]
async fn requests_and_answers_of_every_kind() {
    local(async {
        let server = Server::start(|_| {});
        let client = connect(&server).await;
        let here = client.endpoint.local_addr().unwrap();
        let hello = client.get("/").await;
        assert_eq!(hello.status, ["200"]);
        assert_eq!(text(&hello), format!("GET {here} HTTP/3.0 Some(0) 0"));
        assert!(hello.fields.contains(&("content-length".to_owned(), hello.body.len().to_string())));
        let upload = [head("POST", "/", &[]), frame(kind::DATA, &vec![1; 3 << 20])].concat();
        assert!(text(&client.send(upload).await.unwrap()).ends_with(" None 3145728"));
        let upload = [head("PUT", "/", &[("content-length", "5")]), frame(kind::DATA, b"hello")].concat();
        assert!(text(&client.send(upload).await.unwrap()).ends_with(" Some(5) 5"));
        assert_eq!(client.get("/large").await.body.len(), 3 << 20);
        let large = client.send(head("HEAD", "/large", &[])).await.unwrap();
        assert_eq!((large.status[0].as_str(), large.body.len()), ("200", 0));
        assert_eq!(client.get("/none").await.status, ["204"]);
        // Frames that mean nothing, and empty ones, are read over.
        let odd = [
            frame(0x21, b"grease"),
            head("POST", "/trailers", &[]),
            frame(kind::DATA, b""),
            frame(0x40, &[0; 5_000]),
            frame(kind::DATA, b"x"),
            headers(&[("grpc-status", "0")]),
            frame(0x5f, b""),
        ];
        let answer = client.send(odd.concat()).await.unwrap();
        assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
        assert_eq!(client.send(head("GET", "/cut", &[])).await, Err(Code::Internal as u64));
        assert_eq!(client.send(head("GET", "/reset", &[])).await, Err(Code::Internal as u64));
        // A client that waits to be asked for its body.
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("POST", "/", &[("expect", "100-continue")])).await.unwrap();
        let mut interim = [0; 8];
        let length = recv.read(&mut interim).await.unwrap().unwrap();
        assert_eq!(read(&interim[..length]).status, ["100"]);
        send.write_all(&frame(kind::DATA, b"abc")).await.unwrap();
        send.finish().unwrap();
        let answer = read(&recv.read_to_end(1 << 10).await.unwrap());
        assert!(text(&answer).ends_with(" 3"), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn malformed_requests_end_their_stream_and_nothing_else() {
    local(async {
        let mut server = Server::start(|_| {});
        let client = connect(&server).await;
        let get = |more: &[(&str, &str)]| head("GET", "/", more);
        for request in [
            get(&[("X-Upper", "a")]),
            get(&[("connection", "close")]),
            get(&[("transfer-encoding", "chunked")]),
            get(&[("a", "b"), (":path", "/b")]),
            get(&[(":path", "/b")]),
            get(&[("content-length", "1")]),
            headers(&[(":method", "GET")]),
        ] {
            assert_eq!(client.send(&request).await, Err(Code::Message as u64), "{request:x?}");
            assert!(server.told().await.starts_with("400 "));
        }
        let put = |length: &str, body: &[u8]| {
            [head("PUT", "/", &[("content-length", length)]), frame(kind::DATA, body)].concat()
        };
        // More than was said is seen before anything of it is handed on, if it comes at once.
        assert_eq!(client.send(put("2", b"abc")).await, Err(Code::Message as u64));
        let less = client.send(put("4", b"abc")).await.unwrap();
        assert_eq!(less.status, ["400"]);
        assert_eq!(
            server.told().await,
            "the body's framing is malformed: there is less data than Content-Length says"
        );
        assert_eq!(client.send(head("CONNECT", "/", &[])).await, Err(Code::Message as u64));
        let connect = headers(&[(":method", "CONNECT"), (":authority", "shop.test:1")]);
        assert_eq!(client.send(connect).await.unwrap().status, ["501"]);
        let large = "v".repeat(70 << 10);
        assert_eq!(client.send(get(&[("large", &large)])).await.unwrap().status, ["431"]);
        assert_eq!(client.send([]).await, Err(Code::Incomplete as u64));
        assert_eq!(client.get("/").await.status, ["200"]);
    })
    .await;
}

#[tokio::test]
async fn what_breaks_the_connection_says_why() {
    local(async {
        let server = Server::start(|_| {});
        let get = head("GET", "/", &[]);
        for (request, code) in [
            (frame(kind::DATA, b"x"), Code::FrameUnexpected),
            (frame(kind::SETTINGS, b""), Code::FrameUnexpected),
            (frame(0x6, b"12345678"), Code::FrameUnexpected),
            (frame(kind::HEADERS, b"\x00\x00\x80"), Code::Decompression),
            (frame(kind::HEADERS, b"\x02\x00\xd1"), Code::Decompression),
            (BytesMut::from(&get[..get.len() - 1]), Code::Frame),
            (
                [get.clone(), frame(kind::PUSH_PROMISE, b"\x00")].concat().as_slice().into(),
                Code::FrameUnexpected,
            ),
            (
                [
                    head("POST", "/", &[]),
                    frame(kind::DATA, b"a"),
                    headers(&[("x", "y")]),
                    frame(kind::DATA, b"b"),
                ]
                .concat()
                .as_slice()
                .into(),
                Code::FrameUnexpected,
            ),
        ] {
            let client = connect(&server).await;
            assert_eq!(client.send(&request).await, Err(code as u64), "{request:x?}");
            assert_eq!(client.closed().await, code as u64);
        }
        for (stream, code) in [
            (&[0, 4, 0][..], Code::StreamCreation),
            (&[1, 0], Code::StreamCreation),
            (&[2, 0x3f, 1], Code::EncoderStream),
            (&[3, 0x84], Code::DecoderStream),
        ] {
            let client = connect(&server).await;
            // A request first, so that the control stream is known before this one.
            client.get("/").await;
            let mut uni = client.quic.open_uni().await.unwrap();
            uni.write_all(stream).await.unwrap();
            assert_eq!(client.closed().await, code as u64, "{stream:x?}");
        }
        let client = connect(&server).await;
        client.get("/").await;
        drop(client.control);
        assert_eq!(closed(&client.quic.closed().await), Code::ClosedCritical as u64);
    })
    .await;
}

#[tokio::test]
async fn floods_are_bounded() {
    local(async {
        let mut server = Server::start(|_| {});
        let client = connect(&server).await;
        let mut cancelled = 0;
        while let Ok((mut send, mut recv)) = client.quic.open_bi().await {
            let _ = send.write_all(&head("GET", "/never", &[])).await;
            let _ = send.reset(Code::Cancelled.wire());
            let _ = recv.stop(Code::Cancelled.wire());
            cancelled += 1;
            assert!(cancelled < 10_000, "nobody minds");
        }
        assert_eq!(client.closed().await, Code::ExcessiveLoad as u64);
        assert!(server.told().await.contains("cancelled streams"));
        server.under_way(0).await;

        let client = connect(&server).await;
        let flood = [head("POST", "/", &[]), frame(0x21, b"").repeat(3_000).as_slice().into()].concat();
        assert_eq!(client.send(flood).await, Err(Code::ExcessiveLoad as u64));
        assert!(server.told().await.contains("without a meaning"));

        // A head whose length is a lie holds nothing.
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        let mut head = BytesMut::new();
        write_head(&mut head, kind::HEADERS, varint::MOST);
        send.write_all(&head).await.unwrap();
        assert_eq!(read(&recv.read_to_end(1 << 10).await.unwrap()).status, ["431"]);
        assert!(matches!(send.stopped().await, Ok(Some(code)) if code == Code::NoError.wire()));
    })
    .await;
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    local(async {
        let mut server = Server::start(|settings| {
            settings.h1.head_timeout = Duration::from_millis(100);
            settings.h2.write_timeout = Duration::from_millis(100);
        });
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/", &[])[..5]).await.unwrap();
        assert_eq!(read(&recv.read_to_end(1 << 10).await.unwrap()).status, ["408"]);
        assert!(server.told().await.starts_with("408 "));
        // Takes nothing of an answer that is larger than its windows.
        client.quic.set_receive_window(1_000_u32.into());
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/large", &[])).await.unwrap();
        send.finish().unwrap();
        assert!(matches!(recv.received_reset().await, Ok(Some(code)) if code == Code::Cancelled.wire()));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_worked_for() {
    local(async {
        let server = Server::start(|_| {});
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/never", &[])).await.unwrap();
        send.finish().unwrap();
        server.under_way(1).await;
        recv.stop(Code::Cancelled.wire()).unwrap();
        server.under_way(0).await;
        let (mut send, _recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/never", &[])).await.unwrap();
        send.finish().unwrap();
        server.under_way(1).await;
        client.quic.close(0_u32.into(), b"");
        server.under_way(0).await;
        // What is sent although it is not wanted is stopped without blame, and the answer stands.
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("POST", "/unread", &[])).await.unwrap();
        assert_eq!(text(&read(&recv.read_to_end(1 << 10).await.unwrap())), "enough");
        assert!(matches!(send.stopped().await, Ok(Some(code)) if code == Code::NoError.wire()));
    })
    .await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    local(async {
        let server = Server::start(|_| {});
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("POST", "/", &[])).await.unwrap();
        server.under_way(1).await;
        server.drainer.drain(PATIENCE);
        let (goaways, mut control) = client.goaways().await;
        assert_eq!(goaways[..2], [kind::GOAWAY as u8, 8]);
        assert_eq!(varint::read(&goaways[2..]).unwrap().0, varint::MOST - 3);
        assert_eq!(goaways[10..], [kind::GOAWAY as u8, 1, 4]);
        assert_eq!(client.send(head("GET", "/", &[])).await, Err(Code::Rejected as u64));
        let refused = endpoint().connect(server.addr, "shop.test").unwrap().await.unwrap_err();
        assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused:?}");
        send.write_all(&frame(kind::DATA, b"abc")).await.unwrap();
        send.finish().unwrap();
        assert!(text(&read(&recv.read_to_end(1 << 10).await.unwrap())).ends_with(" 3"));
        assert_eq!(client.closed().await, Code::NoError as u64);
        let ended = control.read_chunk(1 << 10, true).await;
        assert!(matches!(ended, Err(quinn::ReadError::ConnectionLost(_))), "the control stream has ended");
        assert_eq!(server.task.await.unwrap(), Served { accepted: 1, cut: 0 });
        // Free as soon as the last connection has nothing left to say.
        while Endpoint::bind(server.addr).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_there_as_a_whole_before_a_drain_closes_the_connection() {
    local(async {
        let server = Server::start(|_| {});
        let mut narrow = quinn::TransportConfig::default();
        narrow.stream_receive_window(4096_u32.into());
        let client = connect_by(endpoint_with(narrow), &server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/half", &[])).await.unwrap();
        send.finish().unwrap();
        let mut octets = recv.read_chunk(100, true).await.unwrap().unwrap().bytes.to_vec();
        server.drainer.drain(PATIENCE);
        // The server has written all of it and said farewell, and most of it waits for the window.
        let (_, _control) = client.goaways().await;
        octets.extend(recv.read_to_end(1 << 20).await.unwrap());
        assert_eq!(read(&octets).body.len(), 512 << 10);
        assert_eq!(client.closed().await, Code::NoError as u64);
        assert_eq!(server.task.await.unwrap(), Served { accepted: 1, cut: 0 });
    })
    .await;
}

#[tokio::test]
async fn what_takes_too_long_is_cut_and_idle_connections_end() {
    local(async {
        let server = Server::start(|_| {});
        let client = connect(&server).await;
        let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
        send.write_all(&head("GET", "/never", &[])).await.unwrap();
        send.finish().unwrap();
        server.under_way(1).await;
        server.drainer.drain(Duration::from_millis(50));
        assert!(recv.read_to_end(10).await.is_err());
        assert_eq!(client.closed().await, Code::NoError as u64);
        assert_eq!(server.task.await.unwrap(), Served { accepted: 1, cut: 1 });
        let server = Server::start(|settings| settings.h2.idle_timeout = Duration::from_millis(50));
        let client = connect(&server).await;
        assert_eq!(client.get("/").await.status, ["200"]);
        assert_eq!(client.closed().await, Code::NoError as u64);
    })
    .await;
}

#[tokio::test]
async fn addresses_are_validated_and_may_change() {
    local(async {
        let server = Server::start(|settings| settings.h3.unvalidated = 0);
        let client = connect(&server).await;
        assert_eq!(client.get("/").await.status, ["200"]);
        let before = client.endpoint.local_addr().unwrap();
        client.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let after = client.endpoint.local_addr().unwrap();
        assert_ne!(before, after);
        // The same connection; the server sees the new address as soon as it was validated.
        while !text(&client.get("/").await).contains(&after.to_string()) {}
        let full = Server::start(|settings| settings.h3.handshakes = 0);
        assert!(endpoint().connect(full.addr, "shop.test").unwrap().await.is_err());
    })
    .await;
}

#[tokio::test]
async fn names_without_a_certificate_are_refused() {
    local(async {
        let mut server = Server::start(|_| {});
        let refused = endpoint().connect(server.addr, "bank.test").unwrap().await.unwrap_err();
        // The alert "access denied" of TLS (RFC 9001 section 4.8).
        assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused:?}");
        assert_eq!(server.told().await, "failed");
    })
    .await;
}
