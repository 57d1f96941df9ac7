//! What requests and responses of a route may hold, from its keys.

use tutti_ports::routing::{
    Coding, Compression, Content, Cors, Decompression, RequestLimits, SecurityHeaders,
};

use super::Reader;
use crate::overlay::types::content::Size;
use crate::overlay::types::{self, Several, content};
use crate::value::{bytes, duration};

impl Reader<'_> {
    pub(super) fn content(&mut self, route: &types::Route) -> Content {
        let methods: Vec<String> = Several::list(route.allow_methods.as_ref())
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect();
        for method in &methods {
            self.name("allow_methods", method);
        }
        let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let types = Several::list(route.allow_content_types.as_ref());
        self.media_types("allow_content_types", &types);
        Content {
            methods,
            types,
            request: RequestLimits {
                body: self.size("max_request_body", route.max_request_body.as_ref()),
                fields: route.max_header_fields,
                header_bytes: self.size("max_header_bytes", route.max_header_bytes.as_ref()).map(narrow),
                uri_bytes: self.size("max_uri_bytes", route.max_uri_bytes.as_ref()).map(narrow),
                query_bytes: self.size("max_query_bytes", route.max_query_bytes.as_ref()).map(narrow),
                query_parameters: route.max_query_parameters,
            },
            response_bytes: self.size("max_response_body", route.max_response_body.as_ref()),
            cors: route.cors.as_ref().map(|cors| self.cors(cors)),
            security: content::Switch::on(route.security_headers.as_ref())
                .map(|fields| self.security(fields)),
            compression: content::Switch::on(route.compression.as_ref())
                .map(|rules| self.compression(&rules)),
            grpc_web: route.grpc_web,
            decompression: content::Switch::on(route.decompress.as_ref()).map(|limits| {
                let default = Decompression::default();
                Decompression {
                    max_bytes: self.size("decompress", limits.max_size.as_ref()).unwrap_or(default.max_bytes),
                    max_ratio: limits.max_ratio.unwrap_or(default.max_ratio),
                }
            }),
            openapi: self.described(route),
        }
    }

    fn cors(&mut self, cors: &content::Cors) -> Cors {
        let origins = Several::list(cors.origins.as_ref());
        if origins.is_empty() {
            self.bad::<()>("cors", "`origins` names nobody".to_owned());
        }
        for origin in origins.iter().filter(|origin| *origin != "*") {
            let host = origin.split_once("://").map_or("", |(_, host)| host).trim_start_matches("*.");
            let host = host.strip_suffix(":*").unwrap_or(host);
            let fine = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            if host.is_empty() || !host.chars().all(fine) {
                self.bad::<()>(
                    "cors",
                    format!("`{origin}` is not an origin such as `https://shop.example`, `https://*.shop.example` or `http://localhost:*`"),
                );
            }
        }
        let any = |list: &[String]| list.iter().any(|name| name == "*");
        if cors.credentials && any(&origins) {
            self.bad::<()>(
                "cors",
                "`credentials` for the origin `*` would let every page act as its visitor: name the origins"
                    .to_owned(),
            );
        }
        let methods: Vec<String> =
            Several::list(cors.methods.as_ref()).iter().map(|method| method.to_ascii_uppercase()).collect();
        let (headers, expose) = (Several::list(cors.headers.as_ref()), Several::list(cors.expose.as_ref()));
        if cors.credentials && any(&expose) {
            self.bad::<()>("cors", "with `credentials`, `*` exposes nothing: name the fields".to_owned());
        }
        for name in methods.iter().chain(&headers).chain(&expose).filter(|name| *name != "*") {
            self.name("cors", name);
        }
        let age = cors
            .max_age
            .as_ref()
            .and_then(|text| duration::parse(text).ok())
            .map_or(600, |age| age.as_secs());
        Cors {
            origins,
            methods,
            headers,
            expose,
            credentials: cors.credentials,
            max_age_s: u32::try_from(age).unwrap_or(u32::MAX),
            private_network: cors.private_network,
        }
    }

    fn security(&mut self, fields: content::SecurityHeaders) -> SecurityHeaders {
        let or = |value: Option<String>, default: Option<&str>| {
            let value = value.or(default.map(str::to_owned));
            value.filter(|value| value != "none")
        };
        let out = SecurityHeaders {
            hsts: or(fields.hsts, Some("max-age=31536000")),
            nosniff: fields.nosniff.unwrap_or(true),
            frame_options: or(fields.frame_options, Some("SAMEORIGIN")),
            content_security_policy: or(fields.content_security_policy, None),
            referrer_policy: or(fields.referrer_policy, Some("strict-origin-when-cross-origin")),
            permissions_policy: or(fields.permissions_policy, None),
        };
        let texts = [
            &out.hsts,
            &out.frame_options,
            &out.content_security_policy,
            &out.referrer_policy,
            &out.permissions_policy,
        ];
        if texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)) {
            self.bad::<()>(
                "security_headers",
                "the value of a header field has no control characters".to_owned(),
            );
        }
        out
    }

    fn compression(&mut self, rules: &content::Compression) -> Compression {
        let default = Compression::default();
        let coding = |coding: &content::Coding| match coding {
            content::Coding::Br => Coding::Br,
            content::Coding::Zstd => Coding::Zstd,
            content::Coding::Gzip => Coding::Gzip,
        };
        let types = rules.types.as_ref().map(|types| Several::list(Some(types)));
        let types = types.unwrap_or(default.types);
        self.media_types("compression", &types);
        Compression {
            codings: rules
                .codings
                .as_ref()
                .map_or(default.codings, |codings| codings.iter().map(coding).collect()),
            min_bytes: self.size("compression", rules.min_size.as_ref()).unwrap_or(default.min_bytes),
            types,
            level: rules.level.unwrap_or(default.level),
        }
    }

    pub(super) fn size(&mut self, key: &str, size: Option<&Size>) -> Option<u64> {
        let bytes = match size? {
            Size::Bytes(bytes) => u64::try_from(*bytes).ok(),
            Size::Text(text) => bytes::parse(text).ok(),
        };
        if bytes.is_none() {
            self.bad::<()>(key, "a size is not negative".to_owned());
        }
        bytes
    }

    fn media_types(&mut self, key: &str, types: &[String]) {
        for text in types {
            let fine = |part: &str| {
                part == "*"
                    || !part.is_empty()
                        && part
                            .strip_prefix('*')
                            .map_or(part, |suffix| if suffix.starts_with('+') { suffix } else { " " })
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "!#$&^_.+-".contains(c))
            };
            let good = text.split_once('/').is_some_and(|(kind, sub)| {
                fine(kind) && fine(sub) && (kind != "*" || sub == "*") && !kind.contains('+')
            });
            if !good {
                self.bad::<()>(
                    key,
                    format!(
                        "`{text}` is not a media type such as `text/html`, `text/*` or `application/*+json`"
                    ),
                );
            }
        }
    }

    fn name(&mut self, key: &str, name: &str) {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            self.bad::<()>(key, format!("`{name}` is not a name of HTTP"));
        }
    }
}
