//! See `tutti_net::tls::hello::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::tls::hello::fuzz(data));
