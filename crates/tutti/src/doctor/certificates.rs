//! Whether certificates end, and why they were not renewed.

use std::time::{SystemTime, UNIX_EPOCH};

use tutti_trust::Standing;

use super::Finding;

const DAY: u64 = 86_400;

/// Looks at every certificate of the running application.
pub(crate) fn examine(certificates: &[Standing], now: SystemTime) -> Vec<Finding> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    certificates.iter().map(|one| certificate(one, now)).collect()
}

fn certificate(one: &Standing, now: u64) -> Finding {
    let names: Vec<&str> = one.names.iter().take(3).map(String::as_str).collect();
    let subject = format!("certificate {}", names.join(", "));
    let why = one.trouble.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let remedy = "`tutti explain` with the code tells cause and remedy; the log tells when it is tried again";
    match (one.ends, one.renews) {
        (None, _) if one.trouble.is_some() => {
            Finding::bad(subject, format!("there is none yet{why}"), remedy)
        }
        (None, _) => Finding::look(subject, "it is being ordered", ""),
        (Some(ends), _) if ends <= now => {
            Finding::bad(subject, format!("it has ended{why} [TUT0709]"), remedy)
        }
        // Overdue for longer than a renewal and its first attempts take.
        (Some(ends), Some(renews)) if renews.saturating_add(DAY / 4) < now => {
            let left = ends.saturating_sub(now) / DAY;
            Finding::look(
                subject,
                format!("it ends in {left} days and is not renewed{why} [TUT0709]"),
                remedy,
            )
        }
        (Some(ends), _) => {
            let left = ends.saturating_sub(now) / DAY;
            Finding::good(subject, format!("good for {left} days ({})", one.issuer))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::time::Duration;

    fn one(ends: Option<u64>, renews: Option<u64>, trouble: Option<&str>) -> Finding {
        let standing = Standing {
            names: vec!["a.test".to_owned()],
            issuer: "acme".to_owned(),
            ends,
            renews,
            on_demand: false,
            trouble: trouble.map(str::to_owned),
        };
        examine(&[standing], UNIX_EPOCH + Duration::from_secs(100 * DAY)).remove(0)
    }

    #[test]
    fn what_ends_is_told_with_the_reason() {
        assert_eq!(one(Some(160 * DAY), Some(130 * DAY), None).verdict, Verdict::Good);
        assert_eq!(one(None, None, None).verdict, Verdict::Look);
        let none = one(None, None, Some("no [TUT0704]"));
        assert!(none.verdict == Verdict::Bad && none.text.contains("TUT0704"), "{none:?}");
        let late = one(Some(120 * DAY), Some(90 * DAY), Some("no"));
        assert!(late.verdict == Verdict::Look && late.text.contains("20 days"), "{late:?}");
        assert_eq!(one(Some(99 * DAY), Some(90 * DAY), None).verdict, Verdict::Bad);
    }
}
