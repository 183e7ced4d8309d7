//! One client's session: what it subscribed, what waits for an answer, what is on its way to it.
//!
//! Plain state that a shard owns, one for each connection (clean sessions only, so the two are one). It knows
//! packets and bounds but no routing and no other session; the room `shard` joins them.

mod inbound;
mod outbound;
mod outbuf;
mod pool;
mod subscription;

pub use inbound::{Answered, Inbound, State};
pub use outbound::{Cursor, Delivered, Encoded, Outbound};
pub use outbuf::OutBuf;
pub use pool::Pool;
pub use subscription::{Ask, Route, Subscribing, Subscription};
