//! Resident memory: with so many idle connections, and with so many routes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Connections that have had one answer each and are kept.
#[derive(Default)]
pub struct Idle(Vec<TcpStream>);

impl Idle {
    /// Opens connections until there are so many.
    pub fn grow_to(&mut self, port: u16, path: &str, count: usize) -> Result<()> {
        while self.0.len() < count {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n").as_bytes())?;
            read_answer(&mut stream).with_context(|| format!("after {} connections", self.0.len()))?;
            self.0.push(stream);
        }
        Ok(())
    }

    /// How many of them are still open.
    pub fn open(&mut self) -> usize {
        let is_open = |stream: &mut TcpStream| {
            // A closed connection reads its end at once; an open one has nothing to read.
            stream.set_nonblocking(true).is_ok()
                && matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        };
        self.0.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count()
    }
}

fn read_answer(stream: &mut TcpStream) -> Result<()> {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part)?;
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&answer);
        if read == 0 || !text.starts_with("HTTP/1.1 200") {
            bail!("the answer is {:?}", text.lines().next().unwrap_or_default());
        }
        // The body is 1 kB of `x`.
        if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= 1024) {
            return Ok(());
        }
    }
}

/// Resident bytes of a process (proc(5), `VmRSS`).
pub fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kilobytes * 1024)
}
