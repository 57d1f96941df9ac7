//! One line of the access log, as text or JSON, written without an allocation.
//!
//! A request's query, header fields and body are never written: they hold what must not be in a log.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tutti_core::limits::ACCESS_LOG_FIELD;
use tutti_core::octets;
use tutti_ports::routing::LogField;

use super::plan::Plan;
use crate::config::LogFormat;

/// What is recorded of a request.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When its last byte was sent.
    pub at: SystemTime,
    /// The listener's name.
    pub listener: &'a str,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The method.
    pub method: &'a str,
    /// Host as it was asked for.
    pub host: &'a [u8],
    /// The path, without its query.
    pub path: &'a str,
    /// `http/1.1`, `h2` or `tcp`.
    pub protocol: &'a str,
    /// The status that was answered.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the request's head to the response's last byte.
    pub duration: Duration,
    /// From the request's head to the response's head.
    pub first_byte: Option<Duration>,
    /// The service.
    pub service: Option<&'a str>,
    /// The instance that answered or was tried last.
    pub instance: Option<&'a str>,
    /// How many instances were tried.
    pub attempts: u32,
    /// The request's id.
    pub request_id: &'a [u8],
    /// The trace; 0: none.
    pub trace: u128,
    /// The trace's id.
    pub trace_id: &'a [u8],
    /// The fault's code, or `cut` for a response that did not reach its end.
    pub fault: Option<&'a str>,
}

