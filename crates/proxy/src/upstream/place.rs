//! What a request is placed by, where a service asks for it.

use std::net::IpAddr;

use http::header::HeaderMap;
use http::uri::Uri;
use tutti_ports::routing::HashOn;

use super::sticky::cookie;
use crate::model::balance::hash::hash;

/// Apart from the seeds by which tables are laid out.
const SEED: u64 = 0x0074_7574_7469;

/// The hash of what a request is placed by; `None` if it has none of it.
pub fn key(on: &HashOn, headers: &HeaderMap, uri: &Uri, client: Option<IpAddr>) -> Option<u64> {
    let of = |bytes: &[u8]| hash(SEED, bytes);
    match on {
        HashOn::Source => client.map(address),
        HashOn::Header(name) => headers.get(name.as_str()).map(|value| of(value.as_bytes())),
        HashOn::Cookie(name) => cookie(headers, name).map(of),
        HashOn::Query(name) => query(uri.query()?, name).map(|value| of(value.as_bytes())),
        HashOn::Path => Some(of(uri.path().as_bytes())),
        HashOn::Uri => {
            let whole = uri.path_and_query().map_or(uri.path(), http::uri::PathAndQuery::as_str);
            Some(of(whole.as_bytes()))
        }
    }
}

/// The hash of an address. The same machine has the same one, whether it comes as IPv4 or mapped into IPv6.
pub fn address(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => hash(SEED, &v4.octets()),
        IpAddr::V6(v6) => hash(SEED, &v6.octets()),
    }
}

/// The first value of a parameter, as it was written.
fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_key_is_found_or_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "ann".parse().unwrap());
        headers.insert("cookie", "a=1; cart=77".parse().unwrap());
        let uri: Uri = "/shop/x?item=9&flag".parse().unwrap();
        let client = Some(IpAddr::from([10, 0, 0, 1]));
        let of = |on: HashOn| key(&on, &headers, &uri, client);
        let plain = |text: &str| Some(hash(SEED, text.as_bytes()));
        assert_eq!(of(HashOn::Header("x-user".into())), plain("ann"));
        assert_eq!(of(HashOn::Header("x-none".into())), None);
        assert_eq!(of(HashOn::Cookie("cart".into())), plain("77"));
        assert_eq!(of(HashOn::Cookie("car".into())), None);
        assert_eq!(of(HashOn::Query("item".into())), plain("9"));
        assert_eq!(of(HashOn::Query("flag".into())), plain(""));
        assert_eq!(of(HashOn::Query("none".into())), None);
        assert_eq!(of(HashOn::Path), plain("/shop/x"));
        assert_eq!(of(HashOn::Uri), plain("/shop/x?item=9&flag"));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(of(HashOn::Source), Some(address(mapped)));
        assert_eq!(key(&HashOn::Source, &headers, &uri, None), None);
    }
}
