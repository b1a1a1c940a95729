//! `@logux/core`, in both roles and both protocols: 0.10.0 speaks 5, and 0.12.1 speaks 7.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;
use futures_util::StreamExt;
use logux_sync::codecs::Protocol;
use logux_sync::{
    Access, Added, Draft, Error, EventId, Headers, Json, Limits, Listener, Notice, ProtocolError,
    ServerSync, State, Subprotocol, SyncOptions, Value, WebSocketListener,
};
use serde_json::json;

use crate::pair::{MAX_FRAME, Ours, Pair, Side, Theirs, Way, text};
use crate::peer::Peer;
use crate::proxy::Cut;
use crate::{event, in_time, seed};

macro_rules! against {
    ($protocol:ident $side:ident: $($test:ident)*) => {
        against! { $protocol $side WebSocket: $($test)* }
    };
    ($protocol:ident $side:ident $way:ident: $($test:ident)*) => {
        $(
            #[tokio::test]
            #[ignore = "needs Node.js: tests/interop/run"]
            async fn $test() {
                use crate::pair::{Side, Theirs, Way};
                let theirs = Theirs {
                    protocol: logux_sync::codecs::Protocol::$protocol,
                    side: Side::$side,
                    way: Way::$way,
                };
                crate::in_time(crate::against_core::$test(theirs)).await;
            }
        )*
    };
}

/// Each of these runs against a JavaScript client and against a JavaScript server of both
/// protocols.
macro_rules! against_each {
    ($($test:ident)*) => {
        mod protocol_5 {
            mod their_client {
                against! { V5 Client: $($test)*
                    a_javascript_node_that_lost_its_log_gets_it_back
                    a_subprotocol_that_is_too_old_is_refused_and_not_tried_again
                }
            }
            // Their server does not look at the subprotocol by itself: `@logux/server` does.
            mod their_server {
                // Not the lost log: a server says how far its log goes in `ready`, which 5 lacks.
                against! { V5 Server: $($test)* }
            }
        }
        mod protocol_7 {
            mod their_client {
                against! { V7 Client: $($test)*
                    a_javascript_node_that_lost_its_log_gets_it_back
                    a_subprotocol_that_is_too_old_is_refused_and_not_tried_again
                }
            }
            mod their_server {
                against! { V7 Server: $($test)* a_javascript_node_that_lost_its_log_gets_it_back }
            }
        }
    };
}

against_each! {
    both_logs_hold_the_same_in_the_same_order
    each_side_catches_up_with_5000_events
    a_backlog_of_megabytes_arrives
    connections_cut_within_a_batch_lose_and_repeat_nothing
    a_wrong_token_is_refused_and_not_tried_again
    a_new_connection_carries_only_what_is_missing
    ten_thousand_live_events_of_theirs_are_stored_and_confirmed
    ten_thousand_live_events_of_ours_are_stored_and_confirmed
    events_carry_a_subprotocol_other_than_the_connections
    headers_and_debug_texts_arrive
    the_opener_fixes_times_and_nobody_fixes_ids
}

/// The connection of `examples/web/long-poll-connection.js`.
mod their_long_poll_client {
    against! { V7 Client LongPoll:
        both_logs_hold_the_same_in_the_same_order
        each_side_catches_up_with_5000_events
        a_backlog_of_megabytes_arrives
        connections_cut_within_a_batch_lose_and_repeat_nothing
        a_wrong_token_is_refused_and_not_tried_again
        a_subprotocol_that_is_too_old_is_refused_and_not_tried_again
        a_new_connection_carries_only_what_is_missing
        ten_thousand_live_events_of_theirs_are_stored_and_confirmed
        ten_thousand_live_events_of_ours_are_stored_and_confirmed
    }
}

async fn both_logs_hold_the_same_in_the_same_order(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    let nodes = [theirs.our_id(), theirs.id(), "1:third", "1:Third", "ünï:third"];
    pair.add_crafted(nodes, 0..100).await;
    // Both bring events of other authors.
    let options = SyncOptions::new().auth(async |_| Access::relay());
    pair.connect(options, json!({})).await;
    pair.meet(100).await;
    pair.compare().await;

    pair.add_crafted(nodes, 100..200).await;
    pair.meet(200).await;
    pair.compare().await;

    // What is local to a log stays there, or is not believed.
    pair.log.add(Draft::new(event("rust", 0)).reason("ours").index("ours")).await.unwrap();
    pair.js.add([(event("js", 0), json!({ "reasons": ["theirs"], "indexes": ["theirs"] }))]).await;
    pair.meet(202).await;
    pair.compare().await;
    for (event, meta) in pair.js.wire().await.events("rust") {
        for key in ["added", "reasons", "indexes", "keepLast"] {
            assert!(meta.get(key).is_none(), "{event} was sent with {meta}");
        }
    }
    for entry in pair.log.entries_after(Added::ZERO, usize::MAX).await.unwrap() {
        let ours = entry.event == event("rust", 0);
        assert_eq!(
            (entry.meta.reasons.len(), entry.meta.indexes.len()),
            (ours.into(), ours.into())
        );
    }
}

