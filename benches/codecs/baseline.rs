//! What the formats' own crates take.
//!
//! *same*: the crate's own call on the same message, which shows what the codec adds to it. *plain*:
//! the same data in the structs that a user would write without a protocol, which read no ids and
//! check no limits.

use serde::{Deserialize, Serialize};

use super::{Counter, Message, Run, message, timed};

/// The events of [`message`] as plain data.
#[derive(Debug, Serialize, Deserialize)]
struct Plain(String, u64, Vec<(Counter, PlainMeta)>);

#[derive(Debug, Serialize, Deserialize)]
struct PlainMeta {
    id: String,
    time: i64,
}

fn plain(events: u64) -> Plain {
    let entries = (0..events).map(|n| {
        let meta = PlainMeta { id: "OzcVoWD".to_owned(), time: n.cast_signed() };
        (Counter::Inc { value: n }, meta)
    });
    Plain("sync".to_owned(), events, entries.collect())
}

/// The same as far as quick-xml's serde can carry it: no tagged enum, no array in an array.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename = "sync")]
struct PlainXml {
    added: u64,
    entry: Vec<PlainXmlEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlainXmlEntry {
    event: PlainXmlEvent,
    meta: PlainMeta,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlainXmlEvent {
    r#type: String,
    value: u64,
}

fn plain_xml(events: u64) -> PlainXml {
    let entry = |n: u64| PlainXmlEntry {
        event: PlainXmlEvent { r#type: "counter/inc".to_owned(), value: n },
        meta: PlainMeta { id: "OzcVoWD".to_owned(), time: n.cast_signed() },
    };
    PlainXml { added: events, entry: (0..events).map(entry).collect() }
}

pub(crate) fn json_encode(events: u64) -> Run {
    let (message, mut frame) = (message(events), Vec::new());
    timed(format!("serde_json/encode-same/{events}"), move || {
        frame.clear();
        serde_json::to_writer(&mut frame, &message).expect("the message can be written");
        frame.len()
    })
}

pub(crate) fn json_decode(events: u64) -> Run {
    let text = serde_json::to_string(&message(events)).expect("the message can be written");
    timed(format!("serde_json/decode-same/{events}"), move || {
        serde_json::from_str::<Message<Counter>>(&text).expect("the message can be read")
    })
}

pub(crate) fn json_decode_plain(events: u64) -> Run {
    let text = serde_json::to_string(&plain(events)).expect("the data can be written");
    timed(format!("serde_json/decode-plain/{events}"), move || {
        serde_json::from_str::<Plain>(&text).expect("the data can be read")
    })
}

pub(crate) fn message_pack_encode(events: u64) -> Run {
    let (message, mut frame) = (message(events), Vec::new());
    timed(format!("rmp_serde/encode-same/{events}"), move || {
        frame.clear();
        let mut writer =
            rmp_serde::Serializer::new(&mut frame).with_struct_map().with_human_readable();
        message.serialize(&mut writer).expect("the message can be written");
        frame.len()
    })
}

pub(crate) fn message_pack_decode(events: u64) -> Run {
    let frame = rmp_serde::to_vec_named(&message(events)).expect("the message can be written");
    timed(format!("rmp_serde/decode-same/{events}"), move || {
        rmp_serde::from_slice::<Message<Counter>>(&frame).expect("the message can be read")
    })
}

pub(crate) fn message_pack_decode_plain(events: u64) -> Run {
    let frame = rmp_serde::to_vec_named(&plain(events)).expect("the data can be written");
    timed(format!("rmp_serde/decode-plain/{events}"), move || {
        rmp_serde::from_slice::<Plain>(&frame).expect("the data can be read")
    })
}

pub(crate) fn xml_encode_plain(events: u64) -> Run {
    let (data, mut text) = (plain_xml(events), String::new());
    timed(format!("quick_xml/encode-plain/{events}"), move || {
        text.clear();
        quick_xml::se::to_writer(&mut text, &data).expect("the data can be written");
        text.len()
    })
}

pub(crate) fn xml_decode_plain(events: u64) -> Run {
    let text = quick_xml::se::to_string(&plain_xml(events)).expect("the data can be written");
    timed(format!("quick_xml/decode-plain/{events}"), move || {
        quick_xml::de::from_str::<PlainXml>(&text).expect("the data can be read")
    })
}
