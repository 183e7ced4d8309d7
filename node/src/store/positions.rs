//! Where the durable entries lie: the segments in order, and the spot of each entry in them.
//!
//! Follows the order of the file, so it may be behind what callers already appended or truncated.
//! Memory: 8 bytes an entry that is not yet purged; what bounds it is how much log Raft keeps
//! before it purges up to a snapshot. Filled by `recover` and the writer, read through `view`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::extent::Extent;
use super::segment::{SegmentFile, Spot};
use super::units::Index;

#[derive(Debug)]
struct Segment {
    file: Arc<SegmentFile>,
    /// Index of the first of `spots`; without meaning while there are none.
    first: Index,
    spots: Vec<Spot>,
}

impl Segment {
    fn next(&self) -> Index {
        Index(self.first.0 + self.spots.len() as u64)
    }

    fn spots_end_at(&self, index: Index) -> bool {
        self.next() == index
    }

    fn holds(&self, index: Index) -> bool {
        !self.spots.is_empty() && self.first <= index && index < self.next()
    }
}

/// Consecutive entries in one segment.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) file: Arc<SegmentFile>,
    pub(super) first: Index,
    pub(super) spots: Vec<Spot>,
}

/// The segments of a log, oldest first; the last one is being written.
#[derive(Debug, Default)]
pub(super) struct Positions {
    segments: VecDeque<Segment>,
    /// What the file says, up to the last durable frame.
    pub(super) extent: Extent,
}

impl Positions {
    /// Adds a segment after the last.
    pub(super) fn push_segment(&mut self, file: Arc<SegmentFile>) {
        self.segments.push_back(Segment {
            file,
            first: self.extent.next,
            spots: Vec::new(),
        });
    }

    /// Returns the segment that is being written.
    pub(super) fn last_segment(&self) -> Option<&Arc<SegmentFile>> {
        self.segments.back().map(|segment| &segment.file)
    }

    /// Notes where an entry of the last segment lies; the extent has taken its index already.
    pub(super) fn push_spot(&mut self, index: Index, spot: Spot) {
        if let Some(segment) = self.segments.back_mut() {
            // A purge beyond the end makes the log go on further up: what came before is gone.
            if segment.next() != index {
                segment.spots.clear();
            }
            if segment.spots.is_empty() {
                segment.first = index;
            }
            segment.spots.push(spot);
        }
    }

    /// Forgets the entries at and after `from`.
    pub(super) fn truncate(&mut self, from: Index) {
        self.extent.truncate(from);
        for segment in self.segments.iter_mut().rev() {
            let keep = from.0.saturating_sub(segment.first.0);
            if keep >= segment.spots.len() as u64 {
                // Earlier segments hold earlier entries, but an empty one says nothing.
                if segment.spots.is_empty() {
                    continue;
                }
                break;
            }
            segment
                .spots
                .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
        }
    }

    /// Purges up to and with `upto`.
    pub(super) fn purge(&mut self, upto: Index) {
        self.extent.purge(upto);
    }

    /// Takes out the oldest segments that hold no entry any more, but never the last one.
    pub(super) fn take_unneeded(&mut self) -> Vec<Arc<SegmentFile>> {
        let mut unneeded = Vec::new();
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else {
                break;
            };
            if !oldest.spots.is_empty() && oldest.next() > self.extent.first {
                break;
            }
            unneeded.extend(self.segments.pop_front().map(|segment| segment.file));
        }
        unneeded
    }

    /// Returns the first entry of the extent that lies in no segment, if there is one.
    pub(super) fn missing(&self) -> Option<Index> {
        let mut need = self.extent.first;
        for segment in self.segments.iter().filter(|s| !s.spots.is_empty()) {
            if segment.first > need {
                return Some(need);
            }
            need = need.max(segment.next());
        }
        (need < self.extent.next).then_some(need)
    }

    /// Returns where the entries `from..to` lie, up to `limit` bytes but at least one entry.
    pub(super) fn runs(&self, from: Index, to: Index, limit: u64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut at = from;
        let mut bytes = 0;
        for segment in &self.segments {
            if at >= to || (at > from && bytes >= limit) {
                break;
            }
            if !segment.holds(at) {
                continue;
            }
            let skip = usize::try_from(at.0 - segment.first.0).unwrap_or(usize::MAX);
            let mut run = Run {
                file: Arc::clone(&segment.file),
                first: at,
                spots: Vec::new(),
            };
            for spot in segment.spots.iter().skip(skip) {
                let first = at == from;
                if at >= to || (!first && bytes + u64::from(spot.length) > limit) {
                    break;
                }
                bytes += u64::from(spot.length);
                run.spots.push(*spot);
                at = at.next();
            }
            let last = run.spots.is_empty() || !segment.spots_end_at(at);
            if !run.spots.is_empty() {
                runs.push(run);
            }
            if last {
                break;
            }
        }
        runs
    }
}
