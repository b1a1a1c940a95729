use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The way between a transport and its listener, on which bytes can be counted.
///
/// A transport over TCP dials the address that [`to`](Self::to) gives. While time is measured that
/// is the listener's own; while bytes are counted, there is a relay between them.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    counter: Option<Arc<Counter>>,
}

#[derive(Debug, Default)]
struct Counter {
    used: AtomicBool,
    bytes: AtomicU64,
}

impl Wire {
    pub(super) fn counting() -> Self {
        Self { counter: Some(Arc::default()) }
    }

    /// Where to dial to reach a listener. An error says that no port is free.
    pub async fn to(&self, listener: SocketAddr) -> io::Result<SocketAddr> {
        let Some(counter) = &self.counter else { return Ok(listener) };
        let relay = TcpListener::bind("127.0.0.1:0").await?;
        let address = relay.local_addr()?;
        counter.used.store(true, Ordering::Relaxed);
        tokio::spawn(accept(relay, listener, Arc::clone(counter)));
        Ok(address)
    }

    /// How many bytes came along so far, both ways. `None` if this counts none.
    pub(super) fn bytes(&self) -> Option<u64> {
        let counter =
            self.counter.as_ref().filter(|counter| counter.used.load(Ordering::Relaxed))?;
        Some(counter.bytes.load(Ordering::Relaxed))
    }
}

/// Until the runtime ends.
async fn accept(relay: TcpListener, listener: SocketAddr, counter: Arc<Counter>) {
    while let Ok((near, _)) = relay.accept().await {
        let Ok(far) = TcpStream::connect(listener).await else { return };
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        tokio::spawn(pass(from_near, to_far, Arc::clone(&counter)));
        tokio::spawn(pass(from_far, to_near, Arc::clone(&counter)));
    }
}

/// Until one side closes.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counter: Arc<Counter>) {
    let mut buffer = [0; 8 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        counter.bytes.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
