//! See `tutti_net::h1::fuzz::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::h1::fuzz::chunked(data));
