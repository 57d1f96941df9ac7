//! A document by its URL, over HTTP/1.1 with TLS where the URL says so. Redirects are not followed.

use std::net::SocketAddr;
use std::sync::Weak;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, Response, Uri};

use crate::body::Body;
use crate::client::{ClientError, Limits};
use crate::h1;
use crate::resolve::resolve;
use crate::stream::{Addr, Stream};
use crate::tls;

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether by `https`.
    pub secure: bool,
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that can be fetched.
    #[error("{0:?} is not a URL of http or https")]
    Url(String),
    /// The host has no address, or the handshake failed.
    #[error("no connection could be made")]
    Connect(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Setup(#[from] tls::client::SetupError),
    /// No answer.
    #[error(transparent)]
    Request(#[from] ClientError),
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let bad = || FetchError::Url(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad()),
        };
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if host.is_empty() { Err(bad()) } else { Ok(Self { secure, host, port, path }) }
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Fetches a document. `at` is where the host is, if that is known already.
pub async fn get(url: &Url, at: Option<SocketAddr>, limits: Limits) -> Result<Response<Bytes>, FetchError> {
    let fetching = async {
        let addresses = match at {
            Some(address) => vec![address],
            None => resolve(&url.host, url.port, limits.timeout).await.map_err(FetchError::Connect)?,
        };
        let mut stream = Err(FetchError::Url(url.host.clone()));
        for address in addresses {
            let made = Stream::connect(&Addr::Tcp(address), limits.timeout).await;
            stream = made.map_err(|error| FetchError::Request(error.into()));
            if stream.is_ok() {
                break;
            }
        }
        let mut stream = stream?;
        if url.secure {
            let options = tls::client::Options {
                server_name: url.host.clone(),
                alpn: vec![b"http/1.1".to_vec()],
                ..tls::client::Options::default()
            };
            let client = tls::client::Client::new(&options)?;
            (stream, _) = client.connect(stream).await.map_err(FetchError::Connect)?;
        }
        let request =
            Request::get(&url.path).header(HOST, url.authority()).header(ACCEPT, "application/json");
        let request = request.body(Body::empty()).map_err(|_| FetchError::Url(url.path.clone()))?;
        let home = Weak::<h1::client::Nowhere>::new();
        let connection = h1::client::Connection::new(stream, &h1::Settings::default(), home);
        let response = connection.send(request).await.map_err(ClientError::from)?;
        let (parts, body) = response.into_parts();
        let (body, _) = body.collect(limits.body_bytes).await.map_err(ClientError::from)?;
        Ok(Response::from_parts(parts, body))
    };
    let late = |_| FetchError::Request(ClientError::Timeout(limits.timeout));
    tokio::time::timeout(limits.timeout, fetching).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_strictly() {
        let url = Url::parse("https://login.example/a/b?c=d").unwrap();
        assert_eq!((url.secure, &*url.host, url.port, &*url.path), (true, "login.example", 443, "/a/b?c=d"));
        assert_eq!(url.authority(), "login.example");
        let url = Url::parse("http://[::1]:8080").unwrap();
        assert_eq!((&*url.host, &*url.authority(), &*url.path), ("::1", "[::1]:8080", "/"));
        for bad in ["ftp://a/", "/a", "a", "http://", "http://user@a/", "https:///x"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
