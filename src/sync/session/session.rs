use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use logux_transports::rt::{self, JoinHandle};

use super::commands::{Commands, Owner};
use super::handle::SessionHandle;
use super::reporter::Reporter;
use crate::log::SessionLog;
use crate::sync::error::Error;

/// A running synchronization. Made by `start` of [`ClientSync`](crate::ClientSync),
/// [`ServerSync`](crate::ServerSync) and [`BaseSync`](crate::BaseSync).
///
/// Everything that can be seen of it and asked of it is on its [`SessionHandle`], which it stands
/// for. Dropping it ends the synchronization in the background; [`close`](Self::close) waits for
/// that, and takes no longer than the caller has set.
#[must_use = "a synchronization ends when its session is dropped"]
pub struct Session {
    handle: SessionHandle,
    /// The session ends when it is dropped.
    _owner: Owner,
    task: JoinHandle<Result<(), Arc<Error>>>,
}

impl Session {
    /// Runs `task`, which is handed what a session is told and what it has to say.
    pub(crate) fn spawn<F>(
        log: Arc<dyn SessionLog>,
        task: impl FnOnce(Commands, Reporter) -> F,
    ) -> Self
    where
        F: Future<Output = Result<(), Arc<Error>>> + Send + 'static,
    {
        let (handle, owner, commands, reporter) = SessionHandle::new(log);
        let task = rt::spawn(task(commands, reporter));
        Self { handle, _owner: owner, task }
    }

    /// A handle to give away.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Ends the synchronization: what is being sent goes out, what has arrived is stored, the
    /// connection is closed. Answers the error that it ended with, if it had ended before.
    ///
    /// Takes at most [`SyncOptions::farewell`](crate::SyncOptions::farewell), whatever the peer, the store
    /// and callbacks do. What is not done by then is cut, and nothing is lost: what was not confirmed travels
    /// again.
    ///
    /// Dropping the future before it is ready leaves the rest to the background.
    pub async fn close(self) -> Result<(), Arc<Error>> {
        self.handle.order_to_close(None);
        self.ended().await
    }

    /// Waits until the session ends by itself: without an error if the peer closed it.
    pub async fn ended(mut self) -> Result<(), Arc<Error>> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Ok(()),
            },
        }
    }
}

impl Deref for Session {
    type Target = SessionHandle;

    fn deref(&self) -> &SessionHandle {
        &self.handle
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
