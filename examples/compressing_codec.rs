//! A codec around another: whatever it writes, compressed (RFC 1950), by an existing crate. A server
//! takes it beside plain JSON; the peers choose. The proof that it works: the kit for codecs, and
//! three logs that meet.
//!
//! `cargo run --example compressing_codec` exits with an error if it does not.

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::codecs::{CodecName, Message};
use logux_sync::{
    Added, ClientSync, Codec, Json, Limits, Log, MemoryStore, Server, Value, WebSocket,
    WebSocketListener,
};
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

#[derive(Clone, Copy, Debug)]
struct Deflate<C>(C);

#[derive(Debug, thiserror::Error)]
enum DeflateError<E> {
    #[error("the frame is not one whole zlib stream")]
    Stream,
    #[error("the frame expands to more than {0} bytes")]
    TooLong(usize),
    #[error("what was compressed is not a message")]
    Inner(#[from] E),
}

impl<C: Codec> Codec for Deflate<C> {
    const NAME: &'static str = const { &CodecName::of(C::NAME).and("+deflate") }.as_str();
    const MEDIA_TYPE: &'static str = "application/zlib";
    const TEXT: bool = false;
    // What does not compress grows by a few bytes.
    const EXPANSION: usize = C::EXPANSION + 1;
    type Error = DeflateError<C::Error>;

    fn encode<E: Serialize>(
        &self,
        message: &Message<E>,
        frame: &mut Vec<u8>,
    ) -> Result<(), Self::Error> {
        let mut plain = Vec::new();
        self.0.encode(message, &mut plain)?;
        frame.extend(compress_to_vec_zlib(&plain, 6));
        Ok(())
    }

    fn decode<E: DeserializeOwned>(
        &self,
        frame: &[u8],
        limits: Limits,
    ) -> Result<Message<E>, Self::Error> {
        Ok(self.0.decode(&inflate(frame, limits.frame)?, limits)?)
    }

    fn for_connection(&self) -> Self {
        Self(self.0.for_connection())
    }
}

/// A thousand bytes may stand for a million: the room grows with what comes, and up to the limit.
fn inflate<E>(frame: &[u8], limit: usize) -> Result<Vec<u8>, DeflateError<E>> {
    const FLAGS: u32 =
        flags::TINFL_FLAG_PARSE_ZLIB_HEADER | flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let mut stream = DecompressorOxide::new();
    let mut plain = vec![0; limit.min(4 * frame.len())];
    let (mut read, mut written) = (0, 0);
    loop {
        let (status, taken, given) =
            decompress(&mut stream, &frame[read..], &mut plain, written, FLAGS);
        (read, written) = (read + taken, written + given);
        match status {
            TINFLStatus::Done if read == frame.len() => break,
            TINFLStatus::HasMoreOutput if plain.len() < limit => {
                plain.resize(limit.min(2 * plain.len()), 0);
            }
            TINFLStatus::HasMoreOutput => return Err(DeflateError::TooLong(limit)),
            _ => return Err(DeflateError::Stream),
        }
    }
    plain.truncate(written);
    Ok(plain)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    logux_sync::conformance::codec(&Deflate(Json));

    let middle = Log::<Value>::open("server".parse()?, MemoryStore::new()).await?;
    let left = Log::<Value>::open("10:left".parse()?, MemoryStore::new()).await?;
    let right = Log::<Value>::open("10:right".parse()?, MemoryStore::new()).await?;
    left.add(serde_json::json!({ "type": "hello" })).await?;

    let listener = WebSocketListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let _server = Server::new(&middle, (Json, Deflate(Json)), listener).start();
    let _left = ClientSync::new(&left, Deflate(Json), WebSocket::new(&url)?).start();
    let _right = ClientSync::new(&right, Json, WebSocket::new(&url)?).start();
    let arrived = async { right.follow(Added::ZERO).next().await };
    let entry = timeout(Duration::from_secs(10), arrived).await?.ok_or("the log has ended")??;
    println!("{} came as {} and went as json", entry.event, Deflate::<Json>::NAME);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use logux_sync::{MessagePack, ProtocolError};

    #[test]
    fn the_contract_holds_around_json_and_three_logs_meet() {
        main().unwrap();
    }

    #[test]
    fn the_contract_holds_around_a_binary_codec() {
        logux_sync::conformance::codec(&Deflate(MessagePack));
        assert_eq!(<Deflate<MessagePack> as Codec>::NAME, "message-pack+deflate");
    }

    #[test]
    fn a_frame_expands_up_to_the_limit() {
        let long = Message::<()>::Error(ProtocolError::WrongFormat("a".repeat(100_000)));
        let (mut plain, mut frame) = (Vec::new(), Vec::new());
        Json.encode(&long, &mut plain).unwrap();
        Deflate(Json).encode(&long, &mut frame).unwrap();
        assert!(frame.len() < 1000);
        let decode = |bytes| Deflate(Json).decode::<()>(&frame, Limits::default().frame(bytes));
        assert_eq!(decode(plain.len()).unwrap(), long);
        for limit in [0, 1, plain.len() - 1] {
            assert!(matches!(decode(limit), Err(DeflateError::TooLong(_))), "{limit}");
        }
    }
}