async fn each_side_catches_up_with_5000_events(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..5_000).await;
    pair.add_theirs(0..5_000).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("rust").len(), 5_000);
}

async fn a_backlog_of_megabytes_arrives(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    let long = |kind, n| json!({ "type": kind, "n": n, "text": "x".repeat(1_000) });
    pair.log.add_batch((0..3_000).map(|n| long("rust", n))).await.unwrap();
    pair.js.add((0..3_000).map(|n| (long("js", n), json!({})))).await;
    pair.connect(SyncOptions::new().limits(Limits::default().frame(MAX_FRAME)), json!({})).await;
    pair.meet(6_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    if theirs.protocol == Protocol::V5 {
        let catch_up = wire.messages("sync", "js")[0].to_string();
        assert!(catch_up.len() > 3_000_000, "all in one message");
    }
    // A JavaScript node of protocol 5 has each event of a message on its stack.
    for sync in wire.messages("sync", "rust") {
        assert!(sync.as_array().unwrap().len() <= 2 + 2 * 1_000);
    }
}

async fn connections_cut_within_a_batch_lose_and_repeat_nothing(theirs: Theirs) {
    const CUTS: usize = 16;

    let mut random = Rng::with_seed(seed());
    let mut cut = |bytes| Cut { after: random.u64(bytes), reset: random.bool() };
    // The first ones, in the middle of the catch-up, which makes some 130,000 bytes.
    let mut plan = vec![cut(5_000..60_000), cut(5_000..60_000)];
    // The others anywhere, also before the WebSocket is open.
    plan.resize_with(CUTS, || cut(1..60_000));
    let mut pair = Pair::new(theirs, plan).await;
    pair.add_ours(0..1_000).await;
    pair.add_theirs(0..1_000).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    let mut count = 1_000;
    while pair.proxy.cuts() < CUTS {
        pair.add_ours(count..count + 3).await;
        pair.add_theirs(count..count + 3).await;
        count += 3;
    }
    pair.meet(2 * count).await;
    pair.compare().await;
}

async fn a_wrong_token_is_refused_and_not_tried_again(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..1).await;
    pair.add_theirs(0..1).await;
    match theirs.side {
        Side::Client => {
            let checks =
                SyncOptions::new().auth(async |login| login.credentials == Some("right".into()));
            pair.connect(checks, json!({ "token": "wrong" })).await;
            assert_eq!(pair.js.next("error").await, json!({ "type": "wrong-credentials" }));
            pair.js.wait("disconnected").await;
            assert_eq!(pair.js.status().await["reconnecting"], false);
            assert_eq!(pair.js.status().await["connections"], 1);
            assert_eq!(pair.log.last_added().value(), 1);

            let url = pair.url();
            pair.js.ask("client", json!({ "url": url, "token": "right" })).await;
        }
        Side::Server => {
            pair.connect(SyncOptions::new().credentials("wrong"), json!({ "token": "right" }))
                .await;
            let Some(Ours::Client(session)) = pair.ours.take() else { panic!() };
            let error = session.ended().await.unwrap_err();
            let refused = matches!(*error, Error::Received(ProtocolError::WrongCredentials));
            assert!(refused, "{error}");
            assert_eq!(pair.js.next("error").await, json!({ "type": "wrong-credentials" }));
            assert_eq!(pair.js.status().await["connections"], 1);
            assert_eq!(pair.log.last_added().value(), 1);

            pair.dial(SyncOptions::new().credentials("right"));
        }
    }
    pair.meet(2).await;
    pair.compare().await;
}

async fn a_subprotocol_that_is_too_old_is_refused_and_not_tried_again(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_theirs(0..1).await;
    let options = SyncOptions::new().min_subprotocol(Subprotocol::new(3, 0));
    pair.connect(options, json!({ "subprotocol": 2 })).await;
    let error = pair.js.next("error").await;
    assert_eq!(
        (&error["type"], &error["options"]["used"]),
        (&json!("wrong-subprotocol"), &json!(2))
    );
    pair.js.wait("disconnected").await;
    assert_eq!(pair.js.status().await["reconnecting"], false);
    assert_eq!(pair.js.status().await["connections"], 1);
    assert_eq!(pair.log.last_added().value(), 0);
}

