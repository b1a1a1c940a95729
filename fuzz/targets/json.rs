#![no_main]

mod decode;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| decode::decode(&logux_sync::Json, frame));
