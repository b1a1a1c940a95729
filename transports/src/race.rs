//! Connecting to a host that has several addresses, some of which may be dead (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::rt::sleep;

/// How long an attempt is alone before the next one begins beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many addresses are tried: with their head starts four seconds of the ten that opening may take.
const MAX_ADDRESSES: usize = 16;

/// The first connection that is made to one of the addresses. The other attempts are dropped.
///
/// An attempt begins once the one before it failed, or has not come to an end for 250 ms. Addresses of
/// IPv6 and IPv4 take turns, since often all of a family are dead: a network has no way for it.
pub(crate) async fn race<T, F>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = in_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        match waiting.next() {
            Some(address) => {
                let attempt = connect(address);
                attempts.push(async move { (address, attempt.await) });
            }
            None if attempts.is_empty() => return Err(all_failed(failures)),
            None => {}
        }
        tokio::select! {
            biased;
            (address, connected) = attempts.select_next_some() => match connected {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push((address, error)),
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// Each address once, the two families in turns. The system's order stands otherwise: it knows what it
/// has a way to (RFC 6724).
fn in_turns(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let is_ipv6_first = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|address| address.is_ipv6() == is_ipv6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(|| {
        let turn = [first.next(), second.next()];
        turn.iter().any(Option::is_some).then_some(turn)
    })
    .flatten()
    .flatten()
    .take(MAX_ADDRESSES)
    .collect()
}

/// One error for those of all attempts. That nobody listens tells most: that there is no way to an
/// address is often true of a whole family, and a host that is silent may only be slow.
fn all_failed(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let tried = failures.len();
    let is_refusal = |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::ConnectionRefused;
    let telling = failures.iter().position(is_refusal).unwrap_or(tried.saturating_sub(1));
    if telling >= tried {
        return io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    }
    let (address, error) = failures.swap_remove(telling);
    if tried == 1 {
        return error;
    }
    let message =
        format!("none of the {tried} addresses of the host can be reached; {address}: {error}");
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::rt::{Instant, timeout};

    /// What comes of an attempt, after so many milliseconds.
    type Outcome = (u64, Result<(), io::ErrorKind>);

    /// Later than all that a test waits for.
    const DEAD: Outcome = (1_000_000, Ok(()));

    /// An address of IPv4, or of IPv6.
    fn v4(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    fn v6(last: u16) -> SocketAddr {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 80).into()
    }

    /// Who won and when, and which attempts began, when; all in milliseconds.
    struct Raced {
        result: io::Result<SocketAddr>,
        after: u64,
        began: Vec<(SocketAddr, u64)>,
        /// How many attempts are still going on.
        left: usize,
    }

    struct Running<'r>(&'r Cell<usize>);

    impl Drop for Running<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    /// Races addresses of which each does as told.
    async fn run(addresses: &[(SocketAddr, Outcome)]) -> Raced {
        let start = Instant::now();
        let since = || u64::try_from(start.elapsed().as_millis()).unwrap();
        let began = RefCell::new(Vec::new());
        let running = Cell::new(0);
        let connect = |address| {
            began.borrow_mut().push((address, since()));
            running.set(running.get() + 1);
            let counted = Running(&running);
            async move {
                let _counted = counted;
                let found = addresses.iter().find(|(known, _)| *known == address);
                let (delay, outcome) = found.unwrap().1;
                sleep(Duration::from_millis(delay)).await;
                outcome.map(|()| address).map_err(io::Error::from)
            }
        };
        let all = addresses.iter().map(|(address, _)| *address);
        let racing = timeout(Duration::from_secs(60), race(all, connect));
        let result = racing.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        Raced { result, after: since(), began: began.into_inner(), left: running.get() }
    }

    const fn fails(kind: io::ErrorKind) -> Outcome {
        (0, Err(kind))
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_address_costs_a_quarter_of_a_second() {
        let raced = run(&[(v6(1), DEAD), (v4(1), (10, Ok(())))]).await;
        assert_eq!((raced.result.unwrap(), raced.after), (v4(1), 260));
        assert_eq!(raced.began, [(v6(1), 0), (v4(1), 250)]);
        assert_eq!(raced.left, 0, "the loser was not dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_address_is_tried_at_once() {
        let unreachable = fails(io::ErrorKind::NetworkUnreachable);
        let addresses = [
            (v6(1), unreachable),
            (v4(1), DEAD),
            (v6(2), unreachable),
            (v4(2), (300, Ok(()))),
            (v6(3), (1000, Ok(()))),
        ];
        let raced = run(&addresses).await;
        assert_eq!((raced.result.unwrap(), raced.after), (v4(2), 550));
        let began = [(v6(1), 0), (v4(1), 0), (v6(2), 250), (v4(2), 250), (v6(3), 500)];
        assert_eq!(raced.began, began);
        assert_eq!(raced.left, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_address_may_win_against_later_ones() {
        let raced = run(&[(v6(1), (400, Ok(()))), (v4(1), DEAD)]).await;
        assert_eq!((raced.result.unwrap(), raced.after), (v6(1), 400));
        let raced = run(&[(v6(1), (200, Ok(()))), (v4(1), DEAD)]).await;
        assert_eq!(raced.began, [(v6(1), 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_families_take_turns_in_the_order_of_the_system() {
        for (addresses, order) in [
            ([v6(1), v6(2), v4(1), v4(2)], vec![v6(1), v4(1), v6(2), v4(2)]),
            ([v4(2), v4(1), v4(3), v6(1)], vec![v4(2), v6(1), v4(1), v4(3)]),
            ([v4(1), v4(1), v6(1), v4(1)], vec![v4(1), v6(1)]),
        ] {
            let dead: Vec<_> = addresses.into_iter().map(|address| (address, DEAD)).collect();
            let began: Vec<_> = run(&dead).await.began;
            assert_eq!(began.iter().map(|(address, _)| *address).collect::<Vec<_>>(), order);
            assert!(began.iter().zip(0..).all(|(began, turn)| began.1 == 250 * turn), "{began:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_addresses_are_tried_and_no_more() {
        let mut dead: Vec<_> = (0..100).map(|last| (v6(last), DEAD)).collect();
        dead.push((v4(1), DEAD));
        let began = run(&dead).await.began;
        assert_eq!(began.len(), MAX_ADDRESSES);
        assert_eq!((began[1].0, began.last().unwrap().1), (v4(1), 3750));
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_of_all_tells_how_many_were_tried_and_keeps_its_kind() {
        use io::ErrorKind::{ConnectionRefused, NetworkUnreachable, TimedOut};
        for (kinds, kind, address) in [
            (&[NetworkUnreachable, ConnectionRefused][..], ConnectionRefused, v6(1)),
            (&[ConnectionRefused, NetworkUnreachable], ConnectionRefused, v6(0)),
            (&[NetworkUnreachable, ConnectionRefused, TimedOut], ConnectionRefused, v6(1)),
            (&[NetworkUnreachable, TimedOut], TimedOut, v6(1)),
        ] {
            let addresses: Vec<_> =
                (0..).map(v6).zip(kinds.iter().map(|kind| fails(*kind))).collect();
            let error = run(&addresses).await.result.unwrap_err();
            assert_eq!(error.kind(), kind, "{kinds:?}");
            let text = error.to_string();
            let told = format!("none of the {} addresses", kinds.len());
            assert!(text.contains(&told), "{text}");
            assert!(text.contains(&address.to_string()), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_of_one_address_is_as_it_was() {
        let connect = |_| async { Err::<(), _>(io::Error::from_raw_os_error(111)) };
        assert_eq!(race([v4(1)], connect).await.unwrap_err().raw_os_error(), Some(111));
        let error = run(&[]).await.result.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}
