//! Bodies: streaming, backpressure, trailers, 100-continue, and what is cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tutti_net::Body;

use crate::harness::*;

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let answer = upstream(|request| async move {
        let (mut sender, body) = Body::channel(1);
        tokio::spawn(async move {
            let mut from = request.into_body();
            while let Some(Ok(frame)) = from.frame().await {
                if let Ok(data) = frame.into_data() {
                    sender.send(data).await.unwrap();
                }
            }
            sender.finish().await.unwrap();
        });
        Response::new(body)
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, answer.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    for word in ["one", "two", "three"] {
        stream.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).await.unwrap();
        // Each word is back before the next one is sent.
        let got = read_until(&mut stream, &format!("{word}\r\n")).await;
        assert!(got.ends_with(&format!("\r\n{word}\r\n")), "{got}");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
}

/// Sends without end and says how far it got.
async fn gusher(sent: Arc<AtomicU64>) -> Upstream {
    upstream(move |_| {
        let sent = Arc::clone(&sent);
        async move {
            let (mut sender, body) = Body::channel(1);
            tokio::spawn(async move {
                while sender.send(Bytes::from(vec![b'x'; 64 << 10])).await.is_ok() {
                    sent.fetch_add(64 << 10, Ordering::SeqCst);
                }
            });
            Response::new(body)
        }
    })
    .await
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream() {
    let sent = Arc::new(AtomicU64::new(0));
    let gusher = gusher(Arc::clone(&sent)).await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, gusher.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 1024]).await.unwrap();
    // It goes on until every buffer of the kernel on the way is full, and then stands still.
    let mut before = u64::MAX;
    let still = async {
        while before != sent.load(Ordering::SeqCst) {
            before = sent.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), still).await.expect("it never stands still");
    let stopped = sent.load(Ordering::SeqCst);
    assert!(stopped < 40 << 20, "{stopped} bytes are held for a reader that does not read");
    // Reading lets it go on.
    let mut left = vec![0; 1 << 20];
    while sent.load(Ordering::SeqCst) == stopped {
        assert!(stream.read(&mut left).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_slow_upstream_slows_the_client() {
    let (go, wait) = tokio::sync::watch::channel(false);
    let slow = upstream(move |request| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            let mut body = request.into_body();
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                total += frame.unwrap().data_ref().map_or(0, Bytes::len);
            }
            Response::new(Body::from(total.to_string()))
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, slow.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    let size: usize = 64 << 20;
    stream
        .write_all(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = vec![b'x'; 256 << 10];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&chunk)).await {
        sent += written.unwrap();
    }
    assert!(sent < 40 << 20, "{sent} bytes are held for an upstream that does not read");
    go.send(true).unwrap();
    while sent < size {
        sent += stream.write(&chunk[..chunk.len().min(size - sent)]).await.unwrap();
    }
    assert!(read_until(&mut stream, &size.to_string()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let answer = upstream(|request| async move {
        let (body, trailers) = request.into_body().collect(1024).await.unwrap();
        let (mut sender, answer) = Body::channel(1);
        tokio::spawn(async move {
            sender.send(body).await.unwrap();
            sender.finish_with(trailers.unwrap_or_else(HeaderMap::new)).await.unwrap();
        });
        Response::new(answer)
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, answer.addr)]).await;
    let answer = raw(
        tutti.edge,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: te, close\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n",
    )
    .await;
    let answer = answer.to_lowercase();
    assert!(answer.contains("2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_from_the_upstream() {
    let echo = echo().await;
    let (refusing, _task) = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, echo.addr)]).await;
    let ask = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    let mut stream = dial(tutti.edge).await;
    stream.write_all(ask).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
    // One that says no right away is heard before the body is sent.
    tutti.catalog.set(vec![passing("a", 2, refusing)]);
    assert_eq!(tutti_ports::traffic::Traffic::drained(&tutti.handle, &id("a", 1), LIMITS.timeout).await, 0);
    let mut stream = dial(tutti.edge).await;
    stream.write_all(ask).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_cut_answer_never_looks_whole() {
    let (addr, _task) = raw_upstream(|mut stream| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await
            .unwrap();
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, addr)]).await;
    let answer = raw(tutti.edge, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_by_the_upstream() {
    let (gone, mut left) = mpsc::channel(1);
    let waiting = upstream(move |_| {
        let gone = gone.clone();
        async move {
            struct Told(mpsc::Sender<()>);
            impl Drop for Told {
                fn drop(&mut self) {
                    let _ = self.0.try_send(());
                }
            }
            let _told = Told(gone);
            std::future::pending().await
        }
    })
    .await;
    let tutti = Tutti::start(options(), vec![to("a")], vec![passing("a", 1, waiting.addr)]).await;
    let mut stream = dial(tutti.edge).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while tutti.handle.describe().services[0].endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    drop(stream);
    tokio::time::timeout(LIMITS.timeout, left.recv()).await.unwrap().unwrap();
    while tutti.handle.describe().services[0].endpoints[0].in_flight != 0 {
        tokio::task::yield_now().await;
    }
}
