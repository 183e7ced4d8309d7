//! What links tell control.

use mainstay_core::{
    control::LinkState,
    ids::{Incarnation, Index, NodeSlot},
};

/// One thing that a link saw; in order for one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// How the link stands; for `handle_link`.
    Link {
        /// The peer.
        slot: NodeSlot,
        /// Its incarnation.
        incarnation: Incarnation,
        /// What happened.
        state: LinkState,
    },
    /// What the peer has applied and adopted; for `handle_report`.
    Report {
        /// The peer.
        slot: NodeSlot,
        /// Its incarnation.
        incarnation: Incarnation,
        /// The index.
        index: Index,
    },
}
