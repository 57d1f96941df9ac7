//! A service that writes down what reaches it, and a client that sends what it is given. Both read HTTP with a
//! reader of their own, so that a mistake of the codec under test is not shared by its judge.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::cases::Case;

/// What follows the bytes of every case but those that starve.
pub const PROBE: &[u8] = b"GET /probe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// A request as the service has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// The length of its body.
    pub length: usize,
    /// What no proxy may send, if there is something.
    pub odd: Option<String>,
}

/// A service that writes down every whole request and answers it with 200.
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Recorder {
    /// Listens at a free port of the loopback address. Its threads end with the process.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let list = Arc::clone(&list);
                // A connection that breaks is what some cases are about.
                std::thread::spawn(move || drop(record(stream, &list)));
            }
        });
        Ok(Self { address, seen })
    }

    /// What was seen since this was asked last.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn record(mut stream: TcpStream, list: &Mutex<Vec<Seen>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer)? {
        let head = Head::of(&head);
        let length = read_body(&mut stream, &mut buffer, &head)?;
        let answer = if head.method == "HEAD" {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        };
        let seen = Seen { method: head.method, target: head.target, length, odd: head.odd };
        list.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 16 << 10];
    let read = stream.read(&mut chunk)?;
    buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    Ok(read > 0)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            return Ok(Some(buffer.drain(..end + 4).collect()));
        }
        if !more(stream, buffer)? {
            return Ok(None);
        }
    }
}

struct Head {
    method: String,
    target: String,
    length: usize,
    chunked: bool,
    odd: Option<String>,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let mut odd = None;
        if first.len() != 3 || first.get(2).is_none_or(|version| !version.starts_with("HTTP/1.")) {
            odd = Some(format!("a request line of {} words", first.len()));
        }
        let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-length" => lengths.push(value.to_owned()),
                "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                "host" => hosts += 1,
                "upgrade" if value.to_ascii_lowercase().contains("h2c") => odd = Some(line.to_owned()),
                "http2-settings" | "expect" => {}
                _ if line.contains(['\r', '\n', '\0']) || line.starts_with([' ', '\t']) => {
                    odd = Some(line.to_owned());
                }
                _ => {}
            }
        }
        if lengths.len() + codings.len() > 1 || hosts != 1 {
            odd = Some(format!("{lengths:?} {codings:?} {hosts} hosts"));
        }
        Self {
            method: first.first().copied().unwrap_or_default().to_owned(),
            target: first.get(1).copied().unwrap_or_default().to_owned(),
            length: lengths.first().and_then(|length| length.parse().ok()).unwrap_or(0),
            chunked: codings.first().is_some_and(|coding| coding == "chunked"),
            odd,
        }
    }
}

/// The length of the body, when all of it has come.
fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &Head) -> io::Result<usize> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let take = |stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize| {
        while buffer.len() < length {
            if !more(stream, buffer)? {
                return Err(cut());
            }
        }
        buffer.drain(..length);
        Ok(())
    };
    if !head.chunked {
        take(stream, buffer, head.length)?;
        return Ok(head.length);
    }
    let mut total = 0;
    loop {
        let Some(end) = find(buffer, b"\r\n") else {
            if more(stream, buffer)? { continue } else { return Err(cut()) }
        };
        let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
        buffer.drain(..end + 2);
        let size =
            usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(|_| cut())?;
        if size == 0 {
            // Trailers, to the empty line.
            while !buffer.starts_with(b"\r\n") {
                match find(buffer, b"\r\n") {
                    Some(end) => drop(buffer.drain(..end + 2)),
                    None if more(stream, buffer)? => {}
                    None => return Err(cut()),
                }
            }
            buffer.drain(..2);
            return Ok(total);
        }
        take(stream, buffer, size + 2)?;
        total += size;
    }
}

/// What a client has got.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// The statuses of the final responses, in order.
    pub statuses: Vec<u16>,
    /// Their bodies.
    pub bodies: Vec<Vec<u8>>,
    /// The last response, or what else came, is not whole.
    pub cut: bool,
    /// The connection was closed before the patience ended.
    pub closed: bool,
}

/// Sends a case's bytes, `step` at a time, and what follows them; and reads until the end, or until nothing has come
/// for the patience.
pub fn exchange(
    address: SocketAddr,
    case: &Case,
    probe: bool,
    step: usize,
    patience: Duration,
) -> io::Result<Got> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    let mut all = case.bytes.clone();
    if probe {
        all.extend_from_slice(PROBE);
    }
    for piece in all.chunks(step) {
        // A refusal may come while we still send; what was answered is read all the same.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    if !probe {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let head_only = case.bytes.starts_with(b"HEAD ");
    read_all(&mut stream, head_only)
}

/// Reads responses to the end.
pub fn read_all(stream: &mut TcpStream, head_only: bool) -> io::Result<Got> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    let closed = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break true,
            Ok(read) => bytes.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break false;
            }
            Err(_) => break true,
        }
    };
    Ok(split(&bytes, closed, head_only))
}

fn split(mut bytes: &[u8], closed: bool, mut head_only: bool) -> Got {
    let mut got = Got { closed, ..Got::default() };
    while !bytes.is_empty() {
        let Some(end) = find(bytes, b"\r\n\r\n") else {
            got.cut = true;
            return got;
        };
        let (head, rest) = bytes.split_at(end + 4);
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let Some(status) = text.get(9..12).and_then(|status| status.parse::<u16>().ok()) else {
            got.cut = true;
            return got;
        };
        bytes = rest;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let field = |name: &str| {
            let at = text.find(&format!("\r\n{name}:"))? + name.len() + 3;
            Some(text.get(at..)?.split("\r\n").next()?.trim().to_owned())
        };
        let bodiless = std::mem::take(&mut head_only) || status == 204 || status == 304;
        let body = if bodiless {
            Some((Vec::new(), 0))
        } else if field("transfer-encoding").is_some() {
            unchunk(bytes)
        } else if let Some(length) = field("content-length").and_then(|length| length.parse::<usize>().ok()) {
            bytes.get(..length).map(|body| (body.to_vec(), length))
        } else {
            Some((bytes.to_vec(), bytes.len()))
        };
        got.statuses.push(status);
        let Some((body, length)) = body else {
            got.cut = true;
            return got;
        };
        got.bodies.push(body);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    got
}

fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let end = find(rest, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?, 16).ok()?;
        at += end + 2;
        if size == 0 {
            let end = find(bytes.get(at - 2..)?, b"\r\n\r\n")?;
            return Some((body, at - 2 + end + 4));
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
    }
}