impl Line<'_> {
    /// Appends the line, with its line feed.
    pub fn write(&self, plan: &Plan, stamp: &mut Stamp, out: &mut Vec<u8>) {
        match (&plan.fields, plan.format) {
            (None, LogFormat::Json) => self.json(stamp, out),
            (None, LogFormat::Text) => self.text(stamp, out),
            (Some(fields), LogFormat::Json) => self.chosen_json(fields, stamp, out),
            (Some(fields), LogFormat::Text) => self.chosen_text(fields, stamp, out),
        }
    }

    /// The fields that were chosen, as JSON. What is absent is left out.
    fn chosen_json(&self, fields: &[LogField], stamp: &mut Stamp, out: &mut Vec<u8>) {
        let mut first = true;
        for field in fields {
            let value = self.value(*field);
            if matches!(value, Value::Absent) {
                continue;
            }
            out.push(if std::mem::take(&mut first) { b'{' } else { b',' });
            out.push(b'"');
            out.extend_from_slice(field.as_str().as_bytes());
            out.extend_from_slice(b"\":");
            match value {
                Value::Absent => {}
                Value::Text(text) => quoted(text, out),
                Value::Number(count) => number(count, out),
                Value::Length(length) => milliseconds(length, out),
                Value::Time | Value::Address => {
                    out.push(b'"');
                    if matches!(value, Value::Time) {
                        stamp.write(self.at, out)
                    } else {
                        self.address(out)
                    }
                    out.push(b'"');
                }
            }
        }
        out.extend_from_slice(b"}\n");
    }

    /// The fields that were chosen, as `name=value`.
    fn chosen_text(&self, fields: &[LogField], stamp: &mut Stamp, out: &mut Vec<u8>) {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(field.as_str().as_bytes());
            out.push(b'=');
            match self.value(*field) {
                Value::Absent => out.push(b'-'),
                Value::Text(text) => plain(text, out),
                Value::Number(count) => number(count, out),
                Value::Length(length) => milliseconds(length, out),
                Value::Time => stamp.write(self.at, out),
                Value::Address => self.address(out),
            }
        }
        out.push(b'\n');
    }

    fn value(&self, field: LogField) -> Value<'_> {
        match field {
            LogField::Time => Value::Time,
            LogField::Listener => text(self.listener),
            LogField::Route => or_absent(self.route),
            LogField::Client => Value::Address,
            LogField::Method => text(self.method),
            LogField::Host if self.host.is_empty() => Value::Absent,
            LogField::Host => Value::Text(self.host),
            LogField::Path => text(self.path),
            LogField::Protocol => text(self.protocol),
            LogField::Status => Value::Number(u64::from(self.status)),
            LogField::BytesIn => Value::Number(self.bytes_in),
            LogField::BytesOut => Value::Number(self.bytes_out),
            LogField::Duration => Value::Length(self.duration),
            LogField::FirstByte => self.first_byte.map_or(Value::Absent, Value::Length),
            LogField::Service => or_absent(self.service),
            LogField::Instance => or_absent(self.instance),
            LogField::Attempts => Value::Number(u64::from(self.attempts)),
            LogField::RequestId => Value::Text(self.request_id),
            LogField::TraceId => Value::Text(self.trace_id),
            LogField::Fault => or_absent(self.fault),
        }
    }

    /// Each piece closes the string before it.
    fn json(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        let string = |before: &str, text: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(before.as_bytes());
            escaped(text, out);
        };
        out.extend_from_slice(b"{\"time\":\"");
        stamp.write(self.at, out);
        string("\",\"listener\":\"", self.listener.as_bytes(), out);
        if let Some(route) = self.route {
            string("\",\"route\":\"", route.as_bytes(), out);
        }
        out.extend_from_slice(b"\",\"client\":\"");
        self.address(out);
        string("\",\"method\":\"", self.method.as_bytes(), out);
        string("\",\"path\":\"", self.path.as_bytes(), out);
        string("\",\"protocol\":\"", self.protocol.as_bytes(), out);
        out.extend_from_slice(b"\",\"status\":");
        number(u64::from(self.status), out);
        out.extend_from_slice(b",\"bytes_in\":");
        number(self.bytes_in, out);
        out.extend_from_slice(b",\"bytes_out\":");
        number(self.bytes_out, out);
        out.extend_from_slice(b",\"duration_ms\":");
        milliseconds(self.duration, out);
        for (name, value) in [(",\"service\":\"", self.service), (",\"instance\":\"", self.instance)] {
            if let Some(value) = value {
                string(name, value.as_bytes(), out);
                out.push(b'"');
            }
        }
        out.extend_from_slice(b",\"attempts\":");
        number(u64::from(self.attempts), out);
        string(",\"request_id\":\"", self.request_id, out);
        string("\",\"trace_id\":\"", self.trace_id, out);
        if let Some(fault) = self.fault {
            string("\",\"fault\":\"", fault.as_bytes(), out);
        }
        out.extend_from_slice(b"\"}\n");
    }

    fn text(&self, stamp: &mut Stamp, out: &mut Vec<u8>) {
        stamp.write(self.at, out);
        let word = |text: Option<&str>, out: &mut Vec<u8>| {
            out.push(b' ');
            match text {
                Some(text) => plain(text.as_bytes(), out),
                None => out.push(b'-'),
            }
        };
        word(Some(self.listener), out);
        out.push(b' ');
        self.address(out);
        word(Some(self.method), out);
        word(Some(self.path), out);
        word(Some(self.protocol), out);
        out.push(b' ');
        number(u64::from(self.status), out);
        for (name, value) in [("in", self.bytes_in), ("out", self.bytes_out)] {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            number(value, out);
        }
        out.extend_from_slice(b" ms=");
        milliseconds(self.duration, out);
        out.extend_from_slice(b" route=");
        plain(self.route.unwrap_or("-").as_bytes(), out);
        out.extend_from_slice(b" instance=");
        plain(self.instance.or(self.service).unwrap_or("-").as_bytes(), out);
        out.extend_from_slice(b" attempts=");
        number(u64::from(self.attempts), out);
        out.extend_from_slice(b" id=");
        plain(self.request_id, out);
        out.extend_from_slice(b" trace=");
        plain(self.trace_id, out);
        if let Some(fault) = self.fault {
            out.extend_from_slice(b" fault=");
            out.extend_from_slice(fault.as_bytes());
        }
        out.push(b'\n');
    }

    fn address(&self, out: &mut Vec<u8>) {
        match self.client {
            // Written by hand: the formatting machinery costs more than the rest of the line.
            Some(IpAddr::V4(address)) => {
                for (at, part) in address.octets().into_iter().enumerate() {
                    if at > 0 {
                        out.push(b'.');
                    }
                    octet(part, out);
                }
            }
            Some(address) => {
                let _ = write!(out, "{address}");
            }
            None => out.push(b'-'),
        }
    }
}

