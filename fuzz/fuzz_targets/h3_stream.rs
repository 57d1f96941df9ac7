//! See `tutti_net::h3::fuzz::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::h3::fuzz::stream(data));
