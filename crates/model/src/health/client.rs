//! The command lines of curl, wget (GNU and BusyBox), nc and grpc_health_probe, as far as they ask about health.

use std::net::IpAddr;
use std::time::Duration;

use super::{Surroundings, Understood};
use crate::app::Test;

/// How a flag is meant.
enum Flag {
    /// It changes nothing that matters.
    Ignored,
    /// It takes a value, which changes nothing that matters.
    IgnoredValue,
    /// It matters; without a value.
    Plain(&'static str),
    /// It matters; with a value.
    Value(&'static str),
}

/// The tool's flags, by the letter or the name without dashes.
type Flags = fn(&str) -> Option<Flag>;

/// A command line taken apart: what matters, in order.
#[derive(Default)]
struct Parsed<'a> {
    flags: Vec<(&'static str, &'a str)>,
    operands: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.flags.iter().rev().find(|(flag, _)| *flag == name).map(|(_, value)| *value)
    }
}

/// Takes a command line apart in the manner of getopt_long: bundled letters, `-oVALUE`, `--name=VALUE`, `--name VALUE`.
fn getopt<'a>(args: &[&'a str], flags: Flags) -> Result<Parsed<'a>, String> {
    let mut parsed = Parsed::default();
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        if let Some(long) = arg.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, inline) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let flag = flags(name).filter(|_| name.len() > 1).ok_or_else(|| unknown(arg))?;
            note(&mut parsed, flag, || inline.or_else(|| args.next()))?;
        } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            bundle(&mut parsed, arg, letters, flags, &mut args)?;
        } else if arg == "--" {
            parsed.operands.extend(args.by_ref());
        } else {
            parsed.operands.push(arg);
        }
    }
    Ok(parsed)
}

fn bundle<'a>(
    parsed: &mut Parsed<'a>,
    arg: &'a str,
    letters: &'a str,
    flags: Flags,
    args: &mut impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        let (name, after) = rest.split_at_checked(letter.len_utf8()).unwrap_or_default();
        let flag = flags(name).ok_or_else(|| unknown(arg))?;
        if matches!(flag, Flag::Value(_) | Flag::IgnoredValue) {
            return note(parsed, flag, || if after.is_empty() { args.next() } else { Some(after) });
        }
        note(parsed, flag, || None)?;
        rest = after;
    }
    Ok(())
}

fn note<'a>(
    parsed: &mut Parsed<'a>,
    flag: Flag,
    value: impl FnOnce() -> Option<&'a str>,
) -> Result<(), String> {
    match flag {
        Flag::Ignored => {}
        Flag::Plain(name) => parsed.flags.push((name, "")),
        Flag::IgnoredValue => {
            value().ok_or("a flag has no value")?;
        }
        Flag::Value(name) => parsed.flags.push((name, value().ok_or("a flag has no value")?)),
    }
    Ok(())
}

fn unknown(arg: &str) -> String {
    format!("the flag {arg} has no native equal")
}

fn curl_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "f" | "fail" | "fail-with-body" => Flag::Plain("fail"),
        "m" | "max-time" => Flag::Value("limit"),
        "o" | "output" => Flag::Value("output"),
        "X" | "request" => Flag::Value("method"),
        "url" => Flag::Value("url"),
        "w" | "write-out" | "A" | "user-agent" | "noproxy" | "connect-timeout" => Flag::IgnoredValue,
        "s" | "S" | "k" | "L" | "v" | "i" | "I" | "g" | "N" | "q" | "4" | "6" | "#" => Flag::Ignored,
        "silent" | "show-error" | "insecure" | "location" | "verbose" | "include" | "head" | "globoff" => {
            Flag::Ignored
        }
        "no-buffer" | "no-progress-meter" | "ipv4" | "ipv6" | "http1.1" | "compressed" | "fail-early" => {
            Flag::Ignored
        }
        "no-keepalive" | "progress-bar" | "disable" => Flag::Ignored,
        _ => return None,
    })
}

/// curl(1).
pub(super) fn curl(args: &[&str], surroundings: &Surroundings<'_>) -> Result<Understood, String> {
    let parsed = getopt(args, curl_flag)?;
    if let Some(method) = parsed.value("method").filter(|method| !matches!(*method, "GET" | "HEAD")) {
        return Err(format!("it sends {method}"));
    }
    if let Some(file) = parsed.value("output").filter(|file| !matches!(*file, "/dev/null" | "-")) {
        return Err(format!("it writes the answer to {file}"));
    }
    let urls: Vec<&str> = parsed.operands.iter().copied().chain(parsed.value("url")).collect();
    let [url] = urls.as_slice() else { return Err("it asks for no or several addresses".to_owned()) };
    let (port, path) = own_url(url, surroundings)?;
    Ok((Test::Http { port, path, any_status: !parsed.has("fail") }, limit(&parsed)?))
}

