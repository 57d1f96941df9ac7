//! Asks somebody of the operator's whether a name may be had on demand: `GET URL?domain=NAME`, and 200 admits it.

use std::time::Duration;

use http::Uri;
use tutti_net::Addr;
use tutti_net::client::{self, Limits};

use super::http::resolve;

/// Longest time for the question; the handshake of a client waits meanwhile.
const PATIENCE: Limits = Limits { timeout: Duration::from_secs(5), body_bytes: 64 << 10 };

/// Whether the name is admitted. What cannot be asked is not.
pub(crate) async fn admits(url: &str, name: &str) -> bool {
    match ask(url, name).await {
        Ok(status) => status == 200,
        Err(why) => {
            tracing::warn!(
                url,
                name,
                why,
                "the question whether a name may have a certificate got no answer"
            );
            false
        }
    }
}

async fn ask(url: &str, name: &str) -> Result<u16, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or("the URL does not begin with http://")?;
    let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let resolved = tokio::time::timeout(PATIENCE.timeout, resolve(host, port)).await;
    let addr = resolved.map_err(|_| "its host was not found in time")??;
    let mark = if uri.query().is_some() { '&' } else { '?' };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A host name needs no escapes.
    let path = format!("{path}{mark}domain={name}");
    let answer = client::get(&Addr::from(addr), authority.as_str(), &path, PATIENCE).await;
    answer.map(|answer| answer.status().as_u16()).map_err(|error| tutti_core::error::chain(&error))
}
