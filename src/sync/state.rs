use std::fmt;

/// Where a session stands: the original's five states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection, and nothing new to send.
    Disconnected,
    /// No connection, and events that wait for one.
    Wait,
    /// A connection is being opened, or is open and the peer is being asked what it has.
    Connecting,
    /// Events were sent and are not confirmed yet.
    Sending,
    /// Both logs are equal, and the connection is open.
    Synchronized,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "disconnected",
            Self::Wait => "wait",
            Self::Connecting => "connecting",
            Self::Sending => "sending",
            Self::Synchronized => "synchronized",
        })
    }
}
