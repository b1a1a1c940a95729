#![no_main]

use logux_sync::{Codec, Limits, LoguxBinary, Value};
use logux_sync::codecs::{Message};

libfuzzer_sys::fuzz_target!(|frames: &[u8]| {
    // What is read depends on what was said before: the input is frames, each behind its length.
    let codec = LoguxBinary::default().for_connection();
    let mut rest = frames;
    while let Some((length, tail)) = rest.split_first() {
        let (frame, tail) = tail.split_at((*length as usize).min(tail.len()));
        rest = tail;
        let message: Result<Message<Value>, _> = codec.decode(frame, Limits::default());
        if let Ok(message) = message {
            let _ = codec.encode(&message, &mut Vec::new());
        }
    }
});