/// What a field says.
#[derive(Clone, Copy)]
enum Value<'a> {
    Absent,
    Time,
    Address,
    Text(&'a [u8]),
    Number(u64),
    Length(Duration),
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

fn or_absent(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Absent, text)
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

fn octet(value: u8, out: &mut Vec<u8>) {
    let digits = [b'0' + value / 100, b'0' + value / 10 % 10, b'0' + value % 10];
    let from = if value >= 100 {
        0
    } else if value >= 10 {
        1
    } else {
        2
    };
    out.extend_from_slice(digits.get(from..).unwrap_or_default());
}

fn milliseconds(duration: Duration, out: &mut Vec<u8>) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(us / 1000, out);
    out.push(b'.');
    let rest = us % 1000;
    out.extend_from_slice(&[
        b'0' + (rest / 100) as u8,
        b'0' + (rest / 10 % 10) as u8,
        b'0' + (rest % 10) as u8,
    ]);
}

/// A JSON string.
fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escaped(text, out);
    out.push(b'"');
}

/// The inside of a JSON string. What is not UTF-8 or too long is marked, so that the line stays valid whatever a client sends.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    if text.len() <= ACCESS_LOG_FIELD && is_simple(text) {
        return out.extend_from_slice(text);
    }
    let cut = text.get(..ACCESS_LOG_FIELD).unwrap_or(text);
    for character in String::from_utf8_lossy(cut).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if cut.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Whether a text stands in JSON as it is: printable ASCII without quotes and backslashes.
fn is_simple(text: &[u8]) -> bool {
    !octets::any(text, |eight| {
        eight.below(b' ') | eight.is(b'"') | eight.is(b'\\') | eight.is(0x7f) | eight.high()
    })
}

