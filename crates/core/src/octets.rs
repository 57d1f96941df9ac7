//! Octets, eight at a time in one register (Warren, "Hacker's Delight", 6-1): heads and lines of logs are looked at
//! for every request.

/// Eight octets. What is asked of them is answered by the high bit of each one that is it. Above the first of these, in the order
/// of the octets, others may be marked by mistake; so whether there is one is sure, and which is the first.
#[derive(Clone, Copy)]
pub struct Eight(u64);

const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

impl Eight {
    /// Those that are `octet`.
    #[inline]
    pub fn is(self, octet: u8) -> u64 {
        let differs = self.0 ^ (ONES * u64::from(octet));
        differs.wrapping_sub(ONES) & !differs & HIGH
    }

    /// Those below `bound`, which is at most 128.
    #[inline]
    pub fn below(self, bound: u8) -> u64 {
        self.0.wrapping_sub(ONES * u64::from(bound)) & !self.0 & HIGH
    }

    /// Those outside ASCII.
    #[inline]
    pub fn high(self) -> u64 {
        self.0 & HIGH
    }

    /// The same with capital letters of ASCII made small.
    #[inline]
    fn lower(self) -> u64 {
        // Without its high bit, an octet plus this has it from the letter on: what is from `A` on and not from behind `Z` on.
        let low = self.0 & !HIGH;
        let from = |letter: u8| low + ONES * u64::from(0x80 - letter);
        let capital = (from(b'A') & !from(b'Z' + 1)) & !self.0 & HIGH;
        self.0 | (capital >> 2)
    }
}

/// Whether two words are the same but for the case of letters (of ASCII).
#[inline]
pub fn same_word(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let same = |(one, other): (&[u8; 8], &[u8; 8])| {
        Eight(u64::from_le_bytes(*one)).lower() == Eight(u64::from_le_bytes(*other)).lower()
    };
    let (eights, rest) = one.as_chunks::<8>();
    if !eights.iter().zip(other.as_chunks::<8>().0).all(same) {
        return false;
    }
    if rest.is_empty() {
        return true;
    }
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(one), Some(other)) => same((one, other)),
        _ => match (both_ends(one), both_ends(other)) {
            (Some(one), Some(other)) => one.lower() == other.lower(),
            _ => one.eq_ignore_ascii_case(other),
        },
    }
}

/// The first four and the last four of fewer than eight octets, which are all of them.
#[inline]
fn both_ends(word: &[u8]) -> Option<Eight> {
    let [from, to] = [*word.first_chunk::<4>()?, *word.last_chunk::<4>()?].map(u32::from_le_bytes);
    Some(Eight(u64::from(from) << 32 | u64::from(to)))
}

/// The first octet that is looked for. The letter `a` is not: it stands for nothing here.
#[inline]
pub fn first(octets: &[u8], looked_for: impl Fn(Eight) -> u64) -> Option<usize> {
    let place = |eight: &[u8; 8]| {
        let found = looked_for(Eight(u64::from_le_bytes(*eight)));
        (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
    };
    let (eights, rest) = octets.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        if let Some(found) = place(eight) {
            return Some(at * 8 + found);
        }
    }
    match octets.last_chunk::<8>() {
        _ if rest.is_empty() => None,
        // Some of these once more, among which there is none.
        Some(last) => place(last).map(|found| octets.len() - 8 + found),
        None => {
            let mut filled = [b'a'; 8];
            filled.iter_mut().zip(rest).for_each(|(place, octet)| *place = *octet);
            place(&filled)
        }
    }
}

/// Whether there is an octet that is looked for. The letter `a` is not, see [`first`].
#[inline]
pub fn any(octets: &[u8], looked_for: impl Fn(Eight) -> u64) -> bool {
    first(octets, looked_for).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any as arbitrary, prop_assert_eq, proptest};

    #[test]
    fn every_octet_is_told_from_every_other_in_every_place() {
        for octet in 0..=u8::MAX {
            for length in 1..20 {
                for at in 0..length {
                    let mut octets = vec![b'x'; length];
                    octets[at] = octet;
                    let seen = [
                        any(&octets, |eight| eight.is(b'"')),
                        any(&octets, |eight| eight.below(b'#')),
                        any(&octets, Eight::high),
                    ];
                    assert_eq!(
                        seen,
                        [octet == b'"', octet < b'#', octet > 127],
                        "{octet} at {at} of {length}"
                    );
                }
            }
        }
        assert!(!any(b"", Eight::high));
    }

    proptest! {
        #[test]
        fn the_first_is_found(octets in proptest::collection::vec(arbitrary::<u8>(), 0..40), octet in arbitrary::<u8>()) {
            let octet = if octet == b'a' { b':' } else { octet };
            prop_assert_eq!(first(&octets, |eight| eight.is(octet)), octets.iter().position(|one| *one == octet));
            let found = first(&octets, |eight| eight.below(32) | eight.is(octet) | eight.high());
            prop_assert_eq!(found, octets.iter().position(|one| *one < 32 || *one == octet || *one > 127));
        }

        #[test]
        fn words_are_the_same_or_not(one in "[a-cA-C@`\\[{Zz-]{0,20}", other in "[a-cA-C@`\\[{Zz-]{0,20}") {
            for (one, other) in [(&one, &other), (&one, &one.to_uppercase()), (&one, &one.to_lowercase())] {
                prop_assert_eq!(same_word(one.as_bytes(), other.as_bytes()), one.eq_ignore_ascii_case(other));
            }
        }
    }

    #[test]
    fn only_capital_letters_are_made_small() {
        for octet in 0..=u8::MAX {
            let lower = Eight(u64::from(octet) * ONES).lower();
            assert_eq!(lower, u64::from(octet.to_ascii_lowercase()) * ONES, "{octet:#x}");
        }
    }
}
