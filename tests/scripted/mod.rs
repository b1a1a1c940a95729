//! A peer that does what a test says, frame by frame.

use logux_sync::{
    FrameReceiver, FrameSender, Json, Listener, Memory, MemoryLink, MemoryListener, Transport,
    format,
};

const MAX_FRAME: usize = 1 << 30;

pub(crate) struct Peer {
    link: MemoryLink,
}

#[allow(dead_code, reason = "not every test uses every method")]
impl Peer {
    pub(crate) fn new(link: MemoryLink) -> Self {
        Self { link }
    }

    pub(crate) async fn dial(transport: &Memory) -> Self {
        Self::new(transport.clone().open(format::<Json>(), MAX_FRAME).await.unwrap())
    }

    pub(crate) async fn accept(listener: &mut MemoryListener) -> Self {
        Self::new(listener.accept(&[format::<Json>()], MAX_FRAME).await.unwrap())
    }

    /// Sends a frame. That the other side has hung up shows when its answer is read.
    pub(crate) async fn send(&mut self, frame: &str) {
        let _ = self.link.sender.send(frame.to_owned().into()).await;
    }

    /// The next frame; `None` once the other side has closed. The identity of the other side's log,
    /// which is random, is left out.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let frame = self.next_whole().await?;
            if !frame.starts_with(r#"["headers","#) {
                return Some(frame);
            }
            let mut message: serde_json::Value = serde_json::from_str(&frame).unwrap();
            let headers = message[1].as_object_mut().unwrap();
            headers.remove("log-epoch").expect("each `headers` has it");
            if !headers.is_empty() {
                return Some(message.to_string());
            }
        }
    }

    /// The next frame as it was sent.
    pub(crate) async fn next_whole(&mut self) -> Option<String> {
        let frame = self.link.receiver.receive(MAX_FRAME).await.unwrap()?;
        Some(String::from_utf8(frame.to_vec()).unwrap())
    }
}
