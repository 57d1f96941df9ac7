//! What people do in the shop, at a steady rate: nobody waits for anybody else's answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long somebody waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What one of them got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// An answer of 200 to 399, whole.
    Good,
    /// What is answered when the service cannot.
    Fallback,
    /// Another status.
    Refused(u16),
    /// No answer, or a part of one, or too late.
    Broken,
}

/// What became of a request, and after how long.
pub type Shot = (Fate, Duration);

/// What failed, and how often. A fallback is no failure.
pub fn failures(shots: &[Shot], first: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let failed = |fate: &Fate| !matches!(fate, Fate::Good | Fate::Fallback);
    for (number, (fate, _)) in (first..).zip(shots).filter(|(_, (fate, _))| failed(fate)) {
        let (path, form) = STEPS.get(number % STEPS.len()).copied().unwrap_or_default();
        let method = if form { "POST" } else { "GET" };
        let what = match fate {
            Fate::Refused(status) => format!("{status}"),
            _ => "no answer".to_owned(),
        };
        *counts.entry(format!("{method} {path}: {what}")).or_insert(0) += 1;
    }
    counts
}

/// What is done in turn; `true` is a form that is sent and may not be sent twice.
const STEPS: [(&str, bool); 6] = [
    ("/", false),
    ("/products/tin-whistle", false),
    ("/images/tin-whistle.svg", false),
    ("/cart", false),
    ("/cart/items", true),
    ("/orders", false),
];

/// Sends so many requests a second for so long, and waits for the last answer.
pub fn run(address: SocketAddr, rate: u32, lasts: Duration, first: usize) -> Vec<Shot> {
    let begun = Instant::now();
    let apart = Duration::from_secs(1) / rate;
    let mut waiting = Vec::new();
    let mut due = Duration::ZERO;
    for number in first.. {
        if due >= lasts {
            break;
        }
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        waiting.push(std::thread::spawn(move || one(address, number)));
        due += apart;
    }
    waiting.into_iter().map(|one| one.join().unwrap_or((Fate::Broken, PATIENCE))).collect()
}

/// One request on a connection of its own.
pub fn one(address: SocketAddr, number: usize) -> Shot {
    let (path, form) = STEPS.get(number % STEPS.len()).copied().unwrap_or(("/", false));
    let begun = Instant::now();
    let fate = ask(address, path, form, number, begun).unwrap_or(Fate::Broken);
    (fate, begun.elapsed())
}

fn ask(address: SocketAddr, path: &str, form: bool, number: usize, begun: Instant) -> std::io::Result<Fate> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let body = if form { "sku=tin-whistle&quantity=1" } else { "" };
    let method = if form { "POST" } else { "GET" };
    let kind = if form { "content-type: application/x-www-form-urlencoded\r\n" } else { "" };
    let length = body.len();
    // Nobody has a cart from an earlier run.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncookie: piccolo_shopper=chaos-{run}-{number:08}\r\n\
             {kind}content-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(Fate::Broken);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(judge(&answer)),
            read => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// What an answer says, and whether it is whole.
fn judge(answer: &[u8]) -> Fate {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return Fate::Broken };
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let body = answer.len() - (head.len() + 4).min(answer.len());
    let whole = match (field("content-length:"), field("transfer-encoding:")) {
        (Some(length), _) => length.parse() == Ok(body),
        (None, Some(_)) => answer.ends_with(b"0\r\n\r\n"),
        (None, None) => true,
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    match status {
        _ if !whole => Fate::Broken,
        Some(_) if field("x-tutti-fallback:").is_some() => Fate::Fallback,
        Some(200..=399) => Fate::Good,
        Some(status) => Fate::Refused(status),
        None => Fate::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_when_it_is_whole() {
        for (answer, fate) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Fate::Good),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", Fate::Broken),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Fate::Good),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", Fate::Broken),
            ("HTTP/1.1 303 See Other\r\ncontent-length: 0\r\n\r\n", Fate::Good),
            ("HTTP/1.1 200 OK\r\nx-tutti-fallback: true\r\ncontent-length: 0\r\n\r\n", Fate::Fallback),
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", Fate::Refused(503)),
            ("HTTP/1.1 200", Fate::Broken),
            ("", Fate::Broken),
        ] {
            assert_eq!(judge(answer.as_bytes()), fate, "{answer}");
        }
    }
}
