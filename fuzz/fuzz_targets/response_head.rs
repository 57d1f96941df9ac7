//! See `tutti_net::h1::fuzz::response_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::h1::fuzz::response_head(data));
