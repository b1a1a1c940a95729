//! How much a client may send once it is let in. Time is paused, so rates are exact.

use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::transports::{FrameReceiver, FrameSender};
use logux_sync::{
    Access, Added, ClientSync, Error, Json, Log, Memory, Quota, RunningServer, Server, State,
    SyncOptions, Value,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{FAREWELL, Peer, add, held, log, milliseconds, options, quick, seconds, taking};

const DAY: Duration = seconds(24 * 60 * 60);

/// 10 events per second, and so many at once.
fn small() -> Quota {
    Quota::default().events(10).burst(seconds(1)).patience(DAY)
}

/// A server whose clients have this quota, are not asked whether they are there, and get nothing.
async fn server(quota: impl Into<Option<Quota>>) -> (Log<Value>, Memory, RunningServer) {
    serve(options().ping(None).auth(async |_| true).quota(quota)).await
}

async fn serve(options: SyncOptions<Value>) -> (Log<Value>, Memory, RunningServer) {
    let (log, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let options = options.out_filter(async |_, _| Ok(false));
    let server = Server::new(&log, Json, listener).options(options).start();
    (log, memory, server)
}

async fn let_in(memory: &Memory, name: &str) -> Peer {
    let mut peer = Peer::dial(memory).await;
    peer.send(&format!(r#"["connect",7,"{name}",0]"#)).await;
    assert!(peer.next().await.unwrap().starts_with(r#"["connected","#));
    peer
}

/// A `sync` of so many events, which the peer has not sent yet.
fn sync(number: usize, events: usize) -> String {
    let event = |n: usize| format!(r#",{{"n":{n}}},{{"id":"{n}","time":1}}"#);
    let first = number * events;
    let events: String = (first..first + events).map(|n| event(n + 1)).collect();
    format!(r#"["sync",{}{events}]"#, first + 1)
}

/// Sends one frame after the other as fast as they are taken, until the other side closes or this is aborted.
fn flood(peer: Peer, frame: impl Fn(usize) -> String + Send + Sync + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let link = peer.into_link();
        let (mut sender, mut receiver) = (link.sender, link.receiver);
        let reading = async { while let Ok(Some(_)) = receiver.receive(1 << 20).await {} };
        let writing = async {
            for number in 0.. {
                if sender.send(frame(number).into()).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    })
}

/// So many events of a node are in a log.
async fn count(log: &Log<Value>, node: &str) -> u64 {
    let entries = log.entries_after(Added::ZERO, usize::MAX).await.unwrap();
    entries.iter().filter(|entry| entry.meta.id.node().as_str() == node).count() as u64
}

/// Moments after so many seconds each, when all that was due has happened.
async fn each(step: u64, steps: u64, mut look: impl AsyncFnMut(u64)) {
    let start = Instant::now();
    for nth in 0..=steps {
        sleep_until(start + seconds(nth * step) + milliseconds(5)).await;
        look(nth * step).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_taken_at_once_and_the_rest_at_the_rate() {
    for size in [1, 10, 25, 100] {
        let (there, memory, _server) = server(small().burst(seconds(5))).await;
        let peer = let_in(&memory, "10:a").await;
        let _flood = flood(peer, move |number| sync(number, size));
        let size = size as u64;
        each(10, 6, async |time| {
            // A message is taken as long as those before it are within the quota.
            let messages = 1 + (50 + 10 * time) / size;
            let all = there.last_added().value();
            assert_eq!(all, size * messages, "{size} at once, after {time} s");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_gives_back_as_much_as_a_burst_and_no_more() {
    let (there, memory, _server) = server(small()).await;
    let mut peer = let_in(&memory, "10:a").await;
    peer.send(&sync(0, 11)).await;
    sleep(seconds(600)).await;
    let _flood = flood(peer, |number| sync(number + 11, 1));
    sleep(milliseconds(5)).await;
    assert_eq!(there.last_added().value(), 11 + 11);
}

#[tokio::test(start_paused = true)]
async fn a_few_large_events_are_bounded_by_their_bytes() {
    let quota = small().events(u64::MAX).bytes(10_000);
    let (_, memory, server) = server(quota).await;
    let peer = let_in(&memory, "10:a").await;
    let text = "x".repeat(20_000);
    let _flood = flood(peer, move |n| {
        let n = n + 1;
        format!(r#"["sync",{n},{{"text":"{text}"}},{{"id":"{n}","time":1}}]"#)
    });
    let session = server.sessions().pop().unwrap();
    each(20, 6, async |time| {
        let taken = session.diagnostics().other_synced.value();
        // A frame has some bytes more than its text.
        assert_eq!(taken, 1 + 10_000 * (1 + time) / 20_050, "after {time} s");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_event_is_bounded_by_its_bytes() {
    let text = "x".repeat(900);
    for frame in [
        format!(r#"["debug","error","{text}"]"#),
        format!(r#"["headers",{{"text":"{text}"}}]"#),
        r#"["ping",0]"#.to_owned(),
        r#"["pong",0]"#.to_owned(),
        r#"["ready",0]"#.to_owned(),
    ] {
        let (_, memory, server) = server(small().bytes(1_000)).await;
        let peer = let_in(&memory, "10:a").await;
        let session = server.sessions().pop().unwrap();
        let before = session.diagnostics().bytes_received;
        let size = frame.len() as u64;
        // The shortest message is work, too.
        let cost = size.max(64);
        let flood = flood(peer, move |_| frame.clone());
        each(10, 6, async |time| {
            // One frame more is taken, and one waits, 5 milliseconds later.
            let spent = (session.diagnostics().bytes_received - before) / size * cost;
            let expected = (1 + time) * 1_000 + 5;
            let expected = expected..=expected + 2 * cost;
            assert!(expected.contains(&spent), "{spent} of {cost} each after {time} s");
        })
        .await;
        flood.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_times_the_quota_of_a_node_and_its_nodes_share_it() {
    // A user who has as much as one node, one who has more, and nodes without a user.
    for (factor, of_each, names) in [
        (1, 305, ["10:a", "10:b"]),
        (0, 305, ["10:a", "10:b"]),
        (4, 611, ["10:a", "10:b:tab"]),
        (1, 611, ["10", "10:a"]),
        (1, 611, ["alice", "bob"]),
        (1, 611, ["1:a", "10:a"]),
    ] {
        let (there, memory, _server) = server(small().user_factor(factor)).await;
        let mut floods = Vec::new();
        for name in names {
            let peer = let_in(&memory, name).await;
            floods.push(flood(peer, |number| sync(number, 1)));
        }
        sleep(seconds(60) + milliseconds(5)).await;
        for name in names {
            let count = count(&there, name).await;
            // The first may have had what both may send at once.
            assert!((of_each - 8..=of_each + 8).contains(&count), "{count} of {name}, {factor}");
        }
        if of_each == 305 {
            assert_eq!(there.last_added().value(), 611);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn users_of_the_same_name_at_two_logs_share_nothing() {
    let (oak, _) = log("server:oak").await;
    let (elm, _) = log("server:elm").await;
    let logs = [oak.clone(), elm.clone()];
    let auth = options().ping(None).quota(small().user_factor(1)).auth(move |login| {
        let [oak, elm] = logs.clone();
        let log = if login.tab_id() == Some("oak") { oak } else { elm };
        std::future::ready(Access::client().log(log))
    });
    let (_, memory, _server) = serve(auth).await;
    for name in ["10:a:oak", "10:a:elm"] {
        let peer = let_in(&memory, name).await;
        drop(flood(peer, |number| sync(number, 1)));
    }
    sleep(seconds(60) + milliseconds(5)).await;
    assert_eq!((oak.last_added().value(), elm.last_added().value()), (611, 611));
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_a_user_have_their_turn() {
    let (there, memory, _server) = server(small().user_factor(1)).await;
    let names: Vec<String> = (0..20).map(|tab| format!("10:a:{tab}")).collect();
    for name in &names {
        let peer = let_in(&memory, name).await;
        drop(flood(peer, |number| sync(number, 1)));
    }
    sleep(seconds(60)).await;
    for name in &names {
        let count = count(&there, name).await;
        // One has had what all may send at once.
        assert!((28..=30 + 15).contains(&count), "{count} of {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_user_is_not_slowed_down() {
    let (there, memory, _server) = server(small()).await;
    for tab in 0..8 {
        let peer = let_in(&memory, &format!("10:a:{tab}")).await;
        drop(flood(peer, |number| sync(number, 100)));
    }
    let mut honest = let_in(&memory, "11:a").await;
    assert!(honest.next().await.unwrap().starts_with(r#"["ready","#));
    for n in 0..60 {
        sleep(seconds(1)).await;
        honest.send(&sync(n, 5)).await;
        let (time, confirmed) = taking(honest.next()).await;
        assert!(confirmed.unwrap().starts_with(r#"["synced","#));
        assert_eq!(time, milliseconds(0));
    }
    assert_eq!(count(&there, "11:a").await, 300);
    // The first messages, and then as much as a user may.
    let all = there.last_added().value() - 300;
    assert!(all <= 800 + 40 * 60, "{all}");
}

#[tokio::test(start_paused = true)]
async fn to_connect_again_does_not_help() {
    for other_names in [false, true] {
        let (there, memory, _server) = server(small()).await;
        let start = Instant::now();
        for nth in 0..600 {
            let name = if other_names { format!("10:a:{nth}") } else { "10:a".to_owned() };
            let peer = let_in(&memory, &name).await;
            let flood = flood(peer, move |number| sync(nth * 1_000 + number, 1));
            sleep(milliseconds(100)).await;
            flood.abort();
        }
        let factor = if other_names { 4 } else { 1 };
        let most = factor * (10 + u64::try_from(start.elapsed().as_millis()).unwrap() / 100) + 1;
        let all = there.last_added().value();
        assert!(all <= most, "{all}, and {most} at most");
        // It is no punishment, either.
        assert!(all >= most * 9 / 10, "{all} of {most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_not_a_message_is_paid_for_by_the_client_that_comes_back() {
    let (there, memory, _server) = server(small().bytes(1_000)).await;
    let mut peer = let_in(&memory, "10:a").await;
    peer.send(&"x".repeat(20_000)).await;
    assert!(peer.rest().await.pop().unwrap().starts_with(r#"["error","wrong-format""#));
    let start = Instant::now();
    let mut peer = let_in(&memory, "10:a").await;
    assert_eq!(peer.next().await.unwrap(), r#"["ready",0]"#);
    peer.send(&sync(0, 1)).await;
    assert!(peer.next().await.unwrap().starts_with(r#"["synced","#));
    assert!((seconds(19)..=seconds(20)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(there.last_added().value(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_all_of_the_patience_comes_an_error_and_all_arrives_in_the_end() {
    let (here, _) = log("10:client").await;
    let (there, memory, server) = server(small().patience(seconds(20))).await;
    add(&here, 0..1_000).await;
    let options = options().batch(20);
    let start = Instant::now();
    let client = ClientSync::new(&here, Json, quick(memory)).options(options).start();
    let mut errors = client.errors();
    while server.sessions().is_empty() {
        sleep(milliseconds(1)).await;
    }
    let at_server = server.sessions().pop().unwrap().errors().next().await.unwrap();
    let Error::QuotaExceeded(quota) = &*at_server else { panic!("{at_server}") };
    assert_eq!(*quota, small().patience(seconds(20)));
    assert!(at_server.is_transient());
    assert!(at_server.to_string().contains("10 events or 1048576 bytes"), "{at_server}");
    let error = errors.next().await.unwrap();
    assert!((seconds(20)..=milliseconds(20_005)).contains(&start.elapsed()));
    let Error::Received(told) = &*error else { panic!("{error}") };
    assert!(error.is_transient());
    assert_eq!(told.kind(), "quota-exceeded");
    let text = "send at most 10 events and 1048576 bytes per second, and 4 times that with all nodes of the \
                user; more came for 20 seconds";
    assert_eq!(told.to_string(), format!("quota-exceeded: {text}"));
    let (_, ended) = taking(client.wait_for(State::Synchronized)).await;
    ended.unwrap();
    // No faster than the quota, and what was lost by the cuts is made up by the burst.
    let time = start.elapsed();
    assert!((seconds(97)..seconds(105)).contains(&time), "{time:?}");
    assert_eq!(held(&there).await, (0..1_000).collect::<Vec<_>>());
    let connections = client.diagnostics().connections;
    assert!((4..=6).contains(&connections), "{connections}");
}

#[tokio::test(start_paused = true)]
async fn all_arrives_where_one_message_takes_longer_than_the_patience_and_attempts_are_few() {
    let (here, _) = log("10:client").await;
    let (there, memory, _server) = server(small().patience(seconds(4))).await;
    add(&here, 0..500).await;
    let start = Instant::now();
    let client = ClientSync::new(&here, Json, quick(memory)).start();
    let (_, ended) = taking(client.wait_for(State::Synchronized)).await;
    ended.unwrap();
    let time = start.elapsed();
    assert!((seconds(39)..seconds(50)).contains(&time), "{time:?}");
    assert_eq!(held(&there).await, (0..500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gets_something_through_each_time_does_not_run_out_of_attempts() {
    let (here, _) = log("10:client").await;
    let (there, memory, _server) = server(small().patience(seconds(20))).await;
    add(&here, 0..2_000).await;
    let transport = quick(memory).attempts(1);
    let client = ClientSync::new(&here, Json, transport).options(options().batch(20)).start();
    taking(client.wait_for(State::Synchronized)).await.1.unwrap();
    assert_eq!(held(&there).await.len(), 2_000);
    assert!(client.diagnostics().connections > 5);
}

#[tokio::test(start_paused = true)]
async fn one_that_makes_pauses_is_never_told_off() {
    let (there, memory, server) = server(small().patience(seconds(20))).await;
    let mut peer = let_in(&memory, "10:a").await;
    assert_eq!(peer.next().await.unwrap(), r#"["ready",0]"#);
    for n in 0..20 {
        // It is slowed down for 9 seconds, and says nothing for some more.
        for part in 0..2 {
            peer.send(&sync(2 * n + part, 100)).await;
            assert!(peer.next().await.unwrap().starts_with(r#"["synced","#));
        }
        sleep(milliseconds(10_001)).await;
    }
    assert_eq!(there.last_added().value(), 4_000);
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slowed_down_is_not_silent_on_either_side() {
    let (here, _) = log("10:client").await;
    let auth = options().auth(async |_| true).quota(small().events(2));
    let (there, memory, server) = serve(auth.timeout(seconds(5)).ping(seconds(5))).await;
    let client = ClientSync::new(&here, Json, quick(memory)).options(options().batch(100)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    // Three messages, each of which takes 50 seconds.
    add(&here, 0..300).await;
    let (time, synchronized) = taking(client.wait_for(State::Synchronized)).await;
    synchronized.unwrap();
    assert!((seconds(98)..seconds(100)).contains(&time), "{time:?}");
    // Nor while it waits to be read again, with nothing to say.
    sleep(seconds(120)).await;
    assert_eq!((client.diagnostics().connections, server.connections()), (1, 1));
    assert_eq!(there.last_added().value(), 300);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_has_its_time_once_it_is_read() {
    let auth = options().auth(async |_| true).quota(small());
    let (_, memory, server) = serve(auth.timeout(seconds(5)).ping(seconds(5))).await;
    let mut peer = let_in(&memory, "10:a").await;
    peer.send(&sync(0, 310)).await;
    sleep(milliseconds(5)).await;
    drop(peer);
    let start = Instant::now();
    let mut peer = let_in(&memory, "10:a").await;
    // A question before does no harm.
    server.sessions().pop().unwrap().reconnect_now().await;
    let frames = peer.rest().await;
    assert_eq!(frames.iter().filter(|frame| frame.starts_with(r#"["ping","#)).count(), 1);
    let time = start.elapsed();
    assert!((milliseconds(34_990)..=milliseconds(35_010)).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slowed_down_still_gets_what_others_send() {
    let (here, _) = log("10:client").await;
    let (there, _) = log("server").await;
    let (memory, listener) = Memory::listen();
    let options = options().auth(async |_| true).quota(small());
    let _server = Server::new(&there, Json, listener).options(options).start();
    let client = ClientSync::new(&here, Json, quick(memory)).start();
    client.wait_for(State::Synchronized).await.unwrap();
    add(&here, 1_000..1_500).await;
    sleep(seconds(5)).await;
    for n in 0..5 {
        add(&there, n..n + 1).await;
        sleep(milliseconds(1)).await;
        assert_eq!(held(&here).await.iter().filter(|n| **n < 1_000).count() as u64, n + 1);
    }
    assert_eq!(client.diagnostics().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slowed_down_is_closed_at_once() {
    for way in 0..4 {
        let (here, _) = log("10:client").await;
        let (there, memory, server) = server(small().events(1)).await;
        let client = ClientSync::new(&here, Json, memory).start();
        client.wait_for(State::Synchronized).await.unwrap();
        add(&here, 0..300).await;
        sleep(seconds(1)).await;
        assert_eq!(there.last_added().value(), 100, "it waits");
        let (time, ()) = taking(async {
            match way {
                0 => client.close().await.unwrap(),
                1 => assert_eq!(server.shutdown(seconds(60)).await.closed, 1),
                2 => {
                    let session = server.sessions().pop().unwrap();
                    session.close_with("enough").await.unwrap();
                    client.ended().await.unwrap_err();
                }
                _ => {
                    assert_eq!(server.close_user("10", "enough"), 1);
                    client.ended().await.unwrap_err();
                }
            }
        })
        .await;
        // The server does not read that the client ends.
        assert_eq!(time, if way == 0 { FAREWELL } else { milliseconds(0) }, "{way}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_trusted_has_no_quota() {
    let tiny = || options().quota(small().events(1).bytes(1));
    for options in
        [tiny(), tiny().auth(async |_| Access::relay()), tiny().auth(async |_| true).quota(None)]
    {
        let (here, _) = log("10:client").await;
        let (there, memory, _server) = serve(options).await;
        add(&here, 0..5_000).await;
        let client = ClientSync::new(&here, Json, memory).start();
        let (time, synchronized) = taking(client.wait_for(State::Synchronized)).await;
        synchronized.unwrap();
        assert_eq!((there.last_added().value(), time), (5_000, milliseconds(0)));
    }
    // A node that this one has dialled.
    for access in [Access::client(), Access::relay(), true.into()] {
        let (here, _) = log("10:client").await;
        let (there, memory, _server) = server(None).await;
        let client_options = tiny().auth(move |_| std::future::ready(access.clone()));
        let (memory_there, listener) = Memory::listen();
        drop((there, memory));
        let (there, _) = log("server").await;
        let _server = Server::new(&there, Json, listener).start();
        add(&there, 0..5_000).await;
        let client = ClientSync::new(&here, Json, memory_there).options(client_options).start();
        let (time, synchronized) = taking(client.wait_for(State::Synchronized)).await;
        synchronized.unwrap();
        assert_eq!((here.last_added().value(), time), (5_000, milliseconds(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_honest_client_never_meets_the_default() {
    for access in [true.into(), Access::client()] {
        let (there, memory, _server) =
            serve(options().auth(move |_| std::future::ready(access.clone()))).await;
        let (here, _) = log("10:client").await;
        add(&here, 0..10_000).await;
        // What goes beyond a quota is at most one message.
        let client = ClientSync::new(&here, Json, memory.clone()).options(options().batch(100));
        let client = client.start();
        let (time, synchronized) = taking(client.wait_for(State::Synchronized)).await;
        synchronized.unwrap();
        assert_eq!(time, milliseconds(0));
        // One that floods meets it.
        add(&here, 10_000..12_000).await;
        let (time, synchronized) = taking(client.wait_for(State::Synchronized)).await;
        synchronized.unwrap();
        assert!((milliseconds(1_800)..=seconds(2)).contains(&time), "{time:?}");
        assert_eq!(there.last_added().value(), 12_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_may_be_as_large_or_as_small_as_its_numbers() {
    let most = Quota::default()
        .events(u64::MAX)
        .bytes(u64::MAX)
        .burst(Duration::MAX)
        .user_factor(u64::MAX)
        .patience(Duration::MAX);
    let none = most.events(0).bytes(0).burst(Duration::ZERO).user_factor(0);
    for (quota, count) in [(most, 1_000), (none, 100)] {
        let (here, _) = log("10:client").await;
        let (there, memory, server) = server(quota).await;
        add(&here, 0..1_000).await;
        let _client = ClientSync::new(&here, Json, quick(memory)).start();
        sleep(seconds(10)).await;
        // Of the smallest, bytes come back at one per second, and headers were first.
        let all = there.last_added().value();
        assert!(all == count || all == 0 && count == 100, "{all}");
        server.shutdown(seconds(5)).await;
    }
}
