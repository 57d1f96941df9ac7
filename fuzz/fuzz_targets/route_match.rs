//! See `tutti_proxy::model::router::fuzz::route_match`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_proxy::model::router::fuzz::route_match(data));
