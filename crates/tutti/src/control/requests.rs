//! Which requests are wanted, as a query says it.

use std::time::Duration;

use tutti_proxy::explain::report::Wanted;

use crate::query::Query;

/// Requests that are listed when nobody says how many.
const DEFAULT: usize = 20;

/// Most requests in one answer.
const MOST: usize = 10_000;

/// Reads a query: `route`, `status` (`404`, `5xx`, `400-499`), `slower_ms`, `failed`, `instance`, `client`, `most`.
pub(super) fn wanted(query: &Query) -> Result<Wanted, String> {
    let number = |name: &str| query.first(name).map(str::parse::<u64>).transpose();
    let bad = |name: &str| format!("{name} is a number");
    let client = query.first("client").map(str::parse).transpose();
    let most = number("most").map_err(|_| bad("most"))?.map(|most| usize::try_from(most).unwrap_or(MOST));
    Ok(Wanted {
        route: query.first("route").map(str::to_owned),
        status: query.first("status").map(status).transpose()?,
        slower: number("slower_ms").map_err(|_| bad("slower_ms"))?.map(Duration::from_millis),
        failed: query.first("failed").is_some(),
        instance: query.first("instance").map(str::to_owned),
        client: client.map_err(|_| "client is an address".to_owned())?,
        most: most.unwrap_or(DEFAULT).min(MOST),
    })
}

/// A status, a class of them, or a range.
fn status(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    let parsed = match (class, text.split_once('-')) {
        (Some(class @ 1..=5), _) => Some((class * 100, class * 100 + 99)),
        (_, Some((from, to))) => number(from).zip(number(to)).filter(|(from, to)| from <= to),
        _ => number(text).map(|status| (status, status)),
    };
    parsed.ok_or_else(|| format!("{text:?} is no status: it is written 404, 5xx or 400-499"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_class_or_a_range() {
        let ranges = ["404", "5xx", "400-499", "100-599"].map(|text| status(text).unwrap());
        assert_eq!(ranges, [(404, 404), (500, 599), (400, 499), (100, 599)]);
        for bad in ["", "6xx", "0xx", "99", "600", "499-400", "x", "4x", "-", "404-"] {
            assert!(status(bad).is_err(), "{bad}");
        }
        assert!(wanted(&Query::parse("slower_ms=x")).is_err());
        assert!(wanted(&Query::parse("client=x")).is_err());
        assert_eq!(wanted(&Query::parse("most=99999999")).unwrap().most, MOST);
    }
}
