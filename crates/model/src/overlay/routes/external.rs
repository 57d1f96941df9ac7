//! Which other service decides who may ask: from the keys of a route, or of the gateway for all routes.

use std::time::Duration;

use tutti_core::{code, limits};
use tutti_ports::catalog::AppProtocol;
use tutti_ports::routing::{
    Backend, CachePart, External, ExternalAsk, ExternalBody, ExternalCache, Unavailable,
};

use super::Reader;
use crate::diagnostic::Problem;
use crate::overlay::types::content::{Size, Switch};
use crate::overlay::types::external::{self as written, ExternalAuth, ExternalProtocol};
use crate::overlay::types::{self, Several};
use crate::value::{bytes, duration};

const KEY: &str = "external_auth";
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Reader<'_> {
    /// Who decides about a route's requests.
    pub(super) fn external(&mut self, route: &types::Route, backends: &[Backend]) -> Option<Box<External>> {
        let (said, own) = match (&route.external_auth, self.external) {
            (Some(Switch::Short(false)), _) | (None, None) => return None,
            (Some(Switch::Short(true)), None) => {
                let message = "`external_auth: true` means the gateway's, and the gateway has none";
                return self.bad(KEY, message.to_owned());
            }
            (Some(Switch::Long(own)), _) => (own.clone(), true),
            (Some(Switch::Short(true)), Some(common)) => (common.clone(), true),
            (None, Some(common)) => (common.clone(), false),
        };
        if route.redirect.is_some() && !own {
            return None;
        }
        let external = self.decides(&said)?;
        let itself = |backend: &&Backend| backend.service == external.to.service;
        let count = backends.iter().filter(itself).count();
        if count > 0 && count == backends.len() && !own {
            // What leads to the authorization service, such as its page for signing in, is not its own to ask about.
            return None;
        }
        if count > 0 {
            let service = &external.to.service;
            let message = format!("`{service}` would be asked whether requests may go to `{service}`");
            let hint = "take `external_auth` off this route, or write `external_auth: false`";
            let span = self.span(KEY);
            self.report.add(Problem::error(code::CONFLICT, message).at(span).hint(hint));
            return None;
        }
        Some(Box::new(external))
    }

    fn decides(&mut self, said: &ExternalAuth) -> Option<External> {
        let grpc = said.protocol == Some(ExternalProtocol::Grpc);
        let (service, of_url) = match (&said.service, &said.url) {
            (Some(service), None) => (service.clone(), None),
            (None, Some(url)) => parts(url).or_else(|| {
                let message = format!(
                    "`{url}` has to be `http` and name a service of the application: one that runs elsewhere is declared with `external`"
                );
                self.bad(KEY, message)
            })?,
            _ => return self.bad(KEY, "`external_auth` says one of `service` and `url`".to_owned()),
        };
        let span = self.span(KEY);
        let mut to = self.backend(&service, 1, span)?;
        let paths = [of_url.is_some(), said.path.is_some(), said.path_prefix.is_some()];
        if paths.into_iter().filter(|one| *one).count() > 1 {
            return self
                .bad(KEY, "the path of `url`, `path` and `path_prefix` exclude each other".to_owned());
        }
        if grpc && paths.contains(&true) {
            return self.bad(KEY, "over gRPC an authorization service has no path".to_owned());
        }
        if !grpc && !said.context_extensions.is_empty() {
            return self.bad(KEY, "`context_extensions` needs `protocol: grpc`".to_owned());
        }
        let ask = match (of_url.or_else(|| said.path.clone()), &said.path_prefix) {
            _ if grpc => ExternalAsk::Grpc(said.context_extensions.clone()),
            (Some(path), _) => ExternalAsk::Path(path),
            (None, prefix) => {
                let prefix = prefix.clone().unwrap_or_default();
                if prefix.contains('?') {
                    return self.bad(KEY, format!("`{prefix}` is a prefix of paths and has no query"));
                }
                ExternalAsk::Prefix(prefix.trim_end_matches('/').to_owned())
            }
        };
        if grpc {
            to.protocol = AppProtocol::H2c;
        }
        let names = |reader: &mut Self, list: Option<&Several>| reader.patterns(list);
        let headers = said.allowed_headers.as_ref().map(|list| names(self, Some(list)));
        Some(External {
            to,
            ask,
            timeout: self.patience(said),
            unavailable: match said.when_unavailable {
                Some(types::Unavailable::Open) => Unavailable::Open,
                Some(types::Unavailable::Closed) | None => Unavailable::Closed,
            },
            upstream_headers: names(self, said.allowed_upstream_headers.as_ref()),
            client_headers: said.allowed_client_headers.as_ref().map(|list| names(self, Some(list))),
            client_headers_on_success: names(self, said.allowed_client_headers_on_success.as_ref()),
            sign_in: said.sign_in.clone().inspect(|target| self.target(target)),
            body: said.with_request_body.as_ref().and_then(|body| self.shown(body)),
            cache: said.cache.as_ref().and_then(|cache| self.remembered(cache, said)),
            headers,
        })
    }

    fn patience(&mut self, said: &ExternalAuth) -> Duration {
        let timeout = said.timeout.as_ref().and_then(|text| duration::parse(text).ok());
        let timeout = timeout.unwrap_or(Duration::from_secs(2));
        if timeout.is_zero() {
            self.bad::<()>(
                KEY,
                "`timeout` of `external_auth` is not zero: nobody would be let in".to_owned(),
            );
        }
        timeout
    }

    /// Names of header fields, or their beginnings.
    fn patterns(&mut self, list: Option<&Several>) -> Vec<String> {
        let list = Several::list(list);
        for name in &list {
            let plain = name.strip_suffix('*').unwrap_or(name);
            if plain.is_empty() {
                self.bad::<()>(KEY, format!("`{name}` would name every header field"));
            } else {
                self.field_name(KEY, plain);
            }
        }
        list.iter().map(|name| name.to_ascii_lowercase()).collect()
    }

    /// Where browsers are sent.
    fn target(&mut self, target: &str) {
        let local = target.starts_with('/') && !target.starts_with("//");
        let plain = target.chars().all(|c| c.is_ascii_graphic() && c != '\\');
        if !plain || !(local || target.starts_with("https://") || target.starts_with("http://")) {
            self.bad::<()>(
                KEY,
                format!("`{target}` is neither a path nor a URL that a browser could be sent to"),
            );
        }
    }

    fn shown(&mut self, body: &written::ExternalBody) -> Option<ExternalBody> {
        let most = limits::EXTERNAL_BODY_BYTES as u64;
        let bytes = match &body.max_request_bytes {
            None => Some(8 << 10),
            Some(Size::Bytes(bytes)) => u64::try_from(*bytes).ok(),
            Some(Size::Text(text)) => bytes::parse(text).ok(),
        };
        let Some(bytes) = bytes.filter(|bytes| (1..=most).contains(bytes)) else {
            return self.bad(KEY, "`max_request_bytes` is between 1 and `1M`".to_owned());
        };
        let max_bytes = usize::try_from(bytes).unwrap_or(limits::EXTERNAL_BODY_BYTES);
        Some(ExternalBody { max_bytes, partial: body.allow_partial_message, raw: body.pack_as_bytes })
    }

    fn remembered(&mut self, cache: &written::ExternalCache, said: &ExternalAuth) -> Option<ExternalCache> {
        let ttl = duration::parse(&cache.ttl).ok().filter(|ttl| !ttl.is_zero() && *ttl <= HOUR);
        let Some(ttl) = ttl else {
            return self.bad(
                KEY,
                format!("`{}` is no time for a `cache`: more than nothing, at most `1h`", cache.ttl),
            );
        };
        if said.allowed_headers.is_none() {
            let message =
                "a `cache` needs `allowed_headers`: what the service is shown is what tells requests apart";
            return self.bad(KEY, message.to_owned());
        }
        if said.with_request_body.is_some() {
            return self.bad(KEY, "`cache` and `with_request_body` exclude each other".to_owned());
        }
        let part = |part: &written::CachePart| match part {
            written::CachePart::Method => CachePart::Method,
            written::CachePart::Host => CachePart::Host,
            written::CachePart::Path => CachePart::Path,
            written::CachePart::Query => CachePart::Query,
            written::CachePart::Address => CachePart::Address,
        };
        let key = cache.key.as_ref().map_or(CachePart::ALL.to_vec(), |key| key.iter().map(part).collect());
        Some(ExternalCache { ttl, key })
    }
}

/// `service` or `service:port`, and the path, if there is more of it than `/`.
fn parts(url: &str) -> Option<(String, Option<String>)> {
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
    Some((authority.to_owned(), Some(path).filter(|path| path.len() > 1)))
}
