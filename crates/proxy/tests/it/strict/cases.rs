//! Cases as data: a name, what must become of it, and bytes. One case a line, `name | what must become | bytes`, below
//! a line `[family]`; `#` begins a comment.
//!
//! In the bytes, `\r \n \t \0 \\ \xHH` are what they are in Rust, `<<N*TEXT>>` is TEXT N times, `<EOF>` at the end is the end of the
//! connection; `$G`, `$P` and `$C` are the begin of a GET, of a POST and of a POST with chunks, `$O` that of a 200.
//!
//! Requests, each of which is followed by a probe, a request for `/probe`, at once:
//!
//! | words | what must become |
//! |---|---|
//! | `accept M N, …` | the service sees exactly these methods with bodies of so many bytes, and then the probe |
//! | `close M N, …` | the same, but the connection ends before the probe |
//! | `reject S` | the client gets this status and the end; the service sees nothing, and no probe |
//! | `reject S after M N, …` | these were accepted before |
//! | `answer S` | we answer ourselves with this status, and the probe is served |
//! | `starve` | without a probe, and with the end of the client's bytes: the service sees no whole request |
//!
//! Responses, each to the first of two requests on one connection, whose second one must get its own response:
//!
//! | words | what must become |
//! |---|---|
//! | `pass S N` | the client gets this status and a body of so many bytes |
//! | `502` | the client gets this status from us |
//! | `cut` | the client sees that the response is not whole |

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is about.
    pub family: String,
    /// Which one it is.
    pub name: String,
    /// What must become of it.
    pub expect: Expect,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// Whether the connection ends behind the bytes.
    pub eof: bool,
}

/// A request as a service sees it: its method and the length of its body.
pub type Asked = (String, usize);

/// What must become of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Requests that are served, and then the probe.
    Accept(Vec<Asked>),
    /// Requests that are served, and then the end.
    Close(Vec<Asked>),
    /// A refusal with this status, after requests that are served.
    Reject(u16, Vec<Asked>),
    /// An answer of ours with this status, and then the probe.
    Answer(u16),
    /// Nothing whole reaches the service.
    Starve,
    /// A response with this status and length.
    Pass(u16, usize),
    /// The service's response is refused.
    BadGateway,
    /// A response that is visibly not whole.
    Cut,
}

/// All cases of a file; otherwise the line that is none.
pub fn read(text: &str) -> Result<Vec<Case>, String> {
    let mut family = String::new();
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            family = name.to_owned();
            continue;
        }
        let mut parts = line.splitn(3, " | ");
        let (Some(name), Some(expect), Some(bytes)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(line.to_owned());
        };
        let (bytes, eof) = bytes.strip_suffix("<EOF>").map_or((bytes, false), |rest| (rest, true));
        let bytes = unescape(&expand(bytes)).ok_or_else(|| line.to_owned())?;
        let expect = expectation(expect).ok_or_else(|| line.to_owned())?;
        cases.push(Case { family: family.clone(), name: name.to_owned(), expect, bytes, eof });
    }
    Ok(cases)
}

fn expectation(text: &str) -> Option<Expect> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match word {
        "accept" => Expect::Accept(asked(rest)?),
        "close" => Expect::Close(asked(rest)?),
        "reject" => match rest.split_once(" after ") {
            Some((status, before)) => Expect::Reject(status.parse().ok()?, asked(before)?),
            None => Expect::Reject(rest.parse().ok()?, Vec::new()),
        },
        "answer" => Expect::Answer(rest.parse().ok()?),
        "starve" => Expect::Starve,
        "pass" => {
            let (status, length) = rest.split_once(' ')?;
            Expect::Pass(status.parse().ok()?, length.parse().ok()?)
        }
        "502" => Expect::BadGateway,
        "cut" => Expect::Cut,
        _ => return None,
    })
}

fn asked(text: &str) -> Option<Vec<Asked>> {
    let one = |part: &str| {
        let (method, length) = part.rsplit_once(' ')?;
        Some((method.to_owned(), length.parse().ok()?))
    };
    text.split(", ").map(one).collect()
}

fn expand(text: &str) -> String {
    let mut text = text
        .replace("$G", "GET / HTTP/1.1\\r\\nHost: h\\r\\n")
        .replace("$P", "POST / HTTP/1.1\\r\\nHost: h\\r\\n")
        .replace("$C", "POST / HTTP/1.1\\r\\nHost: h\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        .replace("$O", "HTTP/1.1 200 OK\\r\\n");
    while let Some((before, rest)) = text.split_once("<<") {
        let Some(((times, what), after)) =
            rest.split_once(">>").and_then(|(inside, after)| Some((inside.split_once('*')?, after)))
        else {
            break;
        };
        text = format!("{before}{}{after}", what.repeat(times.parse().unwrap_or(0)));
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next()? {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(out)
}
