//! What the system tells a program to do.

use crate::failure::Failure;

/// Ready once the program is asked to end: by Ctrl-C or, on Unix, by SIGTERM.
#[cfg(unix)]
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let listen = |kind| signal(kind).map_err(|error| cannot_listen(&error));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// Each time that the program is asked to read its files again: by SIGHUP, on Unix.
#[cfg(unix)]
pub(crate) fn reloads() -> Result<impl futures_util::Stream<Item = ()> + Unpin, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup()).map_err(|error| cannot_listen(&error))?;
    Ok(futures_util::stream::poll_fn(move |context| hangup.poll_recv(context)))
}

#[cfg(not(unix))]
pub(crate) fn reloads() -> Result<impl futures_util::Stream<Item = ()> + Unpin, Failure> {
    Ok(futures_util::stream::pending())
}

#[cfg(unix)]
fn cannot_listen(error: &std::io::Error) -> Failure {
    Failure::failed(format!("the system does not tell of signals: {error}"))
}
