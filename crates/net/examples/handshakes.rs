//! A client that makes a TLS handshake for each request, to measure servers with:
//! `handshakes handshake|resumed CONNECTIONS SECONDS https://ADDR/PATH`. With `resumed`, each connection but the first
//! resumes a session, and the run fails if the server does not let it. Prints what wrk would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tutti_net::tls::client::{Client, Options, Trust};
use tutti_net::{Addr, Stream};

struct Asked {
    resumed: bool,
    until: Instant,
    addr: Addr,
    request: String,
}

/// One connection with one request.
async fn once(asked: &Asked, client: &Client, first: bool) -> anyhow::Result<()> {
    let stream = Stream::connect(&asked.addr, Duration::from_secs(5)).await?;
    let (mut stream, told) = client.connect(stream).await?;
    ensure!(told.resumed == (asked.resumed && !first), "resumed: {}", told.resumed);
    stream.write_all(asked.request.as_bytes()).await?;
    // A session may keep what the socket does not take at once until it is flushed.
    stream.flush().await?;
    let mut answer = Vec::new();
    // Some servers close without saying so in TLS; the answer itself says where it ends.
    let read = stream.read_to_end(&mut answer).await;
    if !answer.starts_with(b"HTTP/1.1 200") || answer.len() < 1024 {
        read?;
        bail!("the answer is {:?}", String::from_utf8_lossy(&answer).lines().next());
    }
    Ok(())
}

/// Requests one after the other; how long each took.
async fn lane(asked: &Asked) -> anyhow::Result<Vec<Duration>> {
    let options = || Options {
        trust: Trust::Anybody,
        server_name: "localhost".to_owned(),
        alpn: vec![b"http/1.1".to_vec()],
        ..Options::default()
    };
    let kept = Client::new(&options())?;
    let mut took = Vec::new();
    if asked.resumed {
        once(asked, &kept, true).await?;
    }
    while Instant::now() < asked.until {
        let begun = Instant::now();
        if asked.resumed {
            once(asked, &kept, false).await?;
        } else {
            once(asked, &Client::new(&options())?, true).await?;
        }
        took.push(begun.elapsed());
    }
    Ok(took)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, connections, seconds, url] = arguments.as_slice() else {
        bail!("usage: handshakes handshake|resumed CONNECTIONS SECONDS https://ADDR/PATH");
    };
    let rest = url.strip_prefix("https://").context("the address begins with https://")?;
    let (addr, path) = rest.split_once('/').context("the address has a path")?;
    let asked = Asked {
        resumed: kind == "resumed",
        until: Instant::now() + Duration::from_secs(seconds.parse()?),
        addr: addr.parse::<SocketAddr>()?.into(),
        request: format!("GET /{path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"),
    };
    let lanes: usize = connections.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let took = runtime.block_on(futures_util::future::try_join_all((0..lanes).map(|_| lane(&asked))))?;
    let mut took: Vec<Duration> = took.into_iter().flatten().collect();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).context("no request was made")?;
    let mut out = std::io::stdout().lock();
    std::io::Write::write_fmt(
        &mut out,
        format_args!(
            "     99%  {:.2}us\n  {} requests in {:.2}s\n",
            p99.as_secs_f64() * 1e6,
            took.len(),
            begun.elapsed().as_secs_f64()
        ),
    )?;
    Ok(())
}
