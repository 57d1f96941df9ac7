//! See `tutti_net::h3::fuzz::field_section`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::h3::fuzz::field_section(data));
