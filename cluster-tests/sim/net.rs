//! The network between nodes: which way is silent until when, for links and for the consensus apart.

use crate::node::NodeNo;

/// What a way carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    Links,
    Raft,
    Both,
}

/// The ways, each by sender and receiver. A silent way carries nothing before its moment.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    links: Vec<Vec<u64>>,
    raft: Vec<Vec<u64>>,
    /// Longer delays until then.
    pub(crate) slow_until: u64,
    pub(crate) slow_by: u64,
}

impl Net {
    pub(crate) fn new(nodes: usize) -> Self {
        let none = vec![vec![0; nodes]; nodes];
        Self {
            links: none.clone(),
            raft: none,
            slow_until: 0,
            slow_by: 0,
        }
    }

    pub(crate) fn cut(&mut self, from: NodeNo, to: NodeNo, lines: Lines, until: u64) {
        if from == to {
            return;
        }
        if lines != Lines::Raft {
            let way = &mut self.links[from][to];
            *way = until.max(*way);
        }
        if lines != Lines::Links {
            let way = &mut self.raft[from][to];
            *way = until.max(*way);
        }
    }

    pub(crate) fn heal(&mut self) {
        let nodes = self.links.len();
        *self = Self::new(nodes);
    }

    pub(crate) fn links_open(&self, from: NodeNo, to: NodeNo, now: u64) -> bool {
        self.links[from][to] <= now
    }

    pub(crate) fn raft_open(&self, from: NodeNo, to: NodeNo, now: u64) -> bool {
        self.raft[from][to] <= now
    }
}
