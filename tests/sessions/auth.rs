//! Who is let in, from the public API, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use logux_sync::{
    Access, BaseSync, CallbackError, ClientSync, Error, Headers, Log, Login, MemoryStore,
    ProtocolError, Reconnect, RefusalLimit, Role, Server, ServerSync, Session, State, Subprotocol,
    SyncOptions, Value,
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cells::Cell;
use crate::scripted::Peer;

on_every_cell! {
    credentials_are_any_value,
    credentials_are_made_anew_for_each_connection,
    credentials_that_cannot_be_made_are_tried_again,
    credentials_whose_making_panics_are_an_error,
    auth_is_told_who_it_is,
    nothing_is_read_while_auth_runs,
    auth_has_a_time_limit_and_is_dropped_then,
    who_is_refused_too_often_is_not_asked_for_a_while,
    limits_on_refusals_can_be_set_and_taken_away,
    who_was_let_in_is_not_counted,
    tokens_are_compared_whole,
    old_applications_are_refused_before_they_are_asked,
    a_refused_version_is_final_for_the_client,
    auth_refuses_a_version_and_counts_no_attempt,
    a_check_of_versions_that_panics_ends_its_own_session,
    a_refused_client_gives_up_but_a_blocked_one_dials_again,
    a_blocked_client_gets_in_once_the_block_is_over,
    guesses_at_the_same_time_are_counted_too,
    tabs_that_connect_at_once_are_no_guesses,
    who_leaves_or_meets_a_panic_was_not_refused,
    a_page_of_another_host_is_let_in_by_auth_only,
    who_cannot_be_asked_about_is_not_refused,
}

async fn log(node: &str) -> Log<Value> {
    Log::open(node.parse().unwrap(), MemoryStore::new()).await.unwrap()
}

fn quick<T>(transport: T) -> Reconnect<T> {
    Reconnect::new(transport).max_delay(Duration::from_secs(1)).seed(1)
}

fn ok() -> SyncOptions<Value> {
    SyncOptions::new()
}

/// What a session answers to this `connect`, up to its `connected` or its refusal.
async fn answer<C: Cell>(
    log: &Log<Value>,
    options: &SyncOptions<Value>,
    connect: &str,
) -> Option<String> {
    answer_page::<C>(log, options, connect, false).await
}

/// The same, if the link is one of a page of another host.
async fn answer_page<C: Cell>(
    log: &Log<Value>,
    options: &SyncOptions<Value>,
    connect: &str,
    is_foreign_page: bool,
) -> Option<String> {
    let (mut near, far) = C::pair().await;
    near.info.is_foreign_page = is_foreign_page;
    let session = ServerSync::new(log, C::CODEC, near).options(options.clone()).start();
    let mut client = Peer::new::<C>(far);
    client.send(connect).await;
    let frame = client.next().await;
    client.hang_up().await;
    let _ = session.ended().await;
    frame
}

fn is_connected(frame: Option<&str>) -> bool {
    frame.is_some_and(|frame| frame.starts_with(r#"["connected",7,"server","#))
}

/// Counts how often it is asked, and takes only the text `right`.
fn counted(asked: &Arc<AtomicUsize>) -> SyncOptions<Value> {
    let asked = Arc::clone(asked);
    SyncOptions::new().auth(move |login| {
        asked.fetch_add(1, Ordering::Relaxed);
        async move { login.token_is("right") }
    })
}

fn connect(node: &str, token: &str) -> String {
    json!(["connect", 7, node, 0, { "token": token }]).to_string()
}

const BRUTEFORCE: &str = r#"["error","bruteforce"]"#;
const WRONG: &str = r#"["error","wrong-credentials"]"#;

async fn credentials_are_any_value<C: Cell>() {
    let values = [
        json!("text"),
        json!(""),
        json!(17),
        json!(-1.5),
        json!(true),
        json!({ "user": 10, "rights": ["read", null] }),
        json!([1, "two", [3]]),
    ];
    for value in values {
        let (client_log, server_log) = (log("10:uuid").await, log("server").await);
        let seen = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&seen);
        let (near, far) = C::pair().await;
        let _server = ServerSync::new(&server_log, C::CODEC, near)
            .options(ok().auth(move |login| {
                *noted.lock().unwrap() = login.credentials;
                async { true }
            }))
            .start();
        let client = BaseSync::new(&client_log, C::CODEC, Role::Opener, far)
            .options(ok().credentials(value.clone()))
            .start();
        client.wait_for(State::Synchronized).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), Some(value));
    }
}

