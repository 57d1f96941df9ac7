//! Signals by name or number, as `stop_signal` has them.

/// Linux's numbers; the fifteen that POSIX has are the same nearly everywhere, and the rest is not asked for there.
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// On macOS and the BSDs these differ.
#[cfg(not(target_os = "linux"))]
const ELSEWHERE: [(&str, i32); 8] = [
    ("BUS", 10),
    ("USR1", 30),
    ("USR2", 31),
    ("CHLD", 20),
    ("CONT", 19),
    ("STOP", 17),
    ("TSTP", 18),
    ("URG", 16),
];

/// The number of a signal; the error is a sentence.
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(format!("{number} is not a signal"))
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    #[cfg(not(target_os = "linux"))]
    if let Some((_, number)) = ELSEWHERE.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let realtime = |prefix: &str, base: i32, sign: i32| -> Option<i32> {
        let rest = name.strip_prefix(prefix)?;
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse().ok()? };
        Some(base + sign * offset).filter(|number| (34..=64).contains(number))
    };
    realtime("RTMIN", 34, 1)
        .or_else(|| realtime("RTMAX", 64, -1))
        .ok_or_else(|| format!("`{text}` is not a signal"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("SIGTERM", 15), ("int", 2), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "SIGFOO", "0", "65", "-1", "RTMIN+99", "RTMIN+"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
