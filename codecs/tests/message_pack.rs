//! The MessagePack codec: its contract.
#![cfg(all(feature = "conformance", feature = "message-pack"))]

use logux_codecs::{MessagePack, conformance};

#[test]
fn message_pack_keeps_the_contract_of_codecs() {
    conformance::codec(&MessagePack);
    conformance::writes_everything_as_json_does(&MessagePack);
}