async fn credentials_are_made_anew_for_each_connection<C: Cell>() {
    let log = log("client").await;
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport))
        .options(ok().credentials_with(move || {
            let n = count.fetch_add(1, Ordering::Relaxed);
            async move {
                sleep(Duration::from_millis(10)).await;
                Ok(json!(format!("token {n}")))
            }
        }))
        .start();
    for n in 0..3 {
        let mut server = Peer::accept::<C>(&mut listener).await;
        let expected = json!(["connect", 7, "client", 0, { "token": format!("token {n}") }]);
        assert_eq!(server.next().await.unwrap(), expected.to_string());
    }
    client.close().await.unwrap();
    let made = made.load(Ordering::Relaxed);
    assert!(made == 3 || made == 4, "{made} for 3 connections");
}

async fn credentials_that_cannot_be_made_are_tried_again<C: Cell>() {
    let log = log("client").await;
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let options = ok().credentials_with(move || {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match n {
                0 | 1 => Err::<Value, CallbackError>("no token today".into()),
                _ => Ok("late".into()),
            }
        }
    });
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport)).options(options.clone()).start();
    let mut errors = client.errors();
    for _ in 0..2 {
        let error = errors.next().await.unwrap();
        assert!(matches!(*error, Error::Credentials(_)), "{error}");
        assert!(error.is_transient());
        let cause = std::error::Error::source(&*error).unwrap();
        assert_eq!(cause.to_string(), "no token today");
    }
    let mut server = Peer::accept::<C>(&mut listener).await;
    let frame = server.next().await.unwrap();
    assert_eq!(frame, r#"["connect",7,"client",0,{"token":"late"}]"#);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    assert_eq!(client.diagnostics().connections, 1, "nothing was dialled without a token");

    // Without a transport that dials again it is the end.
    tries.store(0, Ordering::Relaxed);
    let (transport, _listener) = C::listen();
    let error = ClientSync::new(&log, C::CODEC, transport).options(options).start().ended().await;
    assert!(matches!(*error.unwrap_err(), Error::Credentials(_)));
}

async fn credentials_whose_making_panics_are_an_error<C: Cell>() {
    let log = log("client").await;
    let (transport, _listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, transport)
        .options(ok().credentials_with(async || panic!("a bug of the user's")))
        .start();
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Credentials(_) | Error::Callback { .. }), "{error}");
}

