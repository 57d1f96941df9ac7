//! The cookie that holds a client to its instance.
//!
//! Its value is a keyed hash of the instance's name: it says nothing of the inside, it is the same for all clients of an
//! instance, and nobody can make one up for an instance that they were not sent to. Which instance it means is looked up
//! in a table that was made with the snapshot. The key is the process's own, made when it starts and never written down:
//! the instances outlive it only in an upgrade, and then the next process is given it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use tutti_core::ServiceName;
use tutti_ports::routing::{SameSite, Sticky};

use super::endpoint::Endpoint;

/// Length of a value: 128 bits in hexadecimal digits.
const DIGITS: usize = 32;

/// The key of a process.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// This key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for who is to go on with it.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// This process's own key, that nobody knows.
    pub fn process() -> Self {
        static KEY: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
        Self(*KEY.get_or_init(|| {
            let mut bytes = [0; 32];
            let urandom = std::fs::File::open("/dev/urandom");
            if urandom.and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes)).is_err() {
                // A machine without it. The keys of the hash maps come from the operating system as well.
                let chance = std::hash::RandomState::new();
                for (part, at) in bytes.chunks_mut(8).zip(0_u64..) {
                    part.copy_from_slice(&std::hash::BuildHasher::hash_one(&chance, at).to_le_bytes());
                }
            }
            bytes
        }))
    }

    fn tag(&self, service: &ServiceName, endpoint: &Endpoint) -> Tag {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(service.as_str().as_bytes());
        hasher.update(b"\0");
        hasher.update(endpoint.instance.as_str().as_bytes());
        let mut tag = [0; DIGITS];
        let hex = hasher.finalize().to_hex();
        for (to, from) in tag.iter_mut().zip(hex.as_bytes()) {
            *to = *from;
        }
        tag
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

type Tag = [u8; DIGITS];

/// A cluster's cookie, compiled.
#[derive(Debug)]
pub struct Plan {
    name: String,
    attributes: String,
    meant: HashMap<Tag, u64>,
    tags: HashMap<u64, Tag>,
}

impl Plan {
    /// The cookie of these endpoints of a service.
    pub fn new(sticky: &Sticky, key: &Key, service: &ServiceName, endpoints: &[Arc<Endpoint>]) -> Self {
        let mut attributes = format!("; Path={}; HttpOnly", sticky.path);
        if let Some(ttl) = sticky.ttl {
            let _ = write!(attributes, "; Max-Age={}", ttl.as_secs());
        }
        if sticky.secure {
            attributes.push_str("; Secure");
        }
        attributes.push_str(match sticky.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        let tags: HashMap<u64, Tag> =
            endpoints.iter().map(|endpoint| (endpoint.uid, key.tag(service, endpoint))).collect();
        let meant = tags.iter().map(|(uid, tag)| (*tag, *uid)).collect();
        Self { name: sticky.cookie.clone(), attributes, meant, tags }
    }

    /// The endpoint that a request's cookie means, if it is one of ours.
    pub fn pinned(&self, headers: &HeaderMap) -> Option<u64> {
        let value = cookie(headers, &self.name)?;
        self.meant.get(value).copied()
    }

    /// The field that holds the client to an endpoint.
    pub fn field(&self, uid: u64) -> Option<HeaderValue> {
        let tag = std::str::from_utf8(self.tags.get(&uid)?).ok()?;
        HeaderValue::from_str(&format!("{}={tag}{}", self.name, self.attributes)).ok()
    }
}

/// The value of a cookie (RFC 6265 section 4.2.1); the first one of its name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs =
        headers.get_all(COOKIE).into_iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tutti_core::InstanceId;
    use tutti_ports::catalog::AppProtocol;

    fn endpoints(service: &ServiceName) -> Vec<Arc<Endpoint>> {
        let addr = tutti_net::Addr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let endpoint = |ordinal| {
            let id = InstanceId::of(service, ordinal);
            let uid = u64::from(ordinal);
            Arc::new(Endpoint::new(uid, service.clone(), id, addr.clone(), AppProtocol::Http, Arc::default()))
        };
        (1..=3).map(endpoint).collect()
    }

    fn sticky() -> Sticky {
        Sticky {
            cookie: "at".into(),
            ttl: Some(Duration::from_secs(60)),
            path: "/shop".into(),
            secure: true,
            same_site: SameSite::Strict,
        }
    }

    #[test]
    fn a_cookie_means_its_endpoint_and_cannot_be_made_up() {
        let service = ServiceName::new("catalog").unwrap();
        let endpoints = endpoints(&service);
        let plan = Plan::new(&sticky(), &Key::new([7; 32]), &service, &endpoints);
        let field = plan.field(2).unwrap();
        let field = field.to_str().unwrap();
        assert!(field.ends_with("; Path=/shop; HttpOnly; Max-Age=60; Secure; SameSite=Strict"), "{field}");
        assert!(!field.contains("catalog"), "{field}");
        let pair = field.split(';').next().unwrap();
        let asked = |cookie: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
            headers
        };
        assert_eq!(plan.pinned(&asked(&format!("a=1; {pair}; b=2"))), Some(2));
        assert_eq!(plan.pinned(&asked("at=catalog-2")), None);
        assert_eq!(plan.pinned(&asked(&format!("at={}", "0".repeat(32)))), None);
        assert_eq!(plan.pinned(&HeaderMap::new()), None);
        // Another process has another key, another service another value.
        let other = Plan::new(&sticky(), &Key::process(), &service, &endpoints);
        assert_eq!(other.pinned(&asked(pair)), None);
        let elsewhere = ServiceName::new("cart").unwrap();
        assert_eq!(
            Plan::new(&sticky(), &Key::new([7; 32]), &elsewhere, &endpoints).pinned(&asked(pair)),
            None
        );
        assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(…)");
    }

    #[test]
    fn cookies_are_found_in_any_field_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("xa=0;  a=1;b=2"));
        headers.append(COOKIE, HeaderValue::from_static("c=3=4"));
        assert_eq!(cookie(&headers, "a"), Some(&b"1"[..]));
        assert_eq!(cookie(&headers, "c"), Some(&b"3=4"[..]));
        assert_eq!(cookie(&headers, "d"), None);
    }
}
