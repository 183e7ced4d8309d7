//! Stand-in.
use std::sync::Arc;
use mainstay_core::{control::LinkState, ids::{Incarnation, Index, NodeSlot}, router::Peer};
/// x
#[derive(Debug)]
pub enum PeerEvent {
    /// x
    Report {
        /// x
        slot: NodeSlot,
        /// x
        incarnation: Incarnation,
        /// x
        index: Index,
    },
    /// x
    State {
        /// x
        slot: NodeSlot,
        /// x
        incarnation: Incarnation,
        /// x
        state: LinkState,
    },
}
/// x
#[derive(Clone, Debug)]
pub struct Hub(pub Arc<tokio::sync::mpsc::Sender<PeerEvent>>);
impl Hub {
    /// x
    pub fn set_links(&self, _: Option<(Incarnation, Vec<Peer>)>) {}
    /// x
    pub fn report(&self, _: Index) {}
}