async fn a_new_connection_carries_only_what_is_missing(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..200).await;
    pair.add_theirs(0..200).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(400).await;
    pair.disconnect().await;
    pair.js.wire().await;
    pair.add_ours(200..203).await;
    pair.add_theirs(200..203).await;
    pair.reconnect();
    pair.meet(406).await;
    pair.compare().await;

    let wire = pair.js.wire().await;
    let events =
        |from| -> Vec<_> { wire.events(from).iter().map(|(event, _)| (*event).clone()).collect() };
    let missing = |kind| -> Vec<_> { (200..203).map(|n| event(kind, n)).collect() };
    assert_eq!(events("rust"), missing("rust"));
    // The original sends back what it got over the connection before: it remembers only how far
    // its log was confirmed, not where an event came from.
    let (own, returned): (Vec<_>, Vec<_>) =
        events("js").into_iter().partition(|event| event["type"] == "js");
    assert_eq!(own, missing("js"));
    assert!(returned.iter().all(|event| event["n"].as_u64() < Some(200)), "{returned:?}");
}

async fn a_javascript_node_that_lost_its_log_gets_it_back(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.add_ours(0..150).await;
    pair.add_theirs(0..150).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(300).await;
    pair.disconnect().await;

    pair.js = theirs.start();
    // A minute later: one that forgets everything and is back at once could give an id twice.
    let later = pair.log.now().shifted(60_000).unwrap();
    let id = EventId::new(later, theirs.id().parse().unwrap());
    pair.js
        .add([(event("js", 150), json!({ "id": text(theirs.protocol, &id), "time": later }))])
        .await;
    pair.add_ours(150..151).await;
    match theirs.side {
        Side::Client => {
            let url = pair.url();
            pair.js.ask("client", json!({ "url": url })).await;
        }
        Side::Server => pair.target = pair.listen(json!({})).await,
    }
    pair.reconnect();
    pair.meet(302).await;
    // The two have them in other orders of adding now.
    pair.compare_contents().await;
}

async fn ten_thousand_live_events_of_theirs_are_stored_and_confirmed(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(0).await;
    pair.add_theirs(0..10_000).await;
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert_eq!(wire.messages("sync", "js").len(), 10_000);
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("rust"), [], "nothing goes back to where it came from");
}

async fn ten_thousand_live_events_of_ours_are_stored_and_confirmed(theirs: Theirs) {
    let mut pair = Pair::new(theirs, []).await;
    pair.connect(SyncOptions::new(), json!({})).await;
    pair.meet(0).await;
    for n in 0..10_000 {
        pair.log.add(event("rust", n)).await.unwrap();
    }
    pair.meet(10_000).await;
    pair.compare().await;
    let wire = pair.js.wire().await;
    assert_eq!(wire.events("rust").len(), 10_000);
    assert!(wire.is_confirmed());
    assert_eq!(wire.events("js"), [], "nothing goes back to where it came from");
}

async fn events_carry_a_subprotocol_other_than_the_connections(theirs: Theirs) {
    let version = |major| Subprotocol::new(major, 0);
    let mut pair = Pair::new(theirs, []).await;
    for (n, major) in [(0, None), (2, Some(2)), (3, Some(3))] {
        let draft = Draft::new(event("rust", n));
        let draft = match major {
            Some(major) => draft.subprotocol(version(major)),
            None => draft,
        };
        pair.log.add(draft).await.unwrap();
    }
    pair.js.add([(event("js", 0), json!({})), (event("js", 2), json!({ "subprotocol": 2 }))]).await;
    pair.connect(SyncOptions::new().subprotocol(version(3)), json!({ "subprotocol": 4 })).await;
    pair.meet(5).await;

    // Rust leaves the connection's out, and fills it in.
    assert_eq!(pair.js.status().await["remoteSubprotocol"], 3);
    let wire = pair.js.wire().await;
    let sent: Vec<_> =
        wire.events("rust").iter().map(|(_, meta)| meta.get("subprotocol")).collect();
    assert_eq!(sent, [None, Some(&json!(2)), None]);
    let entries = pair.log.entries_after(Added::ZERO, 10).await.unwrap();
    let received = entries.iter().filter(|entry| entry.event["type"] == "js");
    let received: Vec<_> = received.map(|entry| entry.meta.subprotocol).collect();
    assert_eq!(received, [Some(version(4)), Some(version(2))]);
    if let Some(Ours::Client(session)) = &pair.ours {
        assert_eq!(session.peer().unwrap().subprotocol, Some(version(4)));
    }
}

