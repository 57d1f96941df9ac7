//! Recognises addresses of peers, and the service's own ports.
//!
//! | form | example | becomes |
//! |---|---|---|
//! | host and port, anywhere | `catalog:8080`, `a:1,b:2`, `jdbc:mysql://db:3306/x`, `amqp://u:p@mq:5672` | `127.0.0.1:PORT` |
//! | host in a URL without port | `http://web/x` | the scheme's port if the peer listens there, else its only port |
//! | a pair of variables | `DB_HOST=db` with `DB_PORT=5432` | both |
//! | a host alone | `DB_HOST=db` | the host, if the peer is found there at the very port that peers know |
//! | own port in a variable | `GRPC_PORT=9090` | the port it was given |
//! | own wildcard address | `:8080`, `0.0.0.0:8080`, `http://+:8080` | the same with the port it was given |
//!
//! A name is a whole word: `mycatalog:8080`, `catalog.example.com:8080` and `catalog:80801` stay.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::{Changed, PeerTarget, Targets};

/// Ports of URL schemes (IANA's registry and the products' own documents).
const SCHEME_PORTS: &[(&str, u16)] = &[
    ("http", 80),
    ("https", 443),
    ("ws", 80),
    ("wss", 443),
    ("redis", 6379),
    ("rediss", 6379),
    ("valkey", 6379),
    ("amqp", 5672),
    ("amqps", 5671),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("mongodb", 27017),
    ("nats", 4222),
    ("mqtt", 1883),
    ("ldap", 389),
    ("ftp", 21),
    ("memcached", 11211),
    ("couchdb", 5984),
    ("bolt", 7687),
    ("neo4j", 7687),
    ("cassandra", 9042),
];

/// Endings of a variable that holds a host, longest first.
const HOST_ENDINGS: &[&str] = &["HOSTNAME", "ADDRESS", "SERVER", "HOST", "ADDR"];

/// Hosts that mean every address of the machine.
const WILDCARDS: &[&str] = &["", "0.0.0.0", "[::]", "::", "*", "+"];

/// Replaces addresses of peers and wildcard addresses of the service itself.
pub(super) fn tokens(value: &str, targets: &Targets) -> Option<Changed> {
    let mut out = String::with_capacity(value.len());
    let mut reasons = Vec::new();
    let mut at = 0;
    while let Some(rest) = value.get(at..).filter(|rest| !rest.is_empty()) {
        let length = rest.find(|c| !is_host_char(c)).unwrap_or(rest.len());
        if length == 0 {
            let step = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(rest.get(..step).unwrap_or_default());
            at += step;
            continue;
        }
        let (word, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let before = value.get(..at).unwrap_or_default();
        let found =
            peer_token(before, word, after, targets).or_else(|| own_token(before, word, after, targets));
        match found {
            Some(found) => {
                out.push_str(&found.text);
                reasons.push(found.reason);
                at += length + found.taken;
            }
            None => {
                out.push_str(word);
                at += length;
            }
        }
    }
    (!reasons.is_empty()).then_some(Changed { value: out, reasons })
}

struct Found {
    text: String,
    reason: String,
    /// Bytes after the word that are replaced too.
    taken: usize,
}

fn peer_token(before: &str, word: &str, after: &str, targets: &Targets) -> Option<Found> {
    let peer = targets.peer(word)?;
    if !may_begin(before) {
        return None;
    }
    let scheme = authority_scheme(before);
    if let Some((port, length)) = port_after(after) {
        // `//db:5432@host` is a user's name and password.
        if scheme.is_some() && after.get(length..).is_some_and(|rest| rest.starts_with('@')) {
            return None;
        }
        let (host, door) = peer.ports.get(&port)?;
        let reason = format!("{word}:{port} is reached at its door");
        return Some(Found { text: format!("{host}:{door}"), reason, taken: length });
    }
    let scheme = scheme?;
    let ends = after.chars().next().is_none_or(|c| "/?#,;\"' )]}>|\n\t".contains(c));
    if !ends {
        return None;
    }
    let (port, why) = default_port(scheme, peer)?;
    let (host, door) = peer.ports.get(&port)?;
    Some(Found {
        text: format!("{host}:{door}"),
        reason: format!("{word} is {word}:{port}, {why}"),
        taken: 0,
    })
}

fn default_port(scheme: &str, peer: &PeerTarget) -> Option<(u16, String)> {
    let known =
        SCHEME_PORTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)).map(|(_, port)| *port);
    if let Some(port) = known.filter(|port| peer.ports.contains_key(port)) {
        return Some((port, format!("the port of {scheme}")));
    }
    let mut ports = peer.ports.keys();
    match (ports.next(), ports.next()) {
        (Some(only), None) => Some((*only, "its only port".to_owned())),
        _ => None,
    }
}

/// Whether a host name may begin after this text.
fn may_begin(before: &str) -> bool {
    match before.chars().next_back() {
        None => true,
        Some('/') => before.ends_with("//"),
        Some(c) => !c.is_alphanumeric() && !matches!(c, ':' | '\\' | '%' | '$'),
    }
}

