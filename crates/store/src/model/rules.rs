//! What a transaction must keep to before it is queued: sizes, and no key named twice in a branch.

use std::collections::BTreeSet;
use std::time::Duration;

use tutti_core::limits;
use tutti_ports::state::{Compare, Op, StateError, Txn};

/// Checks a transaction against the documented limits.
pub fn check_txn(txn: &Txn) -> Result<(), StateError> {
    let most = txn.compares.len().max(txn.then.len()).max(txn.otherwise.len());
    if most > limits::STATE_TXN_OPS {
        return invalid(format!("{most} compares or operations; the limit is {}", limits::STATE_TXN_OPS));
    }
    let mut bytes = 0;
    for compare in &txn.compares {
        bytes += check_compare(compare)?;
    }
    for branch in [&txn.then, &txn.otherwise] {
        for op in branch {
            bytes += check_op(op)?;
        }
        check_once(branch)?;
    }
    if bytes > limits::STATE_TXN_BYTES {
        return invalid(format!("{bytes} bytes in all; the limit is {}", limits::STATE_TXN_BYTES));
    }
    Ok(())
}

/// Checks the length of a lease.
pub fn check_ttl(ttl: Duration) -> Result<(), StateError> {
    if (limits::STATE_LEASE_MIN..=limits::STATE_LEASE_MAX).contains(&ttl) {
        return Ok(());
    }
    let (min, max) = (limits::STATE_LEASE_MIN, limits::STATE_LEASE_MAX);
    invalid(format!("a lease of {ttl:?}; it must be between {min:?} and {max:?}"))
}

fn check_compare(compare: &Compare) -> Result<usize, StateError> {
    match compare {
        Compare::Absent(key) | Compare::Present(key) | Compare::ModifiedAt(key, _) => check_key(key),
        Compare::ValueIs(key, value) => Ok(check_key(key)? + check_value(key, value)?),
    }
}

fn check_op(op: &Op) -> Result<usize, StateError> {
    match op {
        Op::Put { key, value, .. } => Ok(check_key(key)? + check_value(key, value)?),
        Op::Delete { key } => check_key(key),
        Op::DeletePrefix { prefix } if prefix.is_empty() => {
            invalid("the empty prefix would remove everything".to_owned())
        }
        Op::DeletePrefix { prefix } => check_key(prefix),
    }
}

fn check_key(key: &str) -> Result<usize, StateError> {
    match key.len() {
        0 => invalid("an empty key".to_owned()),
        len if len > limits::STATE_KEY_BYTES => {
            invalid(format!("a key of {len} bytes; the limit is {}", limits::STATE_KEY_BYTES))
        }
        len => Ok(len),
    }
}

fn check_value(key: &str, value: &[u8]) -> Result<usize, StateError> {
    if value.len() > limits::STATE_VALUE_BYTES {
        let (len, limit) = (value.len(), limits::STATE_VALUE_BYTES);
        return invalid(format!("a value of {len} bytes at {key:?}; the limit is {limit}"));
    }
    Ok(value.len())
}

/// In byte order, whatever a prefix covers follows it directly: one look at the neighbour is enough.
fn check_once(branch: &[Op]) -> Result<(), StateError> {
    let mut keys = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for op in branch {
        let (name, set) = match op {
            Op::Put { key, .. } | Op::Delete { key } => (key, &mut keys),
            Op::DeletePrefix { prefix } => (prefix, &mut prefixes),
        };
        if !set.insert(name.as_str()) {
            return invalid(format!("{name:?} is named twice"));
        }
    }
    for prefix in &prefixes {
        let key = keys.range(*prefix..).next();
        let inner = prefixes.range(*prefix..).nth(1);
        if let Some(twice) = [key, inner].into_iter().flatten().find(|name| name.starts_with(*prefix)) {
            return invalid(format!("{twice:?} is named twice: the prefix {prefix:?} covers it"));
        }
    }
    Ok(())
}

fn invalid<T>(why: String) -> Result<T, StateError> {
    Err(StateError::Invalid(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(key: &str) -> Op {
        Op::Put { key: key.to_owned(), value: Bytes::new(), lease: None }
    }

    fn prefix(prefix: &str) -> Op {
        Op::DeletePrefix { prefix: prefix.to_owned() }
    }

    fn why(then: Vec<Op>) -> Option<String> {
        check_txn(&Txn { then, ..Txn::default() }).err().map(|error| error.to_string())
    }

    #[test]
    fn a_branch_names_a_key_once_be_it_by_a_prefix() {
        assert_eq!(why(vec![put("a/b"), prefix("a/c"), put("a"), prefix("b")]), None);
        let delete = Op::Delete { key: "a".to_owned() };
        for twice in [
            vec![put("a"), put("a")],
            vec![put("a"), delete],
            vec![put("a/b"), prefix("a/")],
            vec![prefix("a/b"), put("0"), prefix("a/")],
            vec![prefix("a"), put("a")],
            vec![prefix("a"), prefix("a")],
        ] {
            assert!(why(twice.clone()).is_some_and(|why| why.contains("twice")), "{twice:?}");
        }
        let txn = Txn { then: vec![put("a")], otherwise: vec![put("a")], ..Txn::default() };
        assert!(check_txn(&txn).is_ok(), "only one of the branches is carried out");
    }

    #[test]
    fn sizes_are_checked_up_to_the_last_byte() {
        let long = "k".repeat(limits::STATE_KEY_BYTES);
        assert_eq!(why(vec![put(&long)]), None);
        assert!(why(vec![put(&(long + "k"))]).is_some_and(|why| why.contains("1025 bytes")));
        assert!(why(vec![put("")]).is_some());
        assert!(why(vec![prefix("")]).is_some());
        let big = |len| {
            let value = Bytes::from(vec![0; len]);
            vec![Op::Put { key: "k".to_owned(), value, lease: None }]
        };
        assert_eq!(why(big(limits::STATE_VALUE_BYTES)), None);
        assert!(why(big(limits::STATE_VALUE_BYTES + 1)).is_some_and(|why| why.contains("\"k\"")));
        let many = |count: usize| (0..count).map(|n| put(&n.to_string())).collect::<Vec<_>>();
        assert_eq!(why(many(limits::STATE_TXN_OPS)), None);
        assert!(why(many(limits::STATE_TXN_OPS + 1)).is_some());
        let sum = |count: usize| {
            let value = Bytes::from(vec![0; limits::STATE_VALUE_BYTES]);
            let put = |n: usize| Op::Put { key: n.to_string(), value: value.clone(), lease: None };
            (0..count).map(put).collect::<Vec<_>>()
        };
        assert_eq!(why(sum(7)), None);
        assert!(why(sum(8)).is_some(), "eight values and their keys are more than eight MiB");
    }

    #[test]
    fn a_lease_lasts_a_second_to_a_day() {
        for (ttl, fine) in [(999, false), (1_000, true), (86_400_000, true), (86_400_001, false)] {
            assert_eq!(check_ttl(Duration::from_millis(ttl)).is_ok(), fine, "{ttl} ms");
        }
    }
}
