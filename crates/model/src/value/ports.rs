//! The short form of `ports`: `[ip:][host:]container[/protocol]`, each side a port or a range.

use std::net::IpAddr;

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The address on this machine, as written; empty: every one.
    pub ip: String,
    /// A port or range on this machine; empty: any free one.
    pub published: String,
    /// The service's port.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// Reads the short form; a range gives one entry for each port. The error is a sentence.
pub(crate) fn parse(text: &str) -> Result<Vec<Port>, String> {
    let (addresses, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not a protocol; tcp, udp and sctp are"));
    }
    let mut parts = addresses.rsplitn(3, ':');
    let container = parts.next().unwrap_or("");
    let host = parts.next().unwrap_or("");
    let ip = parts.next().unwrap_or("");
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("`{ip}` is not an IP address"));
    }
    if container.is_empty() {
        return Err("the service's port is missing".to_owned());
    }
    let (first, last) = range(container)?;
    let host_range = if host.is_empty() { None } else { Some(range(host)?) };
    if let Some((low, high)) = host_range
        && high - low != last - first
        && last != first
    {
        return Err(format!("the ranges {host} and {container} do not have the same length"));
    }
    let mut ports: Vec<Port> = (first..=last)
        .map(|target| {
            let published = match host_range {
                None => String::new(),
                Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
                Some((low, _)) => (low + (target - first)).to_string(),
            };
            Port { ip: ip.to_owned(), published, target, protocol: protocol.clone() }
        })
        .collect();
    // Compose sorts what a range gives by its text.
    ports.sort_by_key(|port| port.target.to_string());
    Ok(ports)
}

/// A port or a range of ports.
pub(crate) fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| -> Result<u16, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if digits { text.parse::<u64>().ok() } else { None };
        match number.map(u16::try_from) {
            Some(Ok(port)) => Ok(port),
            Some(Err(_)) => Err(format!("`{text}` is not a port: the highest is 65535")),
            None => Err(format!("`{text}` is not a port")),
        }
    };
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((low, high)) => {
            let (low, high) = (port(low)?, port(high)?);
            if low > high { Err(format!("the range {text} goes down")) } else { Ok((low, high)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_in_all_its_shapes() {
        let show = |text: &str| {
            parse(text).map(|ports| {
                let show = |p: &Port| format!("{}|{}|{}|{}", p.ip, p.published, p.target, p.protocol);
                ports.iter().map(show).collect::<Vec<_>>().join(" ")
            })
        };
        for (text, expected) in [
            ("80", "||80|tcp"),
            ("8080:80", "|8080|80|tcp"),
            ("53:53/UDP", "|53|53|udp"),
            ("127.0.0.1:8080:80", "127.0.0.1|8080|80|tcp"),
            ("127.0.0.1::80", "127.0.0.1||80|tcp"),
            ("[::1]:8080:80", "::1|8080|80|tcp"),
            ("::1:8080:80", "::1|8080|80|tcp"),
            ("9-10", "||10|tcp ||9|tcp"),
            ("8000-8001:80-81", "|8000|80|tcp |8001|81|tcp"),
            ("8000-8010:80", "|8000-8010|80|tcp"),
        ] {
            assert_eq!(show(text).as_deref(), Ok(expected), "{text}");
        }
        for text in
            ["", "a", "80:", "1:2:3", "70000", "1-2:3-5", "5-4", "80/icmp", "-1", "1.2.3.4:5:6:7", "8 0"]
        {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }
}
