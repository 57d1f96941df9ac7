//! See `tutti_proxy::model::fuzz::route_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tutti_proxy::model::fuzz::route_path(data));