fn wget_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "O" | "output-document" => Flag::Value("output"),
        "T" | "timeout" => Flag::Value("limit"),
        "t" | "tries" => Flag::Value("tries"),
        "method" => Flag::Value("method"),
        "U" | "user-agent" | "Y" | "proxy" | "o" | "output-file" => Flag::IgnoredValue,
        "connect-timeout" | "dns-timeout" | "read-timeout" => Flag::IgnoredValue,
        // `n` only begins `-nv`, `-nc`, `-nd`: the second letter is ignored as well.
        "q" | "S" | "v" | "d" | "n" | "c" | "4" | "6" => Flag::Ignored,
        "quiet" | "no-verbose" | "spider" | "server-response" | "no-check-certificate" | "no-proxy" => {
            Flag::Ignored
        }
        "verbose" | "debug" | "no-cache" | "inet4-only" | "inet6-only" | "delete-after" => Flag::Ignored,
        "content-on-error" | "no-clobber" | "no-directories" | "no-hsts" | "no-cookies" => Flag::Ignored,
        _ => return None,
    })
}

/// wget(1), GNU's and BusyBox's.
pub(super) fn wget(args: &[&str], surroundings: &Surroundings<'_>) -> Result<Understood, String> {
    let parsed = getopt(args, wget_flag)?;
    if let Some(method) = parsed.value("method").filter(|method| !matches!(*method, "GET" | "HEAD")) {
        return Err(format!("it sends {method}"));
    }
    if let Some(file) =
        parsed.value("output").filter(|file| !matches!(*file, "/dev/null" | "-" | "/dev/stdout"))
    {
        return Err(format!("it writes the answer to {file}"));
    }
    let [url] = parsed.operands.as_slice() else {
        return Err("it asks for no or several addresses".to_owned());
    };
    let (port, path) = own_url(url, surroundings)?;
    // With several tries the limit holds for each of them, and so the check's own timeout decides.
    let limit = if parsed.value("tries") == Some("1") { limit(&parsed)? } else { None };
    Ok((Test::Http { port, path, any_status: false }, limit))
}

fn nc_flag(name: &str) -> Option<Flag> {
    Some(match name {
        "z" | "zero" => Flag::Plain("scan"),
        "w" | "wait" => Flag::Value("limit"),
        "v" | "n" | "4" | "6" | "verbose" | "nodns" => Flag::Ignored,
        _ => return None,
    })
}

/// nc(1), in the variants of OpenBSD, BusyBox and Nmap.
pub(super) fn nc(args: &[&str], surroundings: &Surroundings<'_>) -> Result<Understood, String> {
    let parsed = getopt(args, nc_flag)?;
    if !parsed.has("scan") {
        return Err("nc without -z talks over the connection".to_owned());
    }
    let [host, port] = parsed.operands.as_slice() else {
        return Err("nc is not given one host and one port".to_owned());
    };
    Ok((Test::Tcp { port: own_port(host, port, surroundings)? }, limit(&parsed)?))
}

/// grpc_health_probe of grpc-ecosystem; its flags are Go's: one dash or two, `=` or a space.
pub(super) fn grpc_health_probe(
    args: &[&str],
    surroundings: &Surroundings<'_>,
) -> Result<Understood, String> {
    let mut addr = None;
    let mut service = "";
    let (mut connect, mut rpc) = (Duration::from_secs(1), Duration::from_secs(1));
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        let flag = arg.trim_start_matches('-');
        let (name, inline) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        if matches!(name, "v") {
            continue;
        }
        if name.starts_with("tls") || name == "spiffe" {
            return Err("it asks over TLS".to_owned());
        }
        let mut value = || inline.or_else(|| args.next()).ok_or("a flag has no value");
        let mut time =
            || value().map(|value| duration(value).ok_or_else(|| format!("{value} is not a time")));
        match name {
            "connect-timeout" => connect = time()??,
            "rpc-timeout" => rpc = time()??,
            "addr" => addr = Some(value()?),
            "service" => service = value()?,
            "user-agent" => drop(value()?),
            _ => return Err(unknown(arg)),
        }
    }
    let addr = addr.ok_or("it names no address")?;
    let (host, port) = addr.rsplit_once(':').ok_or_else(|| format!("{addr} names no port"))?;
    let port = own_port(if host.is_empty() { "localhost" } else { host }, port, surroundings)?;
    Ok((Test::Grpc { port, service: service.to_owned() }, Some(connect + rpc)))
}

fn limit(parsed: &Parsed<'_>) -> Result<Option<Duration>, String> {
    parsed
        .value("limit")
        .map(|text| duration(text).ok_or_else(|| format!("{text} is not a time")))
        .transpose()
}

/// A time as these tools have it: `5`, `0.5`, `5s`, `250ms`, `1m`. Nothing for zero, which means no limit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * scale;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

/// The port and path of an `http:` address of the service itself.
fn own_url(url: &str, surroundings: &Surroundings<'_>) -> Result<(u16, String), String> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) => return Err(format!("it asks over {scheme}")),
        None => url,
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or_default();
    if authority.contains('@') {
        return Err("it logs in".to_owned());
    }
    if path.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii() || "{}[]".contains(c)) {
        return Err(format!("{url} is not a plain address"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, if port.is_empty() { "80" } else { port }),
        _ => (authority, "80"),
    };
    let port = own_port(host, port, surroundings)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((port, format!("{slash}{path}")))
}

/// The port, if the host is the service itself.
pub(super) fn own_port(host: &str, port: &str, surroundings: &Surroundings<'_>) -> Result<u16, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let own = match bare.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => {
            bare.eq_ignore_ascii_case("localhost")
                || surroundings.names.iter().any(|name| name.eq_ignore_ascii_case(bare))
        }
    };
    if !own {
        return Err(format!("it asks {host:?}, which is not the service itself"));
    }
    port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("{port:?} is not a port"))
}
