//! The fuzz targets over their seeds and some thousand mutations of them, the same each time.

use std::path::Path;

use tutti_core::random::Rng;

/// Runs a target over its seeds, each with a few first bytes, and over mutations of them.
fn smoke(name: &str, target: fn(&[u8]), mutations: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
    let seeds: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(seeds.len() >= 8, "{name} has {} seeds", seeds.len());
    for seed in &seeds {
        for cut in 0..=u8::try_from(seed.len()).unwrap_or(u8::MAX) {
            let mut input = seed.clone();
            input[0] = cut;
            target(&input);
        }
    }
    let rng = Rng::seeded(7);
    for _ in 0..mutations {
        let mut input = seeds[rng.below(seeds.len())].clone();
        for _ in 0..=rng.below(4) {
            mutate(&mut input, &seeds, &rng);
        }
        target(&input);
    }
}

/// One change of the kind that breaks parsers.
fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &Rng) {
    const TOKENS: [&[u8]; 16] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b";",
        b",",
        b"0",
        b"\r\n\r\n",
        b"chunked",
        b"%",
        b"\x80",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ];
    let at = rng.below(input.len() + 1);
    match rng.below(5) {
        0 => {
            if let Some(octet) = input.get_mut(at) {
                *octet = rng.next_u64() as u8;
            }
        }
        1 => {
            input.splice(at..at, TOKENS[rng.below(TOKENS.len())].iter().copied());
        }
        2 => {
            let end = (at + rng.below(6)).min(input.len());
            input.drain(at..end);
        }
        3 => {
            let other = &seeds[rng.below(seeds.len())];
            let from = rng.below(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            let end = (at + rng.below(24)).min(input.len());
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
    }
}

#[test]
fn request_heads() {
    smoke("request_head", super::request_head, 20_000);
}

#[test]
fn response_heads() {
    smoke("response_head", super::response_head, 20_000);
}

#[test]
fn chunked_bodies() {
    smoke("chunked", super::chunked, 20_000);
}
