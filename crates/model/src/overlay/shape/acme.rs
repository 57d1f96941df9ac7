//! What `gateway.tls.acme:` may say.

use super::{LINE, SEVERAL, not_empty};
use crate::compose::schema::values::TEXTS;
use crate::compose::schema::{Object, Shape, field, object};

const WORDS: &[&str] = &["http-01", "tls-alpn-01", "dns-01"];

pub(super) static ACME: Object = object(
    "the ACME of the gateway",
    &[
        field("email", Shape::Checked(email)),
        field("directory", Shape::Checked(directory)),
        field("challenges", Shape::Set(&Shape::OneOf(WORDS))),
        field("hosts", Shape::List(&SEVERAL)),
        field("on_demand", Shape::Object(&ON_DEMAND)),
        field("eab", Shape::Object(&EAB)),
        field("dns_hook", Shape::Object(&DNS_HOOK)),
        field("ca_certificate", Shape::Checked(not_empty)),
    ],
);

static ON_DEMAND: Object =
    object("names on demand", &[field("allow", TEXTS), field("ask", Shape::Checked(question))]);

static EAB: Object = object(
    "an external account",
    &[field("kid", Shape::Checked(not_empty)), field("key_file", Shape::Checked(not_empty))],
)
.requiring(&["kid", "key_file"]);

static DNS_HOOK: Object = object(
    "a DNS hook",
    &[field("run", LINE), field("timeout", Shape::Duration), field("propagation", Shape::Duration)],
)
.requiring(&["run"]);

fn email(text: &str) -> Result<(), String> {
    let good = text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.'));
    if good { Ok(()) } else { Err(format!("`{text}` is not an e-mail address")) }
}

fn directory(text: &str) -> Result<(), String> {
    let url = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if url || ["letsencrypt", "letsencrypt-staging"].contains(&text) {
        Ok(())
    } else {
        Err(format!("`{text}` is neither an https:// URL nor `letsencrypt` nor `letsencrypt-staging`"))
    }
}

fn question(text: &str) -> Result<(), String> {
    let url = text.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if url {
        Ok(())
    } else {
        Err(format!("`{text}` is not an http:// URL; it is asked without TLS, on a network of yours"))
    }
}
