//! What `gateway:` may say.

use super::acme::ACME;
use super::{PORT, not_empty};
use crate::compose::schema::{Object, Shape, field, object};
use crate::overlay::proxies;

const FILE: Shape = Shape::Checked(not_empty);

/// One proxy or range of them, or several.
const PROXIES: Shape =
    Shape::Either(&[Shape::Checked(proxies::proxies), Shape::List(&Shape::Checked(proxies::proxies))]);

pub(super) static GATEWAY: Object = object(
    "the gateway",
    &[
        field("listen", Shape::Either(&[Shape::Text, PORT])),
        field("rate_limit", super::guard::RATE_LIMITS),
        field("external_auth", Shape::Object(&super::external::EXTERNAL)),
        field("limits", Shape::Object(&super::limits::LIMITS)),
        field("trusted_proxies", PROXIES),
        field("proxy_protocol", Shape::Either(&[MODE, Shape::Object(&PROXY_PROTOCOL)])),
        field("trusted_header", Shape::OneOf(&["x-forwarded-for", "forwarded"])),
        field("explain", super::observe::EXPLAIN),
        field("access_log", super::observe::ACCESS_LOG),
        field("https", Shape::Either(&[Shape::Text, PORT])),
        field("https_redirect", Shape::Bool),
        field("tls", Shape::Object(&TLS)),
        field("http3", Shape::Either(&[Shape::Bool, Shape::Object(&HTTP3)])),
    ],
);

static HTTP3: Object = object(
    "the HTTP/3 of the gateway",
    &[
        field("advertised_port", Shape::Int(1, 65_535)),
        field("max_age", Shape::Duration),
        field("retry", Shape::Bool),
    ],
);

const MODE: Shape = Shape::OneOf(&["required", "optional"]);
const LISTENER: Shape = Shape::OneOf(&["listen", "https"]);

static PROXY_PROTOCOL: Object = object(
    "the PROXY protocol",
    &[
        field("mode", MODE),
        field("from", PROXIES),
        field("listeners", Shape::Either(&[LISTENER, Shape::List(&LISTENER)])),
    ],
);

static TLS: Object = object(
    "the TLS of the gateway",
    &[
        field("files", Shape::List(&Shape::Object(&FILES))),
        field("min_version", Shape::Scalar),
        field("acme", Shape::Object(&ACME)),
        field("client_auth", Shape::Object(&CLIENT_AUTH)),
    ],
);

static FILES: Object =
    object("a certificate in files", &[field("cert", FILE), field("key", FILE), field("ocsp", FILE)])
        .requiring(&["cert", "key"]);

static CLIENT_AUTH: Object = object(
    "the certificates of clients",
    &[field("ca", FILE), field("mode", Shape::OneOf(&["required", "optional"]))],
)
.requiring(&["ca"]);
