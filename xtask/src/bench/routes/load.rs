//! Requests at a steady rate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Connections; each sends when its time has come and its last answer is there.
const CONNECTIONS: u32 = 8;

/// All routes are asked in turn.
#[derive(Clone, Copy)]
pub struct Load {
    /// Whom.
    pub address: SocketAddr,
    /// How many there are.
    pub routes: usize,
    /// So many requests a second.
    pub rate: u64,
    /// For so long.
    pub seconds: u64,
}

/// What became of them; times in microseconds.
pub struct Told {
    /// How many were sent.
    pub requests: u64,
    /// How many got no 200.
    pub failed: u64,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
}

impl Load {
    /// Sends them.
    pub fn run(self) -> Result<Told> {
        let begun = Instant::now();
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|own| std::thread::spawn(move || self.connection(own, begun))).collect();
        let (mut times, mut failed) = (Vec::new(), 0);
        for thread in threads {
            let (own, bad) = thread.join().ok().context("a connection ended badly")?;
            times.extend(own);
            failed += bad;
        }
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
        Ok(Told { requests: u64::try_from(times.len())?, failed, p50: at(50), p99: at(99) })
    }

    fn connection(self, own: u32, begun: Instant) -> (Vec<u64>, u64) {
        let until = begun + Duration::from_secs(self.seconds);
        let apart = Duration::from_nanos(1_000_000_000 * u64::from(CONNECTIONS) / self.rate);
        let (mut times, mut failed) = (Vec::new(), 0);
        let mut stream = open(self.address);
        let mut due = begun + apart * own / CONNECTIONS;
        let mut route = usize::try_from(own).unwrap_or(0);
        while due < until {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            let good = stream.as_mut().is_ok_and(|stream| ask(stream, route % self.routes).is_ok());
            times.push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            if !good {
                failed += 1;
                stream = open(self.address);
            }
            route += 7;
            due += apart;
        }
        (times, failed)
    }
}

fn open(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, route: usize) -> Result<()> {
    let request = format!("GET /r{route}/x HTTP/1.1\r\nHost: h{route}.test\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part)?;
        anyhow::ensure!(read > 0, "the connection was closed");
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        let text = std::str::from_utf8(&answer)?;
        // The body is two bytes.
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= 2
        {
            anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
            return Ok(());
        }
    }
}