/// A word without blanks or control characters, so that a line cannot be forged.
fn plain(text: &[u8], out: &mut Vec<u8>) {
    let text = text.get(..ACCESS_LOG_FIELD).unwrap_or(text);
    if !octets::any(text, |eight| eight.below(b'!') | eight.is(0x7f) | eight.high()) {
        return out.extend_from_slice(text);
    }
    for byte in text {
        if byte.is_ascii_graphic() {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Writes wall-clock times as RFC 3339 with milliseconds, in UTC. Keeps the last second that it wrote.
#[derive(Debug, Default)]
pub struct Stamp {
    second: u64,
    text: Vec<u8>,
}

impl Stamp {
    /// Appends a time.
    pub fn write(&mut self, at: SystemTime, out: &mut Vec<u8>) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text.clear();
            let (year, month, day) = civil(since.as_secs() / 86_400);
            let of_day = since.as_secs() % 86_400;
            let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
            let _ = write!(self.text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.");
        }
        out.extend_from_slice(&self.text);
        let ms = since.subsec_millis();
        out.extend_from_slice(&[
            b'0' + (ms / 100) as u8,
            b'0' + (ms / 10 % 10) as u8,
            b'0' + (ms % 10) as u8,
            b'Z',
        ]);
    }
}

/// The date of a day since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use tutti_ports::routing::{AccessLog, LogTo};

    pub(in crate::access_log) fn line<'a>(path: &'a str) -> Line<'a> {
        Line {
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
            listener: "gateway",
            route: Some("catalog"),
            client: Some("192.0.2.10".parse().unwrap()),
            method: "GET",
            host: b"shop.test",
            path,
            protocol: "http/1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 1_024,
            duration: Duration::from_micros(1_507),
            first_byte: Some(Duration::from_micros(900)),
            service: Some("catalog"),
            instance: Some("catalog-2"),
            attempts: 1,
            request_id: b"id-1",
            trace: 1,
            trace_id: b"0af7651916cd43dd8448eb211c80319c",
            fault: None,
        }
    }

    fn written(line: &Line<'_>, format: LogFormat) -> String {
        chosen(line, format, Vec::new())
    }

    fn chosen(line: &Line<'_>, format: LogFormat, fields: Vec<LogField>) -> String {
        let log = AccessLog { to: LogTo::Stdout, format, fields, ..AccessLog::default() };
        let mut out = Vec::new();
        line.write(&Plan::compile(&log, None).unwrap(), &mut Stamp::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_forms_say_everything() {
        assert_eq!(
            written(&line("/a"), LogFormat::Json),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"listener\":\"gateway\",\"route\":\"catalog\",\
             \"client\":\"192.0.2.10\",\"method\":\"GET\",\"path\":\"/a\",\"protocol\":\"http/1.1\",\"status\":200,\
             \"bytes_in\":0,\"bytes_out\":1024,\"duration_ms\":1.507,\"service\":\"catalog\",\
             \"instance\":\"catalog-2\",\"attempts\":1,\"request_id\":\"id-1\",\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
        );
        assert_eq!(
            written(&line("/a b\n"), LogFormat::Text),
            "2023-11-14T22:13:20.042Z gateway 192.0.2.10 GET /a\\x20b\\x0a http/1.1 200 in=0 out=1024 ms=1.507 \
             route=catalog instance=catalog-2 attempts=1 id=id-1 trace=0af7651916cd43dd8448eb211c80319c\n"
        );
    }

    #[test]
    fn what_was_chosen_comes_in_its_order() {
        use LogField::{Client, Fault, FirstByte, Host, Path, RequestId, Status, Time, TraceId};
        let fields = vec![Time, Status, Host, FirstByte, Fault, TraceId, Path];
        assert_eq!(
            chosen(&line("/a"), LogFormat::Json, fields.clone()),
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"status\":200,\"host\":\"shop.test\",\"first_byte_ms\":0.900,\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"path\":\"/a\",\"request_id\":\"id-1\"}\n"
        );
        let absent = Line { first_byte: None, host: b"", client: None, ..line("/a b") };
        assert_eq!(
            chosen(&absent, LogFormat::Text, vec![RequestId, Client, Host, FirstByte, Fault, Path]),
            "request_id=id-1 client=- host=- first_byte_ms=- fault=- path=/a\\x20b \
             trace_id=0af7651916cd43dd8448eb211c80319c\n"
        );
        let all = chosen(&line("/a"), LogFormat::Json, LogField::ALL.to_vec());
        let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&all).unwrap();
        assert!(LogField::ALL.iter().all(|field| *field == Fault || all.contains_key(field.as_str())));
    }

    #[test]
    fn dates_are_right() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_723, (2024, 1, 1)),
            (47_540, (2100, 2, 28)),
        ] {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn what_stands_in_json_as_it_is_is_known() {
        for byte in 0..=u8::MAX {
            let simple = matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
            assert_eq!(is_simple(&[b'x', byte, b'y']), simple, "{byte:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_always_one_line_of_json(path in any::<String>(), id in proptest::collection::vec(any::<u8>(), 0..40)) {
            let line = Line { request_id: &id, ..line(&path) };
            let text = written(&line, LogFormat::Json);
            prop_assert_eq!(text.matches('\n').count(), 1);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(json["path"].as_str().unwrap(), path);
        }

        #[test]
        fn numbers_are_written_as_everybody_does(value in any::<u64>(), small in any::<u8>()) {
            let mut out = Vec::new();
            number(value, &mut out);
            octet(small, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value}{small}"));
        }
    }
}
