//! The checks of what makes links.

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};

use super::check::{Checked, Ends, MAX_FRAME, Pair, within};
use super::frames::{BINARY, FORMATS, bytes, receive, receive_to_the_end, send};
use crate::link::{Format, FrameReceiver, FrameSender, Listener, Transport};

/// Dials, and accepts.
pub(super) async fn connect<T: Transport, L: Listener>(
    transport: &mut T,
    listener: &mut L,
    format: Format,
) -> Checked<Ends> {
    let opening = async {
        let opened = transport.open(format, MAX_FRAME).await;
        opened.map_err(|error| format!("no link was opened: {error}"))
    };
    let accepting = async {
        let accepted = listener.accept(&FORMATS, MAX_FRAME).await;
        accepted.map_err(|error| format!("no link was accepted: {error}"))
    };
    // In a box: transports may need much to open a link, and users' tests should be small futures.
    let (near, far) = within(Box::pin(try_join(opening, accepting))).await??;
    for info in [&near.info, &far.info] {
        if info.format.is_some_and(|name| name != format.name) {
            return Err(format!("{} was asked for, and {:?} agreed on", format.name, info.format));
        }
    }
    Ok((near.boxed(), far.boxed()))
}

/// A link was closed, and then cut at either side: each time there is a new one.
pub(super) async fn a_lost_link_is_dialled_anew(pair: Pair<'_>) -> Checked {
    for number in 0..4 {
        let (mut near, mut far) = pair(BINARY).await?;
        let frames = [Bytes::from(format!("link {number}"))];
        try_join(send(&mut near.sender, &frames), receive(&mut far.receiver, &frames)).await?;
        try_join(send(&mut far.sender, &frames), receive(&mut near.receiver, &frames)).await?;
        match number {
            0 => {
                let closing = async {
                    let closed = near.sender.close().await;
                    closed.map_err(|error| format!("closing failed: {error}"))
                };
                let ended = receive_to_the_end(&mut far.receiver, &[]);
                let _ = within(try_join(closing, ended)).await??;
            }
            1 => drop(near),
            _ => drop(far),
        }
    }
    Ok(())
}

/// Thirty-two links at once, each with its own frames both ways.
pub(super) async fn many_links_are_open_at_once(pair: Pair<'_>) -> Checked {
    const LINKS: usize = 32;

    let mut links = Vec::new();
    for _ in 0..LINKS {
        links.push(pair(BINARY).await?);
    }
    // A listener may hand links out in another order than that of dialling: the first frame tells.
    let frames: Vec<Vec<Bytes>> = (0..LINKS).map(frames_of_link).collect();
    let talks = links.into_iter().enumerate().map(async |(number, (mut near, mut far))| {
        let answering = async {
            let first = match within(far.receiver.receive(MAX_FRAME)).await? {
                Ok(Some(first)) => first,
                other => return Err(format!("the link ended: {other:?}")),
            };
            let which = frames.iter().position(|frames| frames[0] == first);
            let which = which.ok_or("the first frame of a link is none of those sent first")?;
            receive(&mut far.receiver, &frames[which][1..]).await?;
            send(&mut far.sender, &frames[which]).await?;
            // Both ends of all links are there until the last one is done.
            Ok((which, far))
        };
        let asking = async {
            send(&mut near.sender, &frames[number]).await?;
            receive(&mut near.receiver, &frames[number]).await
        };
        let ((), (which, far)) = try_join(asking, answering).await?;
        Ok::<_, String>((which, near, far))
    });
    let mut answered: Vec<usize> =
        try_join_all(talks).await?.iter().map(|(which, ..)| *which).collect();
    answered.sort_unstable();
    if answered.into_iter().eq(0..LINKS) { Ok(()) } else { Err("two links are one".into()) }
}

fn frames_of_link(number: usize) -> Vec<Bytes> {
    (0..20).map(|frame| bytes(number * 1000 + frame, 10 + frame * 100)).collect()
}
