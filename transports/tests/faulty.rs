//! `Faulty` keeps the contract until it cuts, and does the same for the same seed.
#![cfg(feature = "conformance")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use logux_transports::{
    Faulty, FaultyReceiver, FaultySender, Format, FrameReceiver, FrameSender, Link, Listener,
    Memory, MemoryLink, Transport, conformance,
};
use tokio::time::{Instant, sleep};

const FORMAT: Format = Format { name: "json", media_type: "application/json", is_text: |_| true };
const MAX_FRAME: usize = 1 << 20;

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A link whose far end is not wrapped.
async fn open(
    faulty: impl FnOnce(Faulty<Memory>) -> Faulty<Memory>,
) -> (Link<FaultySender, FaultyReceiver>, MemoryLink) {
    let (memory, mut listener) = Memory::listen();
    let near = faulty(Faulty::new(memory)).open(FORMAT, MAX_FRAME).await.unwrap();
    (near, listener.accept(&[FORMAT], MAX_FRAME).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_with_and_without_delays() {
    let (memory, listener) = Memory::listen();
    conformance::transport(Faulty::new(memory), Faulty::new(listener)).await;

    let (memory, listener) = Memory::listen();
    let delay = Duration::ZERO..=milliseconds(50);
    let slow = Faulty::new(memory).seed(1).delay(delay.clone()).throttle(50 << 20);
    conformance::transport(slow, Faulty::new(listener).seed(2).delay(delay)).await;
}

#[tokio::test(start_paused = true)]
async fn frames_are_on_their_way_for_as_long_as_is_said_and_beside_each_other() {
    let (mut near, mut far) =
        open(|faulty| faulty.delay(milliseconds(30)..=milliseconds(40))).await;
    let start = Instant::now();
    for _ in 0..10 {
        near.sender.send("there".into()).await.unwrap();
        far.sender.send("back".into()).await.unwrap();
    }
    for _ in 0..10 {
        near.receiver.receive(MAX_FRAME).await.unwrap().unwrap();
        far.receiver.receive(MAX_FRAME).await.unwrap().unwrap();
    }
    let took = start.elapsed();
    assert!(took >= milliseconds(30) && took <= milliseconds(42), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_bytes_pass_than_are_said() {
    let (mut near, mut far) = open(|faulty| faulty.throttle(1000)).await;
    let start = Instant::now();
    let sending = async {
        for _ in 0..100 {
            near.sender.send(vec![0; 100].into()).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..100 {
            far.receiver.receive(MAX_FRAME).await.unwrap().unwrap();
        }
    };
    tokio::join!(sending, receiving);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_cut_loses_what_is_on_its_way_and_both_sides_learn_of_it() {
    let (mut near, mut far) =
        open(|faulty| faulty.delay(milliseconds(50)..=milliseconds(50)).cut(1.0)).await;
    near.sender.send("lost".into()).await.unwrap();
    assert!(near.sender.send("too late".into()).await.is_err());
    assert!(near.sender.flush().await.is_err());
    assert!(near.receiver.receive(MAX_FRAME).await.is_err());
    assert!(!matches!(far.receiver.receive(MAX_FRAME).await, Ok(Some(_))));
    while far.sender.send("to nobody".into()).await.is_ok() {
        sleep(milliseconds(1)).await;
    }
}

type History = Vec<(Duration, Bytes)>;

/// What arrives, and when.
async fn arrivals(mut receiver: impl FrameReceiver, start: Instant) -> History {
    let mut history = Vec::new();
    while let Ok(Some(frame)) = receiver.receive(MAX_FRAME).await {
        history.push((start.elapsed(), frame));
    }
    history
}

async fn send_until_the_cut(mut sender: impl FrameSender) {
    for number in 0.. {
        if sender.send(format!("{number}").into()).await.is_err() {
            return;
        }
        sleep(milliseconds(7)).await;
    }
}

/// All that happens on a link both ways.
async fn history(seed: u64) -> [History; 2] {
    let (near, far) =
        open(|faulty| faulty.seed(seed).delay(milliseconds(1)..=milliseconds(90)).cut(0.02)).await;
    let start = Instant::now();
    let (there, back, (), ()) = tokio::join!(
        arrivals(far.receiver, start),
        arrivals(near.receiver, start),
        send_until_the_cut(near.sender),
        send_until_the_cut(far.sender),
    );
    [there, back]
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_has_the_same_history() {
    let mut histories = BTreeSet::new();
    for seed in 0..50 {
        let history_of_seed = history(seed).await;
        assert_eq!(history_of_seed, history(seed).await, "seed {seed}");
        histories.insert(history_of_seed);
    }
    // Some links are cut before anything arrives.
    assert!(histories.len() > 30, "{} histories of 50 seeds", histories.len());
}