/// The scheme if the text ends inside a URL's authority, where a host may begin: after `//`, `@` or `,`.
fn authority_scheme(before: &str) -> Option<&str> {
    let (head, authority) = before.rsplit_once("://")?;
    let inside = !authority.contains(['/', '?', '#', ' ', '"', '\'', '\n']);
    let begins = authority.is_empty() || authority.ends_with(['@', ',']);
    let from = head.rfind(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
    let scheme = head.get(from.map_or(0, |at| at + 1)..).unwrap_or(head);
    (inside && begins && !scheme.is_empty()).then_some(scheme)
}

/// `:8080` at the beginning, as a whole: the port, and the length of the text.
fn port_after(after: &str) -> Option<(u16, usize)> {
    let digits = after.strip_prefix(':')?;
    let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(length)?;
    let mut rest = rest.chars();
    let whole = match (rest.next(), rest.next()) {
        (Some('.'), Some(next)) => !next.is_alphanumeric(),
        (Some(next), _) => !next.is_alphanumeric() && !matches!(next, '_' | '-'),
        (None, _) => true,
    };
    // A leading zero or a sign is no port that anybody writes.
    let port = number.parse().ok().filter(|_| whole && !number.starts_with('0'))?;
    Some((port, length + 1))
}

/// `0.0.0.0:8080` is one word and what follows; the other wildcards are whole values, see [`own_port`].
fn own_token(before: &str, word: &str, after: &str, targets: &Targets) -> Option<Found> {
    let (port, length) = port_after(after).filter(|_| word == "0.0.0.0" && may_begin(before))?;
    let real = targets.own.get(&port).filter(|real| **real != port.to_string())?;
    Some(Found { text: format!("{word}:{real}"), reason: own_reason(port), taken: length })
}

fn own_reason(port: u16) -> String {
    format!("its own port {port} was given to it as another one")
}

/// A value that is an own port or an own wildcard address as a whole.
pub(super) fn own_port(key: &str, value: &str, targets: &Targets) -> Option<Changed> {
    let changed = |value: String, port| Changed { value, reasons: vec![own_reason(port)] };
    let real = |port: u16| targets.own.get(&port).filter(|real| **real != port.to_string());
    if let Ok(port) = value.parse::<u16>() {
        let named = key.to_ascii_uppercase().ends_with("PORT");
        return real(port).filter(|_| named).map(|real| changed(real.clone(), port));
    }
    let (head, tail) = value.rsplit_once(':')?;
    let (number, slash) = tail.strip_suffix('/').map_or((tail, ""), |number| (number, "/"));
    let port = number.parse::<u16>().ok()?;
    let host = head.rsplit_once("://").map_or(head, |(_, host)| host);
    let real = real(port).filter(|_| WILDCARDS.contains(&host))?;
    Some(changed(format!("{head}:{real}{slash}"), port))
}

/// `--port 8080`, `--port=8080`, `-p 8080` of the service's own port.
pub(super) fn port_argument(before: &str, arg: &str, targets: &Targets) -> Option<Changed> {
    let names_port =
        |flag: &str| flag == "-p" || (flag.starts_with("--") && flag.to_ascii_lowercase().ends_with("port"));
    let (prefix, number) = match arg.split_once('=') {
        Some((flag, number)) if names_port(flag) => (format!("{flag}="), number),
        None if names_port(before) => (String::new(), arg),
        _ => return None,
    };
    let port = number.parse::<u16>().ok()?;
    let real = targets.own.get(&port).filter(|real| **real != port.to_string())?;
    Some(Changed { value: format!("{prefix}{real}"), reasons: vec![own_reason(port)] })
}

/// Pairs of variables that name a peer's host and port.
pub(super) fn pairs(
    env: &IndexMap<String, String>,
    targets: &Targets,
    notices: &mut Vec<String>,
) -> HashMap<String, Changed> {
    let mut changed = HashMap::new();
    for (key, value) in env {
        let Some(ending) = HOST_ENDINGS.iter().find(|ending| ends_with(key, ending)) else { continue };
        let Some(peer) = targets.peer(value) else { continue };
        let sibling = sibling(key, ending, env);
        if let (None, Some(host)) = (sibling, &peer.at) {
            let reasons = vec![format!("{value} is found there at the port that its peers know")];
            changed.insert(key.clone(), Changed { value: host.clone(), reasons });
            continue;
        }
        let port = sibling.and_then(|(_, port)| port.parse::<u16>().ok());
        let Some((port_key, (host, door))) =
            sibling.map(|(key, _)| key).zip(port.and_then(|port| peer.ports.get(&port)))
        else {
            notices.push(format!(
                "{key}={value} names a peer without its port, which has no name on this machine; \
                 set the port beside it, write host:port, or have {value} run at the port that the program takes by itself \
                 (`port:`, `external:`)"
            ));
            continue;
        };
        let reasons = vec![format!("{key} and {port_key} name {}:{}", peer.service, port.unwrap_or(0))];
        changed.insert(key.clone(), Changed { value: host.clone(), reasons: reasons.clone() });
        changed.insert(port_key.to_owned(), Changed { value: door.clone(), reasons });
    }
    changed
}

fn ends_with(key: &str, ending: &str) -> bool {
    key.to_ascii_uppercase().ends_with(ending)
}

/// The variable of the port beside that of a host: `DB_HOST` and `DB_PORT`, `dbHost` and `dbPort`.
fn sibling<'a>(key: &str, ending: &str, env: &'a IndexMap<String, String>) -> Option<(&'a str, &'a str)> {
    let stem = key.get(..key.len().checked_sub(ending.len())?)?;
    let wanted = format!("{stem}port");
    env.iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(&wanted))
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

fn is_host_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_')
}
