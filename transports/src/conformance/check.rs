//! What all checks share: what they find, and how long a step may take.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::boxed::BoxedLink;
use crate::link::Format;
use crate::rt::timeout;

/// The longest frame of the checks, in bytes.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// Far more than any step of these checks takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a check has found: an error says what is wrong.
pub(super) type Checked<T = ()> = Result<T, String>;

/// The two ends of a link.
pub(super) type Ends = (BoxedLink, BoxedLink);

/// Makes the two ends of a new link for frames of a format.
pub(super) type Pair<'a> = &'a (dyn Fn(Format) -> LocalBoxFuture<'a, Checked<Ends>> + 'a);

/// Panics with the name of a check that failed.
pub(super) fn demand<T>(check: &str, found: Checked<T>) -> T {
    found.unwrap_or_else(|wrong| panic!("{check}: {wrong}"))
}

/// Waits for one step of a check.
pub(super) async fn within<F: Future>(future: F) -> Checked<F::Output> {
    timeout(PATIENCE, future).await.map_err(|_| format!("nothing happened for {PATIENCE:?}"))
}
