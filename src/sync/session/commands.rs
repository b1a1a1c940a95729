use logux_codecs::Headers;
use tokio::sync::mpsc;

use crate::log::Alarm;

/// What a user can ask of a running session.
#[derive(Debug)]
pub(crate) enum Command {
    Headers(Headers),
    Debug(String),
    Reevaluate,
    OfferAgain,
    /// Another node has the name of the peer. Not the user, but another session says so.
    Twin,
    Reconnect,
    Close,
}

/// The commands of a session, and what of them is kept for its next connection.
#[derive(Debug)]
pub(crate) struct Commands {
    incoming: mpsc::Receiver<Command>,
    /// Weak, as the session ends when its owner drops it.
    outgoing: mpsc::WeakSender<Command>,
    headers: Option<Headers>,
    reevaluate: bool,
    offer_again: bool,
}

/// What a user can want of a session without a connection at once.
pub(crate) enum Wish {
    Reconnect,
    Close,
}

impl Commands {
    pub(crate) fn new(
        incoming: mpsc::Receiver<Command>,
        outgoing: mpsc::WeakSender<Command>,
    ) -> Self {
        Self { incoming, outgoing, headers: None, reevaluate: false, offer_again: false }
    }

    /// What other sessions call when they find a twin of the peer.
    pub(crate) fn alarm(&self) -> Alarm {
        let outgoing = self.outgoing.clone();
        Box::new(move || {
            if let Some(outgoing) = outgoing.upgrade() {
                // Fails where many commands wait; the other session tells of the twin, too.
                let _ = outgoing.try_send(Command::Twin);
            }
        })
    }

    /// The next command; `Close` when the session's owner is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Command {
        self.incoming.recv().await.unwrap_or(Command::Close)
    }

    /// Waits without a connection for what can be done at once, and keeps what cannot. Cancel-safe.
    pub(crate) async fn wish(&mut self) -> Wish {
        loop {
            match self.next().await {
                Command::Close => return Wish::Close,
                Command::Reconnect => return Wish::Reconnect,
                Command::Headers(headers) => self.keep_headers(headers),
                Command::Reevaluate => self.keep_reevaluate(),
                Command::OfferAgain => self.keep_offer_again(),
                // There is nobody to read it.
                Command::Debug(_) | Command::Twin => {}
            }
        }
    }

    /// Waits, while a connection is being opened, for the wish to end. Cancel-safe.
    pub(crate) async fn closed(&mut self) {
        while let Wish::Reconnect = self.wish().await {}
    }

    /// New headers, if there are any.
    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        self.headers.take()
    }

    pub(crate) fn keep_headers(&mut self, headers: Headers) {
        self.headers = Some(headers);
    }

    /// Whether withheld events are to be looked at again.
    pub(crate) fn take_reevaluate(&mut self) -> bool {
        std::mem::take(&mut self.reevaluate)
    }

    pub(crate) fn keep_reevaluate(&mut self) {
        self.reevaluate = true;
    }

    /// Whether what the peer did not take is to be offered again.
    pub(crate) fn take_offer_again(&mut self) -> bool {
        std::mem::take(&mut self.offer_again)
    }

    pub(crate) fn keep_offer_again(&mut self) {
        self.offer_again = true;
    }
}
