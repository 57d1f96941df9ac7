//! The hash by which requests and instances are placed: the same on every run and every machine.

/// FNV-1a (Fowler, Noll, Vo; 64 bits) over the bytes, mixed by the finalizer of SplitMix64 (Steele, Lea, Flood 2014),
/// since FNV alone leaves short keys close together. Not for secrets: a client that wants to can find keys that meet.
pub fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325 ^ mix(seed);
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(state)
}

/// SplitMix64's finalizer: every bit of the input reaches every bit of the output.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_keys_are_spread() {
        let mut buckets = [0_u32; 16];
        for key in 0..16_000_u32 {
            buckets[(hash(0, &key.to_le_bytes()) >> 60) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
        assert_ne!(hash(0, b"a"), hash(1, b"a"));
        // Never to change: it decides which instance knows a client.
        assert_eq!(hash(0, b"catalog-1"), 0x8924_8720_5c59_604c);
    }
}