async fn auth_is_told_who_it_is<C: Cell>() {
    let server_log = log("server").await;
    let seen = Arc::new(Mutex::new(None::<Login>));
    let noted = Arc::clone(&seen);
    let (near, far) = C::pair().await;
    let _server = ServerSync::new(&server_log, C::CODEC, near)
        .options(ok().auth(move |login| {
            *noted.lock().unwrap() = Some(login);
            async { true }
        }))
        .start();
    let mut client = Peer::new::<C>(far);
    let epoch = r#"["headers",{"log-epoch":"0123456789abcdef","lang":"de"}]"#;
    client.send(epoch).await;
    client.send(r#"["connect",7,"10:client:uuid",0,{"token":{"a":1},"subprotocol":[2,5]}]"#).await;
    assert!(is_connected(client.next().await.as_deref()));
    let login = seen.lock().unwrap().take().unwrap();
    assert_eq!(login.node_id, "10:client:uuid".parse().unwrap());
    assert_eq!(login.credentials, Some(json!({ "a": 1 })));
    assert_eq!(login.subprotocol, Some(Subprotocol::new(2, 5)));
    let expected: Headers = [("lang".to_owned(), json!("de"))].into_iter().collect();
    assert_eq!(*login.headers, expected, "the log's identity is between the nodes");
    assert_eq!(login.link.address, None);
}

async fn nothing_is_read_while_auth_runs<C: Cell>() {
    let log = log("server").await;
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near)
        .options(ok().auth(async |_| {
            sleep(Duration::from_secs(9)).await;
            true
        }))
        .start();
    let mut client = Peer::new::<C>(far);
    let connect = r#"["connect",7,"client",0]"#;
    client.send(connect).await;
    client.send(r#"["sync",1,{"n":1},{"id":"1","time":1}]"#).await;
    assert!(timeout(Duration::from_secs(8), client.next()).await.is_err());
    assert_eq!(server.diagnostics().bytes_received, client.frame(connect).len() as u64);
    assert_eq!(log.last_added().value(), 0);
    // It is read once the peer is let in.
    assert!(is_connected(client.next().await.as_deref()));
    assert_eq!(client.next().await.unwrap(), r#"["ready",0]"#);
    assert_eq!(client.next().await.unwrap(), r#"["synced",1]"#);
}

async fn auth_has_a_time_limit_and_is_dropped_then<C: Cell>() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let log = log("server").await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let options = ok().timeout(Duration::from_secs(5)).auth(move |_| {
        let guard = Dropped(Arc::clone(&count));
        async move {
            let _guard = guard;
            std::future::pending::<bool>().await
        }
    });
    let start = Instant::now();
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near).options(options.clone()).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",0]"#).await;
    assert_eq!(client.next().await, None);
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    client.hang_up().await;
    let error = server.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Silent(_)), "{error}");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);

    // Also when the session ends before.
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near).options(options).start();
    let mut client = Peer::new::<C>(far);
    client.send(r#"["connect",7,"client",0]"#).await;
    sleep(Duration::from_secs(1)).await;
    client.hang_up().await;
    server.close().await.unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

async fn who_is_refused_too_often_is_not_asked_for_a_while<C: Cell>() {
    let log = log("server").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let options = counted(&asked);
    for n in 1..=3 {
        // All nodes of a user count together.
        let node = format!("10:{n}");
        assert_eq!(answer::<C>(&log, &options, &connect(&node, "wrong")).await.unwrap(), WRONG);
        assert_eq!(asked.load(Ordering::Relaxed), n);
    }
    for token in ["wrong", "right"] {
        let refused = answer::<C>(&log, &options, &connect("10:4", token)).await;
        assert_eq!(refused.unwrap(), BRUTEFORCE);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "nobody was asked");
    assert!(is_connected(answer::<C>(&log, &options, &connect("11:1", "right")).await.as_deref()));
    assert_eq!(asked.load(Ordering::Relaxed), 4, "another user is");
    sleep(Duration::from_millis(2900)).await;
    assert_eq!(answer::<C>(&log, &options, &connect("10:4", "right")).await.unwrap(), BRUTEFORCE);
    sleep(Duration::from_millis(101)).await;
    assert!(is_connected(answer::<C>(&log, &options, &connect("10:4", "right")).await.as_deref()));
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

async fn limits_on_refusals_can_be_set_and_taken_away<C: Cell>() {
    let log = log("server").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let options = counted(&asked).bruteforce(RefusalLimit::new(1, Duration::from_secs(60)));
    assert_eq!(answer::<C>(&log, &options, &connect("10:1", "wrong")).await.unwrap(), WRONG);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(answer::<C>(&log, &options, &connect("10:1", "right")).await.unwrap(), BRUTEFORCE);
    sleep(Duration::from_secs(2)).await;
    assert!(is_connected(answer::<C>(&log, &options, &connect("10:1", "right")).await.as_deref()));

    asked.store(0, Ordering::Relaxed);
    let options = counted(&asked).bruteforce(None);
    for _ in 0..50 {
        assert_eq!(answer::<C>(&log, &options, &connect("10:1", "wrong")).await.unwrap(), WRONG);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 50);
    assert!(is_connected(answer::<C>(&log, &options, &connect("10:1", "right")).await.as_deref()));
}

async fn who_was_let_in_is_not_counted<C: Cell>() {
    let log = log("server").await;
    let options = counted(&Arc::default());
    for _ in 0..10 {
        assert!(is_connected(
            answer::<C>(&log, &options, &connect("10:1", "right")).await.as_deref()
        ));
    }
}

async fn tokens_are_compared_whole<C: Cell>() {
    let log = log("server").await;
    let seen = Arc::new(Mutex::new(None::<Login>));
    let noted = Arc::clone(&seen);
    let options = ok().auth(move |login| {
        *noted.lock().unwrap() = Some(login);
        async { true }
    });
    let login = async |brought: Option<Value>| {
        let mut connect = json!(["connect", 7, "10:uuid", 0]);
        connect.as_array_mut().unwrap().extend(brought);
        answer::<C>(&log, &options, &connect.to_string()).await;
        seen.lock().unwrap().take().unwrap()
    };
    let text = login(Some(json!({ "token": "secret" }))).await;
    assert!(text.token_is("secret"));
    for other in ["", "secre", "secret2", "Secret", "tecret"] {
        assert!(!text.token_is(other), "{other}");
    }
    assert!(text.token_is_any_of(["old", "secret"]));
    assert!(text.token_is_any_of(["secret", "old"]));
    assert!(!text.token_is_any_of(["old", "older"]));
    assert!(!text.token_is_any_of([]));
    let empty = login(Some(json!({ "token": "" }))).await;
    assert!(empty.token_is("") && !empty.token_is("secret"));
    // What is no text is none of them, not even the empty one.
    for other in [Some(json!({ "token": 1 })), Some(json!({ "token": ["secret"] })), None] {
        let login = login(other.clone()).await;
        assert!(
            !login.token_is("") && !login.token_is("1") && !login.token_is("secret"),
            "{other:?}"
        );
    }
}

async fn old_applications_are_refused_before_they_are_asked<C: Cell>() {
    let log = log("server").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let options = counted(&asked).min_subprotocol(Subprotocol::new(3, 1));
    let with = |used: Option<Value>| {
        let mut options = json!({ "token": "wrong" });
        if let Some(used) = used {
            options["subprotocol"] = used;
        }
        json!(["connect", 7, "10:uuid", 0, options]).to_string()
    };
    for (used, shown) in [(json!(3), "3"), (json!([3, 0]), "3"), (json!([2, 9]), "[2,9]")] {
        let refused = answer::<C>(&log, &options, &with(Some(used))).await.unwrap();
        let expected =
            format!(r#"["error","wrong-subprotocol",{{"supported":">= 3.1","used":{shown}}}]"#);
        assert_eq!(refused, expected);
    }
    let refused = answer::<C>(&log, &options, &with(None)).await.unwrap();
    let expected = r#"["error","wrong-subprotocol",{"supported":">= 3.1","used":null}]"#;
    assert_eq!(refused, expected);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    for used in [json!([3, 1]), json!([3, 10]), json!(4)] {
        // Let through to `auth`, which refuses the token.
        let node = format!("{}:uuid", 20 + asked.load(Ordering::Relaxed));
        let connect = with(Some(used)).replace("10:uuid", &node);
        assert_eq!(answer::<C>(&log, &options, &connect).await.unwrap(), WRONG);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

async fn a_refused_version_is_final_for_the_client<C: Cell>() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener)
        .options(ok().min_subprotocol(Subprotocol::new(2, 0)))
        .start();
    let old = ClientSync::new(&client_log, C::CODEC, quick(transport.clone()))
        .options(ok().subprotocol(Subprotocol::new(1, 4)))
        .start();
    let status = old.handle();
    let error = old.ended().await.unwrap_err();
    let Error::Received(ProtocolError::WrongSubprotocol { supported, used }) = &*error else {
        panic!("{error}");
    };
    assert_eq!((supported, used), (&json!(">= 2.0"), &json!([1, 4])));
    assert!(!error.is_transient());
    assert_eq!(status.diagnostics().connections, 1);
    let new = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(ok().subprotocol(Subprotocol::new(2, 0)))
        .start();
    new.wait_for(State::Synchronized).await.unwrap();
}

async fn auth_refuses_a_version_and_counts_no_attempt<C: Cell>() {
    let log = log("server").await;
    let options = SyncOptions::new().auth(async |login| match login.subprotocol {
        Some(Subprotocol { major: 2.., .. }) => Access::client(),
        _ => Access::other_subprotocol(">= 2"),
    });
    let with = |used: u32| json!(["connect", 7, "10:uuid", 0, { "subprotocol": used }]).to_string();
    for _ in 0..5 {
        let refused = answer::<C>(&log, &options, &with(1)).await.unwrap();
        let expected = r#"["error","wrong-subprotocol",{"supported":">= 2","used":1}]"#;
        assert_eq!(refused, expected);
    }
    assert!(is_connected(answer::<C>(&log, &options, &with(2)).await.as_deref()));
}

async fn a_check_of_versions_that_panics_ends_its_own_session<C: Cell>() {
    let log = log("server").await;
    let options = ok().subprotocol_check(|used| {
        assert_ne!(used, Some(Subprotocol::new(13, 0)), "a bug of the user's");
        Ok(())
    });
    let (near, far) = C::pair().await;
    let server = ServerSync::new(&log, C::CODEC, near).options(options.clone()).start();
    let mut bad = Peer::new::<C>(far);
    bad.send(r#"["connect",7,"bad",0,{"subprotocol":13}]"#).await;
    let told = r#"["error","callback-failed","subprotocol_check"]"#;
    assert_eq!(bad.next().await.as_deref(), Some(told));
    assert_eq!(bad.next().await, None);
    bad.hang_up().await;
    let error = server.ended().await.unwrap_err();
    let Error::Callback { name, .. } = &*error else { panic!("{error}") };
    assert_eq!(*name, "subprotocol_check");
    assert!(!error.is_transient());

    let (transport, listener) = C::listen();
    let _server = Server::new(&log, C::CODEC, listener).options(options).start();
    let mut bad = Peer::dial::<C>(&transport).await;
    bad.send(r#"["connect",7,"bad",0,{"subprotocol":13}]"#).await;
    let told = r#"["error","callback-failed","subprotocol_check"]"#;
    assert_eq!(bad.next().await.as_deref(), Some(told));
    assert_eq!(bad.next().await, None);
    let mut good = Peer::dial::<C>(&transport).await;
    good.send(r#"["connect",7,"good",0,{"subprotocol":14}]"#).await;
    assert!(is_connected(good.next().await.as_deref()));
}

/// A client that a scripted server refuses, and what dials next within an hour.
async fn refused<C: Cell>(error: &str) -> (Session, Option<Peer>) {
    let log = log("client").await;
    let (transport, mut listener) = C::listen();
    let client = ClientSync::new(&log, C::CODEC, quick(transport.clone())).start();
    let mut server = Peer::accept::<C>(&mut listener).await;
    server.next().await.unwrap();
    server.send(error).await;
    server.hang_up().await;
    let again = timeout(Duration::from_secs(60 * 60), Peer::accept::<C>(&mut listener)).await;
    (client, again.ok())
}

async fn a_refused_client_gives_up_but_a_blocked_one_dials_again<C: Cell>() {
    let (client, again) = refused::<C>(WRONG).await;
    assert!(again.is_none());
    let error = client.ended().await.unwrap_err();
    assert!(matches!(*error, Error::Received(ProtocolError::WrongCredentials)), "{error}");

    let (client, again) = refused::<C>(BRUTEFORCE).await;
    assert_eq!(again.unwrap().next().await.unwrap(), r#"["connect",7,"client",0]"#);
    client.close().await.unwrap();
}

async fn a_blocked_client_gets_in_once_the_block_is_over<C: Cell>() {
    let (client_log, server_log) = (log("10:uuid").await, log("server").await);
    let asked = Arc::new(AtomicUsize::new(0));
    let options = counted(&asked);
    for _ in 0..3 {
        answer::<C>(&server_log, &options, &connect("10:other", "wrong")).await;
    }
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let start = Instant::now();
    let client = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(ok().credentials("right"))
        .start();
    let mut errors = client.errors();
    let error = errors.next().await.unwrap();
    assert!(matches!(*error, Error::Received(ProtocolError::Bruteforce)), "{error}");
    assert!(error.is_transient());
    client.wait_for(State::Synchronized).await.unwrap();
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

async fn guesses_at_the_same_time_are_counted_too<C: Cell>() {
    let log = log("server").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let options = ok().auth(move |login| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            // Looks it up somewhere.
            sleep(Duration::from_millis(100)).await;
            login.token_is("right")
        }
    });
    let guesses = (0..100).map(|n| {
        let (log, options) = (&log, &options);
        async move { answer::<C>(log, options, &connect("10:uuid", &format!("guess {n}"))).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let blocked = answers.iter().flatten().filter(|answer| *answer == BRUTEFORCE).count();
    assert_eq!((asked.load(Ordering::Relaxed), blocked), (3, 97));
}

/// Answers after a while, and panics where the token says so.
fn slow() -> SyncOptions<Value> {
    ok().auth(async |login| {
        sleep(Duration::from_millis(100)).await;
        assert!(!login.token_is("panic"), "a bug of the user's");
        login.token_is("right")
    })
}

async fn tabs_that_connect_at_once_are_no_guesses<C: Cell>() {
    let log = log("server").await;
    let options = slow();
    let tabs =
        (0..20).map(|tab| {
            let (log, options) = (&log, &options);
            async move {
                answer::<C>(log, options, &connect(&format!("10:client:{tab}"), "right")).await
            }
        });
    let answers = futures_util::future::join_all(tabs).await;
    assert!(answers.iter().all(|answer| is_connected(answer.as_deref())), "{answers:?}");
}

async fn who_leaves_or_meets_a_panic_was_not_refused<C: Cell>() {
    let log = log("server").await;
    let options = slow();
    for _ in 0..5 {
        answer::<C>(&log, &options, &connect("10:client", "panic")).await;
        let (near, far) = C::pair().await;
        let session = ServerSync::new(&log, C::CODEC, near).options(options.clone()).start();
        let mut client = Peer::new::<C>(far);
        client.send(&connect("10:client", "right")).await;
        sleep(Duration::from_millis(10)).await;
        drop(session);
    }
    let answered = answer::<C>(&log, &options, &connect("10:client", "right")).await;
    assert!(is_connected(answered.as_deref()), "{answered:?}");
}

/// Without a check of its peers, a server would let in whatever page a browser on its network visits.
async fn a_page_of_another_host_is_let_in_by_auth_only<C: Cell>() {
    let log = log("server").await;
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let page = async |options: &SyncOptions<Value>, token: &str| {
        answer_page::<C>(&log, options, &connect("10:page", token), true).await
    };
    let unchecked = ok();
    for _ in 0..20 {
        assert_eq!(page(&unchecked, "any").await.unwrap(), WRONG);
    }
    let told: Vec<_> = std::mem::take(&mut warnings.0.lock().unwrap());
    let told: Vec<_> = told.iter().filter(|text| text.contains("page")).collect();
    assert_eq!(told.len(), 1, "the operator is told once: {told:?}");
    assert!(told[0].contains("origins") && told[0].contains("auth"), "{told:?}");
    // Programs, and pages of the server's own, are not meant; nor are any where there is a check.
    assert!(is_connected(answer::<C>(&log, &unchecked, &connect("10:own", "")).await.as_deref()));
    let asked = Arc::new(AtomicUsize::new(0));
    let checked = counted(&asked);
    assert!(is_connected(page(&checked, "right").await.as_deref()));
    assert_eq!(page(&checked, "wrong").await.unwrap(), WRONG);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// The texts that a program's log has, of what it is warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut texts = Vec::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            texts.push(format!("{field}={value:?}"));
        });
        self.0.lock().unwrap().push(texts.join(" "));
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

async fn who_cannot_be_asked_about_is_not_refused<C: Cell>() {
    let (server_log, client_log) = (log("server").await, log("10:client").await);
    let asked = Arc::new(AtomicUsize::new(0));
    let options = ok().auth(move |login| {
        let number = asked.fetch_add(1, Ordering::Relaxed);
        async move {
            // More often than wrong credentials may come.
            if number < 8 {
                return Err(CallbackError::from("the database is away"));
            }
            Ok(login.token_is("right"))
        }
    });
    let (near, far) = C::pair().await;
    let session = ServerSync::new(&server_log, C::CODEC, near).options(options.clone()).start();
    let mut client = Peer::new::<C>(far);
    client.send(&connect("10:client", "right")).await;
    let told = client.next().await.unwrap();
    assert!(told.contains("callback-failed") && !told.contains("database"), "{told}");
    let error = session.ended().await.unwrap_err();
    assert!(matches!(&*error, Error::Callback { name: "auth", .. }), "{error:?}");
    // A client comes again until there is an answer.
    let (transport, listener) = C::listen();
    let _server = Server::new(&server_log, C::CODEC, listener).options(options).start();
    let session = ClientSync::new(&client_log, C::CODEC, quick(transport))
        .options(ok().credentials("right"))
        .start();
    session.wait_for(State::Synchronized).await.unwrap();
}
