use logux_codecs::Headers;
use tokio::sync::mpsc;

/// What a user can ask of a running session.
#[derive(Debug)]
pub(crate) enum Command {
    Headers(Headers),
    Debug(String),
    Reevaluate,
    Reconnect,
    Close,
}

/// The commands of a session, and what of them is kept for its next connection.
#[derive(Debug)]
pub(crate) struct Commands {
    incoming: mpsc::Receiver<Command>,
    headers: Option<Headers>,
    reevaluate: bool,
}

/// What a user can want of a session without a connection at once.
pub(crate) enum Wish {
    Reconnect,
    Close,
}

impl Commands {
    pub(crate) fn new(incoming: mpsc::Receiver<Command>) -> Self {
        Self { incoming, headers: None, reevaluate: false }
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
                // There is nobody to read it.
                Command::Debug(_) => {}
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
}