async fn headers_and_debug_texts_arrive(theirs: Theirs) {
    let headers =
        |text: &str| -> Headers { [("env".to_owned(), json!(text))].into_iter().collect() };
    let mut pair = Pair::new(theirs, []).await;
    let options = SyncOptions::new().headers(headers("rust"));
    let details = json!({ "headers": headers("js") });
    let session = match theirs.side {
        Side::Client => {
            // A listener of one's own, for `Server` has no sessions to ask.
            let mut listener = WebSocketListener::bind("127.0.0.1:0").await.unwrap();
            pair.proxy.lead_to(Some(listener.local_addr().unwrap()));
            pair.call(details).await;
            let link = listener.accept(&[logux_sync::format::<Json>()], MAX_FRAME).await.unwrap();
            ServerSync::new(&pair.log, Json, link).options(options).start()
        }
        Side::Server => {
            pair.connect(options, details).await;
            let Some(Ours::Client(session)) = pair.ours.take() else { panic!() };
            session
        }
    };
    let mut notices = session.notices();
    let Some(Notice::Headers(got)) = notices.next().await else { panic!() };
    assert_eq!(*got, headers("js"));
    assert_eq!(next_env(&mut pair.js).await, "rust");
    session.wait_for(State::Synchronized).await.unwrap();

    pair.js.ask("headers", json!({ "headers": headers("new js") })).await;
    let Some(Notice::Headers(got)) = notices.next().await else { panic!() };
    assert_eq!(*got, headers("new js"));
    session.set_headers(headers("new rust")).await;
    assert_eq!(next_env(&mut pair.js).await, "new rust");

    pair.js.ask("debug", json!({ "text": "from JavaScript" })).await;
    let Some(Notice::Debug(text)) = notices.next().await else { panic!() };
    assert_eq!(text, "from JavaScript");
    session.debug("from Rust").await;
    assert_eq!(pair.js.next("debug").await, "from Rust");
}

async fn the_opener_fixes_times_and_nobody_fixes_ids(theirs: Theirs) {
    const HOUR: i64 = 3_600_000;

    let mut pair = Pair::new(theirs, []).await;
    pair.js.ask("clock", json!({ "ahead": HOUR })).await;
    pair.add_ours(0..10).await;
    pair.add_theirs(0..10).await;
    pair.connect(
        SyncOptions::new().fix_time(true),
        json!({ "fixTime": matches!(theirs.side, Side::Client) }),
    )
    .await;
    pair.meet(20).await;
    pair.add_ours(10..20).await;
    pair.add_theirs(10..20).await;
    pair.meet(40).await;

    let log = pair.js.ask("log", json!({})).await;
    assert_eq!(log["errors"], json!([]));
    let theirs_by_id: HashMap<_, _> = log["created"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry[0].as_str().unwrap(), entry[1].as_i64().unwrap()))
        .collect();
    let ours = pair.log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    let fixes: HashSet<_> = ours
        .iter()
        .map(|entry| {
            let id = text(theirs.protocol, &entry.meta.id);
            theirs_by_id[&*id] - i64::try_from(entry.meta.time.value()).unwrap()
        })
        .collect();
    let [fix] = Vec::from_iter(fixes)[..] else { panic!("one connection has one fix") };
    // At the worst it is off by half of the way to the other side and back.
    assert!(fix.abs_diff(HOUR) < 1_000, "{fix}");
}

#[tokio::test]
#[ignore = "needs Node.js: tests/interop/run"]
async fn a_protocol_that_is_not_spoken_is_refused_and_told_which_one_is() {
    in_time(async {
        let theirs = Theirs { protocol: Protocol::V7, side: Side::Client, way: Way::WebSocket };
        let mut pair = Pair::new(theirs, []).await;
        pair.serve(SyncOptions::new()).await;
        for (used, supported) in [(4, 5), (6, 7)] {
            let message = json!(["connect", used, "10:old", 0]);
            let request = json!({ "url": pair.url(), "message": message });
            let mut answers = pair.js.ask("raw", request).await;
            let refusal =
                json!(["error", "wrong-protocol", { "supported": supported, "used": used }]);
            assert_eq!(answers.as_array_mut().unwrap().pop(), Some(refusal));
        }
    })
    .await;
}

/// The next header `env` that a JavaScript node was sent; there may be other headers.
async fn next_env(js: &mut Peer) -> Value {
    loop {
        let mut headers = js.next("headers").await;
        if let Some(env) = headers.get_mut("env") {
            return env.take();
        }
    }
}
