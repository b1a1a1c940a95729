//! A wire that can be cut.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes TCP connections on to a target, until it is told to cut them. Ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    cuts: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// After so many bytes, of both directions together.
    pub(crate) after: u64,
    /// By a reset, which takes what was not read yet away from both sides, or by the end of the
    /// stream.
    pub(crate) reset: bool,
}

impl Proxy {
    /// Starts to listen on a free port. The first connections are cut as planned, one after the
    /// other; those after them are not.
    pub(crate) async fn start(plan: impl IntoIterator<Item = Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, targets) = watch::channel(None);
        let (count, cuts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, targets, plan.into_iter().collect(), count));
        Self { address, target, cuts, _tasks: tasks }
    }

    /// Leads new connections there, and cuts those that lead elsewhere; with `None` all of them.
    pub(crate) fn lead_to(&self, target: Option<SocketAddr>) {
        self.target.send_replace(target);
    }

    /// How many connections were cut as planned, or ended before.
    pub(crate) fn cuts(&self) -> usize {
        *self.cuts.borrow()
    }
}

async fn serve(
    listener: TcpListener,
    targets: watch::Receiver<Option<SocketAddr>>,
    mut plan: VecDeque<Cut>,
    count: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let Some(target) = *targets.borrow() else { continue };
        let Ok(far) = TcpStream::connect(target).await else { continue };
        let cut = plan.pop_front();
        let (mut targets, count) = (targets.clone(), count.clone());
        connections.spawn(async move {
            tokio::select! {
                () = pass(near, far, cut) => {
                    count.send_modify(|count| *count += usize::from(cut.is_some()));
                }
                _ = targets.wait_for(|now| *now != Some(target)) => {}
            }
        });
    }
}

/// Passes bytes on in both directions, up to the planned cut.
async fn pass(near: TcpStream, far: TcpStream, cut: Option<Cut>) {
    let left = Arc::new(AtomicU64::new(cut.map_or(u64::MAX, |cut| cut.after)));
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        if cut.is_some_and(|cut| cut.reset) {
            stream.set_zero_linger().unwrap();
        }
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let _ = tokio::try_join!(pump(near_in, far_out, &left), pump(far_in, near_out, &left));
}

/// Passes one direction on to its end; an error ends the other direction, too.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let may_pass = left.load(Ordering::Relaxed).min(count as u64);
        left.fetch_sub(may_pass, Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "at most `count`")]
        to.write_all(&buffer[..may_pass as usize]).await?;
        if left.load(Ordering::Relaxed) == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}
