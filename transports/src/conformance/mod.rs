//! The test kit for transports: one call in a test runs the whole contract of a [`Link`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! use logux_transports::{Memory, conformance};
//!
//! let (memory, listener) = Memory::listen();
//! conformance::transport(memory, listener).await;
//! # }
//! ```
//!
//! Each check has the name of the line of the contract that it is for, and a link that breaks the
//! line makes it panic with that name. Time may be paused, unless the transport goes through the
//! operating system.
//!
//! The frames are what codecs make: texts, any bytes, and on one link either; with no byte, with so
//! many as the longest frame may have, and around the lengths that binary formats write in another way.

mod check;
mod frames;
mod link;
mod transport;

use tokio::sync::Mutex;

use crate::link::{Format, FrameReceiver, FrameSender, Link, Listener, Transport};
use check::{Pair, demand};
use frames::{BINARY, FORMATS, frames_of};

/// Checks a transport and the listener that it reaches: the links that they make, as [`link`] does,
/// that many can be open at once, and that a lost one can be dialled anew.
///
/// Takes some seconds with a transport that goes through the operating system, most of which are
/// waited for what must not happen.
pub async fn transport<T: Transport, L: Listener>(transport: T, listener: L) {
    let both = Mutex::new((transport, listener));
    check_transport(&|format| {
        let both = &both;
        Box::pin(async move {
            let (transport, listener) = &mut *both.lock().await;
            transport::connect(transport, listener, format).await
        })
    })
    .await;
}

/// Not generic, as all checks: they are compiled once for all transports.
async fn check_transport(pair: Pair<'_>) {
    let lost = transport::a_lost_link_is_dialled_anew(pair).await;
    demand("a_lost_link_is_dialled_anew", lost);
    check_link(pair).await;
    let many = transport::many_links_are_open_at_once(pair).await;
    demand("many_links_are_open_at_once", many);
}

/// Checks each line of the contract of a [`Link`], both ways. `pair` gives the two ends of a new
/// link for frames of a format of at most a MiB each time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # use logux_transports::{Memory, conformance};
/// conformance::link(async |_| Memory::pair()).await;
/// # }
/// ```
pub async fn link<S1, R1, S2, R2>(pair: impl AsyncFn(Format) -> (Link<S1, R1>, Link<S2, R2>))
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
{
    check_link(&|format| {
        let pair = &pair;
        Box::pin(async move {
            let (left, right) = pair(format).await;
            Ok((left.boxed(), right.boxed()))
        })
    })
    .await;
}

async fn check_link(pair: Pair<'_>) {
    let pair = async |format| demand("a_link_opens", pair(format).await);
    for format in FORMATS {
        let frames = frames_of(format);
        let (left, right) = pair(format).await;
        let arrived = link::frames_arrive_whole_and_in_order(left, right, &frames).await;
        demand("frames_arrive_whole_and_in_order", arrived);
    }
    macro_rules! check_both_ways {
        ($($check:ident)*) => { $(
            let (left, right) = pair(BINARY).await;
            demand(stringify!($check), link::$check(left, right).await);
            let (left, right) = pair(BINARY).await;
            demand(stringify!($check), link::$check(right, left).await);
        )* };
    }
    check_both_ways! {
        receiving_is_cancel_safe
        back_pressure_is_real
        closing_flushes
        a_cut_is_noticed
        a_cut_leaves_whole_frames
        too_long_a_frame_is_refused
        no_frame_is_lost_for_its_length
        a_half_sends_without_the_other
        a_half_receives_without_the_other
    }
}

/// Checks what happens when something between the two ends cuts a busy link: `pair` gives the ends
/// of a new link each time, and what cuts it.
///
/// [`link`] can cut one only by dropping an end. Who can unplug the cable of the transport, as a proxy
/// does that both ends go through, does it here.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use logux_transports::{conformance, framed};
/// use tokio::io::{copy_bidirectional, duplex};
/// use tokio_util::codec::{Framed, LengthDelimitedCodec};
///
/// conformance::cut(async |_| {
///     let [(left, mut near), (mut far, right)] = [duplex(4096), duplex(4096)];
///     let cable = tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
///     let link = |stream| framed(Framed::new(stream, LengthDelimitedCodec::new()));
///     (link(left), link(right), move || cable.abort())
/// })
/// .await;
/// # }
/// ```
pub async fn cut<S1, R1, S2, R2, C>(pair: impl AsyncFn(Format) -> (Link<S1, R1>, Link<S2, R2>, C))
where
    S1: FrameSender,
    R1: FrameReceiver,
    S2: FrameSender,
    R2: FrameReceiver,
    C: FnOnce(),
{
    for swapped in [false, true] {
        let (left, right, cut) = pair(BINARY).await;
        let (left, right) = (left.boxed(), right.boxed());
        let (left, right) = if swapped { (right, left) } else { (left, right) };
        let found = link::a_cut_in_the_middle(left, right, Box::new(cut)).await;
        demand("a_cut_in_the_middle", found);
    }
}
