//! Byte sizes: `512`, `50M`, `1.5gb`, `64 KiB`. All units are powers of 1024, as Docker has them.

/// Reads a size; the error is a sentence.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size");
    let lower = text.to_ascii_lowercase();
    let split = lower.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let power = match unit {
        "" | "b" => 0,
        _ => {
            let mut letters = unit.chars();
            let first = letters.next().unwrap_or(' ');
            if !matches!(letters.as_str(), "" | "b" | "ib") {
                return Err(bad());
            }
            "kmgtp".find(first).ok_or_else(bad)? + 1
        }
    };
    let factor = 1_u64 << (10 * power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole
            .checked_mul(factor)
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| format!("`{text}` is too large"));
    }
    let number: f64 = number.parse().map_err(|_| bad())?;
    let size = number * factor as f64;
    if size < i64::MAX as f64 { Ok(size as u64) } else { Err(format!("`{text}` is too large")) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_those_of_docker() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("50M", 52_428_800),
            ("50mb", 52_428_800),
            ("1.5g", 1_610_612_736),
            ("64 KiB", 65_536),
            ("7b", 7),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in ["", "M", "1x", "1mm", "-1", "1.2.3", "9999999999999p", "1  M", "1bb"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
