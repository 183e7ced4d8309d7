//! The table of everything that runs beside the caller, and what a stop and a failure of each mean.

/// What happens to a task when the node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// It is dropped where it waits.
    Abort,
    /// It looks at the token itself and ends in its own time; the stop waits for it.
    Finish,
}

/// What happens to the node when a task fails or panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The node cannot keep its promises without it and stops.
    StopNode,
    /// It is logged; the node goes on.
    Log,
}

/// What is spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A shard's thread: owns connections; ends when its mailbox says so.
    Shard,
    /// The loop that drives `control`: lease, proposals, interest.
    Control,
    /// Consensus, log and snapshots.
    Raft,
    /// The server that other nodes talk to.
    PeerServer,
    /// The owner of all links.
    Links,
    /// One link to one peer: it is made anew when it fails.
    PeerLink,
    /// Accepts connections of one address.
    Acceptor,
    /// One connection from accept to hand-over: PROXY header, handshake, CONNECT, password.
    Login,
    /// A thread that hashes passwords.
    PasswordHash,
    /// The admin door: health and metrics.
    Admin,
    /// The socket in the data folder.
    LocalSocket,
    /// One request or stream of a server above.
    Request,
    /// Watches signals, files and the parent process.
    Watch,
}

impl Kind {
    /// The name in logs and of threads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::Control => "control",
            Self::Raft => "raft",
            Self::PeerServer => "peer-server",
            Self::Links => "links",
            Self::PeerLink => "peer-link",
            Self::Acceptor => "acceptor",
            Self::Login => "login",
            Self::PasswordHash => "password-hash",
            Self::Admin => "admin",
            Self::LocalSocket => "local-socket",
            Self::Request => "request",
            Self::Watch => "watch",
        }
    }

    /// What a stop of the node does to it.
    pub fn on_stop(self) -> OnStop {
        match self {
            Self::Shard | Self::Control | Self::Raft | Self::PasswordHash => OnStop::Finish,
            Self::PeerServer | Self::Links | Self::PeerLink | Self::Acceptor | Self::Login => {
                OnStop::Abort
            }
            Self::Admin | Self::LocalSocket | Self::Request | Self::Watch => OnStop::Abort,
        }
    }

    /// What its failure does to the node. A panic of a critical kind always stops the node.
    pub fn on_failure(self) -> OnFailure {
        match self {
            Self::Shard | Self::Control | Self::Raft | Self::PeerServer | Self::Links => {
                OnFailure::StopNode
            }
            // Without them nobody can log in, or nobody can see the node: running on would hide that.
            Self::Acceptor | Self::PasswordHash | Self::Admin => OnFailure::StopNode,
            Self::PeerLink | Self::Login | Self::LocalSocket => OnFailure::Log,
            Self::Request | Self::Watch => OnFailure::Log,
        }
    }
}
