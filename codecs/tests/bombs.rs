//! Frames that are made to hurt: each is decoded in little time and little memory, and taken or
//! refused as its recipe says.
//!
//! The recipes are in `bombs/<codec>/<name>.bomb`: a comment, `taken` or `refused`, then parts of
//! the frame, each so many times: `1000 * "text"` (a JSON string) or `1000 x c0 ff` (bytes).
#![cfg(any(feature = "json", feature = "message-pack", feature = "xml"))]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use logux_codecs::{Codec, Limits, Value};
use peak_alloc::PeakAlloc;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Counts for the whole process, so this file has one test.
#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How many bytes of memory a byte of a frame may cost, and what the text of an error does.
const MAX_GROWTH: usize = 100;
const ERROR: usize = 16 << 10;

/// How long decoding should take for each MiB, optimised, and what is not worth measuring. Whether
/// it does is printed; what fails is only what takes so many times as long, which no machine's
/// slowness or noise makes of it.
const TIME_PER_MEBIBYTE: Duration = Duration::from_millis(50);
const NOISE: Duration = Duration::from_millis(5);
const CERTAINLY_WRONG: u32 = 10;

/// An event whose type makes room for what is promised.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Typed {
    numbers: Vec<u64>,
    counts: HashMap<String, u64>,
    text: Option<String>,
    #[serde(with = "serde_bytes_like")]
    bytes: Vec<u8>,
    children: Vec<Self>,
}

/// A type of event that reads bytes where there are some.
mod serde_bytes_like {
    use serde::de::{Deserializer, Visitor};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }

        from.deserialize_byte_buf(Bytes)
    }
}

/// One that keeps what it does not know, which serde reads twice.
#[derive(Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "what counts is what reading costs")]
enum Tagged {
    #[serde(rename = "a")]
    A(HashMap<String, Value>),
    #[serde(other)]
    Unknown,
}

#[test]
fn bombs_cost_little() {
    #[cfg(feature = "json")]
    defuse(&logux_codecs::Json);
    #[cfg(feature = "logux-binary")]
    defuse(&logux_codecs::LoguxBinary::new());
    #[cfg(feature = "message-pack")]
    defuse(&logux_codecs::MessagePack);
    #[cfg(feature = "xml")]
    defuse(&logux_codecs::Xml);
}

fn defuse<C: Codec>(codec: &C) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bombs").join(C::NAME);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 40, "there are {} bombs for {}", paths.len(), C::NAME);
    let mut wrong = Vec::new();
    let mut slowest = Slowest::default();
    for path in paths {
        let name = format!("{}/{}", C::NAME, path.file_stem().unwrap().display());
        let (frame, taken) = make(&fs::read_to_string(&path).unwrap());
        let is_taken = decode::<C, Value>(codec, &frame, &name, &mut wrong, &mut slowest);
        if is_taken != taken {
            wrong.push(format!("{name} is {}", if is_taken { "taken" } else { "refused" }));
        }
        decode::<C, Typed>(codec, &frame, &name, &mut wrong, &mut slowest);
        decode::<C, Tagged>(codec, &frame, &name, &mut wrong, &mut slowest);
        decode::<C, u64>(codec, &frame, &name, &mut wrong, &mut slowest);
    }
    let Slowest { share, name } = slowest;
    println!("{name} takes the longest: {share:.2} of the time that it may");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What took the longest of what it may take.
#[derive(Default)]
struct Slowest {
    share: f64,
    name: String,
}

/// The best of some attempts: what else the machine does is not measured.
fn decode<C: Codec, E: DeserializeOwned>(
    codec: &C,
    frame: &[u8],
    name: &str,
    wrong: &mut Vec<String>,
    slowest: &mut Slowest,
) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "frames are small")]
    let allowed = TIME_PER_MEBIBYTE.mul_f64(frame.len() as f64 / f64::from(1 << 20)) + NOISE;
    let mut best = Duration::MAX;
    let mut is_taken = false;
    for _ in 0..5 {
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        let start = Instant::now();
        let decoded = codec.decode::<E>(frame, Limits::default());
        best = best.min(start.elapsed());
        let growth = HEAP.peak_usage().saturating_sub(before);
        is_taken = decoded.is_ok();
        if growth > MAX_GROWTH * frame.len() + ERROR {
            wrong.push(format!("{name} of {} bytes takes {growth} of memory", frame.len()));
            break;
        }
        if best <= allowed {
            break;
        }
    }
    let share = best.div_duration_f64(allowed);
    if share > slowest.share {
        *slowest = Slowest { share, name: name.to_owned() };
    }
    if best > CERTAINLY_WRONG * allowed {
        wrong.push(format!("{name} of {} bytes takes {best:?}", frame.len()));
    }
    is_taken
}

/// The frame of a recipe, and whether it is to be taken.
fn make(recipe: &str) -> (Vec<u8>, bool) {
    let mut lines = recipe.lines().filter(|line| !line.starts_with('#'));
    let taken = match lines.next() {
        Some("taken") => true,
        Some("refused") => false,
        verdict => panic!("a recipe says taken or refused, not {verdict:?}"),
    };
    let mut frame = Vec::new();
    for line in lines {
        let (count, part) = line.split_once(' ').unwrap();
        let part = match part.split_at(1) {
            ("*", text) => serde_json::from_str::<String>(text.trim()).unwrap().into_bytes(),
            ("x", bytes) => {
                bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
            }
            _ => panic!("{line:?} is no part of a recipe"),
        };
        frame.extend(part.repeat(count.parse().unwrap()));
    }
    (frame, taken)
}
