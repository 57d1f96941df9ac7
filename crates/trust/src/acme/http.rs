//! The way to an authority: HTTPS (RFC 8555 section 6.1) through `net`, a connection for each exchange.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{HOST, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tutti_core::limits;
use tutti_net::client::{self, Limits};
use tutti_net::tls::client::{Options, Trust};
use tutti_net::{Addr, Body, tls};

use crate::error::TrustError;
use crate::files;

const EXCHANGE: Limits = Limits { timeout: limits::ACME_EXCHANGE, body_bytes: limits::ACME_ANSWER_BYTES };

/// The way to an authority. Clones share what they know.
#[derive(Clone)]
pub(crate) struct Https {
    shared: Arc<Shared>,
}

struct Shared {
    trust: Trust,
    /// By host; sessions are resumed.
    clients: Mutex<HashMap<String, tls::Client>>,
    /// The last answer that said to wait: when it came, and for how long.
    told: Mutex<Option<(Instant, Duration)>>,
}

impl Https {
    /// Believes the authorities of this machine, or those of a PEM file.
    pub(crate) fn new(root: Option<&Path>) -> Result<Self, TrustError> {
        let trust = match root {
            None => Trust::Machine,
            Some(path) => {
                let missing = || TrustError::Damaged {
                    path: path.to_owned(),
                    what: "there is no such file".to_owned(),
                };
                Trust::Authorities(files::read(path)?.ok_or_else(missing)?)
            }
        };
        let shared = Shared { trust, clients: Mutex::default(), told: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How long is left of the last wait that was imposed (RFC 8555 section 6.6).
    pub(crate) fn told_to_wait(&self) -> Option<Duration> {
        let told = *self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, wait) = told?;
        Some(wait.saturating_sub(since.elapsed())).filter(|left| !left.is_zero())
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.exchange(request).await })
    }
}

impl Shared {
    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap_or_else(|never| match never {}).to_bytes();
        let bad = |what: &str| Error::Other(format!("{what}: {}", parts.uri).into());
        if parts.uri.scheme_str() != Some("https") {
            return Err(bad("an authority is asked by https:// alone"));
        }
        let authority = parts.uri.authority().ok_or_else(|| bad("the URL has no host"))?;
        let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(443));
        let named = HeaderValue::from_str(authority.as_str()).map_err(|_| bad("the URL has no good host"))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = Uri::try_from(path).map_err(|error| Error::Other(error.into()))?;
        (parts.uri, parts.version) = (path, http::Version::HTTP_11);
        parts.headers.insert(HOST, named);
        let client = self.client(&host)?;
        let addr = resolve(host, port).await.map_err(|why| Error::Other(why.into()))?;
        let request = Request::from_parts(parts, Body::from(bytes));
        let answer = client::request_tls(&Addr::from(addr), &client, request, EXCHANGE).await;
        let answer = answer.map_err(|error| Error::Other(tutti_core::error::chain(&error).into()))?;
        let (parts, body) = answer.into_parts();
        if matches!(parts.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            && let Some(wait) = retry_after(&parts.headers, SystemTime::now())
        {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), wait));
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }

    fn client(&self, host: &str) -> Result<tls::Client, Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(host) {
            return Ok(client.clone());
        }
        let server_name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let options = Options {
            trust: self.trust.clone(),
            server_name,
            key: None,
            alpn: vec![b"http/1.1".to_vec()],
            oldest: None,
        };
        let client = tls::Client::new(&options).map_err(|error| Error::Other(error.into()))?;
        // An authority names a handful of hosts in its directory; one that names many gets no memory for it.
        if clients.len() < 16 {
            clients.insert(host.to_owned(), client.clone());
        }
        Ok(client)
    }
}

/// The first address of a host.
pub(crate) async fn resolve(host: String, port: u16) -> Result<SocketAddr, String> {
    let found = tokio::task::spawn_blocking(move || {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut found = (bare, port).to_socket_addrs().map_err(|error| format!("{bare}: {error}"))?;
        found.next().ok_or_else(|| format!("{bare} has no address"))
    });
    found.await.map_err(|error| error.to_string())?
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), None);
        assert_eq!(read("soon"), None);
    }

    #[tokio::test]
    async fn only_https_is_spoken() {
        let https = Https::new(Some(Path::new("/nonexistent"))).err().unwrap();
        assert!(https.to_string().contains("no such file"));
        let https = Https {
            shared: Arc::new(Shared {
                trust: Trust::Anybody,
                clients: Mutex::default(),
                told: Mutex::default(),
            }),
        };
        let request = Request::get("http://127.0.0.1:1/dir").body(BodyWrapper::default()).unwrap();
        let error = https.request(request).await.err().unwrap();
        assert!(error.to_string().contains("https://"), "{error}");
    }
}
