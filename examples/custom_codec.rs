//! A codec of one's own: CBOR (RFC 8949), by an existing crate. The codec is all that stands
//! between `impl` and its end; the rest is the proof that it works: the kit for codecs, and two
//! logs that meet by it.
//!
//! `cargo run --example custom_codec` exits with an error if it does not.

use std::error::Error;

use logux_sync::codecs::Message;
use logux_sync::{BaseSync, Codec, Limits, Log, Memory, MemoryStore, Role, State, Value};
use minicbor_serde::{Deserializer, Serializer};
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

#[derive(Clone, Copy, Debug)]
struct Cbor;

impl Codec for Cbor {
    const NAME: &'static str = "cbor";
    const MEDIA_TYPE: &'static str = "application/cbor";
    const TEXT: bool = false;
    type Error = minicbor_serde::error::DecodeError;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error> {
        // A value of JSON first, whose floats are all of 64 bits: CBOR has shorter ones, too, and a relay
        // would make another number of an `f32`.
        let json = serde_json::to_vec(message).map_err(Self::Error::custom)?;
        let value: Value = serde_json::from_slice(&json).map_err(Self::Error::custom)?;
        let mut writer = Serializer::new(frame);
        // The crate's own way, an empty array, would change the type of a value.
        value.serialize(writer.serialize_unit_as_null(true)).map_err(Self::Error::custom)
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error> {
        let mut reader = Deserializer::new(frame);
        let message = limits.read(&mut reader)?;
        if reader.decoder().position() < frame.len() {
            return Err(Self::Error::custom("bytes follow the message"));
        }
        Ok(message)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    logux_sync::conformance::codec(&Cbor);

    let left = Log::<Value>::open("left".parse()?, MemoryStore::new()).await?;
    let right = Log::<Value>::open("right".parse()?, MemoryStore::new()).await?;
    left.add(serde_json::json!({ "type": "hello" })).await?;
    let (near, far) = Memory::pair();
    let opener = BaseSync::new(&left, Cbor, Role::Opener, near).start();
    let _acceptor = BaseSync::new(&right, Cbor, Role::Acceptor, far).start();
    opener.wait_for(State::Synchronized).await?;
    if right.last_added() != left.last_added() {
        return Err("the event did not arrive".into());
    }
    println!("the contract of codecs holds for CBOR, and two logs met by it");
    Ok(())
}
