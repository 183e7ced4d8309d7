//! P11: every queue stays under its bound.

use crate::{conn::ConnNo, control::QUEUE, shard::MAILBOX, world::World};

/// What may be above a session's hard bound: one message, and what the write buffer takes at once.
const ABOVE_HARD: usize = 80 * 1024;

impl World {
    pub(crate) fn look_at_bounds(&mut self) {
        let clients = self.clients.len();
        let mut broken = None;
        for (n, node) in self
            .nodes
            .iter_mut()
            .enumerate()
            .filter(|(_, node)| node.is_alive)
        {
            if node.control_in.len() > QUEUE {
                broken = Some(format!(
                    "{} inputs wait for the control of n{n}",
                    node.control_in.len()
                ));
            }
            let subscribes = node.control.waiting_subscribes();
            if subscribes > clients * 32 {
                broken = Some(format!("{subscribes} SUBSCRIBEs wait on n{n}"));
            }
            for (shard, driver) in node.shards.iter_mut().enumerate() {
                if driver.mailbox.len() > MAILBOX {
                    broken = Some(format!(
                        "{} items wait for shard {shard} of n{n}",
                        driver.mailbox.len()
                    ));
                }
            }
        }
        if let Some(what) = broken {
            self.violate("P11", &what);
        }
    }
    /// The write buffer of a connection, when it is about to be written.
    pub(crate) fn check_output(&mut self, conn: ConnNo, bytes: usize) {
        if bytes > self.p.limits.hard_bytes + ABOVE_HARD {
            self.violate("P11", &format!("{bytes} bytes wait for conn {conn}"));
        }
    }
}
