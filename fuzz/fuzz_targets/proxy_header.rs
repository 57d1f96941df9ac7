//! See `tutti_net::proxy_protocol::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_net::proxy_protocol::fuzz(data));
