//! Fields that tell browsers to be careful. What a service says itself stays as it is.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tutti_ports::routing::SecurityHeaders;

/// The fields, ready to be set.
pub struct SecurityPlan {
    always: Vec<(HeaderName, HeaderValue)>,
    /// RFC 6797 section 7.2: not over plain HTTP.
    hsts: Option<HeaderValue>,
}

impl SecurityPlan {
    /// Compiles; the error is a sentence.
    pub fn compile(fields: &SecurityHeaders) -> Result<Self, String> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| format!("{text:?} is not the value of a header field"))
        };
        let mut always = Vec::new();
        if fields.nosniff {
            always.push((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        }
        for (name, text) in [
            (header::X_FRAME_OPTIONS, &fields.frame_options),
            (header::CONTENT_SECURITY_POLICY, &fields.content_security_policy),
            (header::REFERRER_POLICY, &fields.referrer_policy),
            (HeaderName::from_static("permissions-policy"), &fields.permissions_policy),
        ] {
            if let Some(text) = text {
                always.push((name, value(text)?));
            }
        }
        Ok(Self { always, hsts: fields.hsts.as_deref().map(value).transpose()? })
    }

    /// Adds the fields that are not there.
    pub fn apply(&self, headers: &mut HeaderMap, tls: bool) {
        for (name, value) in &self.always {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(hsts) = &self.hsts
            && tls
            && !headers.contains_key(header::STRICT_TRANSPORT_SECURITY)
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_stays_and_hsts_is_for_tls() {
        let fields = SecurityHeaders {
            hsts: Some("max-age=1".into()),
            nosniff: true,
            frame_options: Some("DENY".into()),
            ..SecurityHeaders::default()
        };
        let plan = SecurityPlan::compile(&fields).unwrap();
        let mut headers =
            HeaderMap::from_iter([(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"))]);
        plan.apply(&mut headers, false);
        assert_eq!(headers[header::X_FRAME_OPTIONS], "SAMEORIGIN");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        plan.apply(&mut headers, true);
        assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=1");
        let bad = SecurityHeaders { referrer_policy: Some("a\nb".into()), ..SecurityHeaders::default() };
        assert!(SecurityPlan::compile(&bad).is_err());
    }
}
