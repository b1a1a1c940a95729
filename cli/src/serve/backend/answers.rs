//! What a back end answers: a JSON array whose objects are read as they come.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use logux_sync::Value;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::Trouble;
use super::receivers::{Meta, Receivers};
use crate::failure::with_causes;

/// How many bytes the answers to one request may have.
const MAX_BYTES: usize = 32 << 20;

/// An answer about a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub(super) enum OfAuth {
    Authenticated {},
    Denied {},
    WrongSubprotocol {
        supported: Value,
    },
    Error {
        #[serde(default, deserialize_with = "text")]
        details: String,
    },
}

/// An answer about an event.
#[derive(Debug, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub(super) enum OfAction {
    Resend(Receivers),
    Approved {},
    #[serde(alias = "denied")]
    Forbidden {},
    Action {
        action: Value,
        #[serde(default)]
        meta: Option<Meta>,
    },
    Processed {},
    UnknownAction {},
    UnknownChannel {},
    Error {
        #[serde(default, deserialize_with = "text")]
        details: String,
    },
}

/// A text, or whatever else somebody found right for details.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// The answers to one request.
pub(super) struct Answers {
    body: Incoming,
    objects: Objects,
    read: usize,
}

impl Answers {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, objects: Objects::default(), read: 0 }
    }

    /// The next answer that has this id under this key, once all of it is there; `None` after the last.
    pub(super) async fn next<A: DeserializeOwned>(
        &mut self,
        (key, id): (&str, &str),
    ) -> Result<Option<A>, Trouble> {
        loop {
            match self.objects.next() {
                Err(byte) => {
                    let byte = byte.escape_ascii();
                    return Err(Trouble::Lasting(format!(
                        "its answer is no JSON array of objects: there is {byte} where an object has to begin or end"
                    )));
                }
                Ok(Some(object)) => {
                    // Others have a turn between the answers of a long list.
                    tokio::task::coop::consume_budget().await;
                    let wrong =
                        |error| Trouble::Lasting(format!("an answer of it is wrong: {error}"));
                    let answer: Value = serde_json::from_slice(&object).map_err(wrong)?;
                    if answer[key] == id {
                        return serde_json::from_value(answer).map(Some).map_err(wrong);
                    }
                    continue;
                }
                Ok(None) => {}
            }
            let Some(frame) = self.body.frame().await else {
                return if self.objects.is_over() {
                    Ok(None)
                } else if self.read == 0 {
                    Err(Trouble::Lasting("its answer is empty".to_owned()))
                } else {
                    Err(Trouble::Passing("its answer ends in the middle".to_owned()))
                };
            };
            let frame = frame.map_err(|error| Trouble::Passing(with_causes(&error)))?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.read += bytes.len();
            if self.read > MAX_BYTES {
                let what = format!("it answers with more than {MAX_BYTES} bytes");
                return Err(Trouble::Lasting(what));
            }
            self.objects.push(&bytes);
        }
    }
}

/// Cuts an array into its objects. Each byte is looked at once, in however many pieces they come.
#[derive(Debug, Default)]
struct Objects {
    bytes: BytesMut,
    /// Up to here they were looked at.
    seen: usize,
    /// How many brackets are open: the array's is the first.
    depth: usize,
    has_begun: bool,
    is_in_text: bool,
    is_escaped: bool,
}

impl Objects {
    fn push(&mut self, bytes: &Bytes) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The array was closed.
    fn is_over(&self) -> bool {
        self.has_begun && self.depth == 0
    }

    /// The next object that is there as a whole; as an error, a byte that cannot be where it is.
    fn next(&mut self) -> Result<Option<BytesMut>, u8> {
        while let Some(&byte) = self.bytes.get(self.seen) {
            self.seen += 1;
            if self.is_in_text {
                let ends = byte == b'"' && !self.is_escaped;
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                self.is_in_text = !ends;
                continue;
            }
            if self.depth < 2 {
                match byte {
                    b'[' if !self.has_begun => {
                        self.has_begun = true;
                        self.depth = 1;
                    }
                    b'{' if self.depth == 1 => {
                        self.depth = 2;
                        self.bytes.advance(self.seen - 1);
                        self.seen = 1;
                    }
                    b']' if self.depth == 1 => self.depth = 0,
                    b',' if self.depth == 1 => {}
                    b' ' | b'\t' | b'\r' | b'\n' => {}
                    byte => return Err(byte),
                }
                continue;
            }
            match byte {
                b'"' => self.is_in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 1 {
                        return Ok(Some(self.bytes.split_to(std::mem::take(&mut self.seen))));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(text: &str, piece: usize) -> Result<Vec<String>, u8> {
        let (mut cut, mut found) = (Objects::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            cut.push(&Bytes::copy_from_slice(piece));
            while let Some(object) = cut.next()? {
                found.push(String::from_utf8(object.to_vec()).expect("a text"));
            }
        }
        assert_eq!(cut.is_over(), text.trim_end().ends_with(']'), "{text}");
        Ok(found)
    }

    #[test]
    fn an_array_is_cut_into_its_objects_however_it_comes() {
        for (text, expected) in [
            ("[]", vec![]),
            (" [ ] \n", vec![]),
            (r#"[{"a":1},{"b":[{},"}]"]}]"#, vec![r#"{"a":1}"#, r#"{"b":[{},"}]"]}"#]),
            ("[\n{}\n,\n{}\n]\n", vec!["{}", "{}"]),
            (r#"[{"a":"\\\"}"},{"ä":"]"}"#, vec![r#"{"a":"\\\"}"}"#, r#"{"ä":"]"}"#]),
            ("[{", vec![]),
        ] {
            for piece in [1, 2, 3, 1_000] {
                assert_eq!(
                    objects(text, piece),
                    Ok(expected.iter().map(ToString::to_string).collect()),
                    "{text}"
                );
            }
        }
        for (text, byte) in [
            ("{}", b'{'),
            ("[1]", b'1'),
            ("[\"a\"]", b'"'),
            ("[[]]", b'['),
            ("[]x", b'x'),
            ("[][", b'['),
            ("<html>", b'<'),
        ] {
            assert_eq!(objects(text, 1), Err(byte), "{text}");
        }
    }
}
