//! The kit for codecs, tried on codecs that each break one line of the contract.
#![cfg(feature = "conformance")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use logux_codecs::{Added, Codec, Json, JsonError, Limits, Message, WireMeta, conformance};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON, with or without a fault.
#[derive(Clone, Copy, Debug)]
struct Broken<const TWO_WORDS: bool>(Option<Fault>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    AnswersPings,
    Overwrites,
    Completes,
    LeavesARest,
    TakesAnything,
    Panics,
    ForgetsTheLimits,
    /// Long runs of `a` are a byte, and are written out whatever the limit.
    Expands,
    RefusesNull,
    /// Stands far to the right.
    Indents,
    /// Has 21 bytes for each `0,` of JSON, which is little more than [`Codec::EXPANSION`] allows.
    SpacesOut,
    /// Has more in an event that it writes apart.
    WritesOtherParts,
    /// Can write events apart, and not put them together.
    LeavesParts,
}

impl<const TWO_WORDS: bool> Codec for Broken<TWO_WORDS> {
    const NAME: &'static str = if TWO_WORDS { "two words" } else { "broken" };
    const MEDIA_TYPE: &'static str = "application/json";
    const TEXT: bool = true;
    type Error = JsonError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        if self.0 == Some(Fault::Overwrites) {
            frame.clear();
        }
        let mut json = Vec::new();
        Json.encode(message, &mut json)?;
        let json = String::from_utf8(json).unwrap();
        if self.0 == Some(Fault::RefusesNull) && json.contains("null") {
            return Err(<serde_json::Error as serde::ser::Error>::custom("null").into());
        }
        if self.0 == Some(Fault::Indents) {
            frame.resize(frame.len() + 10 * json.len(), b' ');
        }
        if self.0 == Some(Fault::SpacesOut) {
            frame.resize(frame.len() + 19 * json.matches(',').count(), b' ');
        }
        if self.0 == Some(Fault::Expands) {
            frame.extend_from_slice(json.replace(&"a".repeat(1024), "\u{1}").as_bytes());
        } else {
            frame.extend_from_slice(json.as_bytes());
        }
        Ok(())
    }

    fn encode_event<E: Serialize>(
        &self,
        event: &E,
        part: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        let parts = [Fault::WritesOtherParts, Fault::LeavesParts];
        if !self.0.is_some_and(|fault| parts.contains(&fault)) {
            return None;
        }
        let written = Json.encode_event(event, part);
        if self.0 == Some(Fault::WritesOtherParts) {
            part.push(b' ');
        }
        written
    }

    fn encode_sync<'p>(
        &self,
        added: Added,
        events: impl ExactSizeIterator<Item = (&'p [u8], WireMeta)>,
        frame: &mut Vec<u8>,
    ) -> Option<Result<(), JsonError>> {
        if self.0 != Some(Fault::WritesOtherParts) {
            return None;
        }
        Json.encode_sync(added, events, frame)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, JsonError> {
        match self.0 {
            Some(Fault::AnswersPings) => Json.decode(frame, limits).map(|message| match message {
                Message::Ping(added) => Message::Pong(added),
                other => other,
            }),
            Some(Fault::Completes) => {
                Json.decode(frame, limits).or_else(|_| Json.decode(&[frame, b"]"].concat(), limits))
            }
            Some(Fault::LeavesARest) => {
                let mut reader = serde_json::Deserializer::from_slice(frame);
                Ok(limits.read(&mut reader)?)
            }
            Some(Fault::TakesAnything) => {
                Json.decode(frame, limits).or_else(|_| Ok(Message::Unknown("anything".to_owned())))
            }
            Some(Fault::Panics) => Ok(Json.decode(frame, limits).unwrap()),
            Some(Fault::ForgetsTheLimits) => Json.decode(frame, Limits::default()),
            Some(Fault::Expands) => {
                let json = std::str::from_utf8(frame)?.replace('\u{1}', &"a".repeat(1024));
                Json.decode(json.as_bytes(), limits)
            }
            _ => Json.decode(frame, limits),
        }
    }
}

#[track_caller]
fn finds(fault: Fault, check: fn(&Broken<false>)) {
    let codec = Broken(Some(fault));
    let line = catch_unwind(AssertUnwindSafe(|| check(&codec)));
    assert!(line.is_err(), "the check did not find {fault:?}");
    let all = catch_unwind(AssertUnwindSafe(|| conformance::codec(&codec)));
    assert!(all.is_err(), "the kit did not find {fault:?}");
}

#[test]
fn a_codec_without_a_fault_keeps_the_contract() {
    conformance::codec(&Broken::<false>(None));
}

#[test]
fn each_check_finds_its_fault() {
    finds(Fault::AnswersPings, conformance::reads_back_what_it_writes);
    finds(Fault::Overwrites, conformance::appends_to_the_frame);
    finds(Fault::AnswersPings, conformance::agrees_with_json);
    finds(Fault::Completes, conformance::refuses_a_cut_frame);
    finds(Fault::LeavesARest, conformance::refuses_trailing_bytes);
    finds(Fault::TakesAnything, conformance::refuses_numbers_out_of_range);
    finds(Fault::Panics, conformance::survives_any_bytes);
    finds(Fault::ForgetsTheLimits, conformance::keeps_the_limits);
    finds(Fault::Expands, conformance::keeps_the_limits);
    finds(Fault::RefusesNull, conformance::carries_the_types_of_serde);
    finds(Fault::Indents, conformance::keeps_its_expansion);
    finds(Fault::SpacesOut, conformance::keeps_its_expansion);
    finds(Fault::WritesOtherParts, conformance::writes_events_apart);
    finds(Fault::LeavesParts, conformance::writes_events_apart);
}

/// JSON in which each byte stands three times, compressed: the frame is no longer than JSON.
#[derive(Clone, Copy, Debug)]
struct Packed<const EXPANSION: usize>;

impl<const EXPANSION: usize> Codec for Packed<EXPANSION> {
    const NAME: &'static str = "packed";
    const MEDIA_TYPE: &'static str = "application/octet-stream";
    const TEXT: bool = false;
    const EXPANSION: usize = EXPANSION;
    type Error = JsonError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), JsonError> {
        Json.encode(message, frame)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, JsonError> {
        if 3 * frame.len() > limits.frame {
            return Err(<serde_json::Error as serde::de::Error>::custom("too long").into());
        }
        Json.decode(frame, limits)
    }
}

#[test]
fn a_compressed_frame_that_expands_further_than_the_codec_says_is_found() {
    conformance::codec(&Packed::<3>);
    let check = || conformance::keeps_its_expansion(&Packed::<2>);
    assert!(catch_unwind(check).is_err(), "the check did not find it");
}

#[test]
fn a_codec_whose_frames_are_too_long_breaks_that_line_only() {
    let codec = Broken::<false>(Some(Fault::SpacesOut));
    conformance::reads_back_what_it_writes(&codec);
    conformance::appends_to_the_frame(&codec);
    conformance::agrees_with_json(&codec);
    conformance::refuses_a_cut_frame(&codec);
    conformance::refuses_trailing_bytes(&codec);
    conformance::refuses_numbers_out_of_range(&codec);
    conformance::survives_any_bytes(&codec);
    conformance::keeps_the_limits(&codec);
    conformance::carries_the_types_of_serde(&codec);
    conformance::has_a_name_that_http_takes(&codec);
}

#[test]
#[should_panic(expected = "none of a token")]
fn a_name_of_two_words_is_found() {
    conformance::codec(&Broken::<true>(None));
}
