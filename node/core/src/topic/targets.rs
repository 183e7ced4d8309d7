//! The targets of one filter, and beside each the handle that points to it.
//!
//! Used by [`Table`](super::Table), which keeps places and handles in step.

/// Most filters have one target, which then needs no allocation.
#[derive(Debug)]
pub(super) enum Targets<T> {
    One(T, u32),
    Many(Box<Crowd<T>>),
}

/// Two or more. The targets lie in one piece, to be visited as such; both lists are equally long.
#[derive(Debug)]
pub(super) struct Crowd<T> {
    targets: Vec<T>,
    handles: Vec<u32>,
}

pub(super) struct Taken<T> {
    pub(super) target: T,
    /// The handle whose target now lies in the place.
    pub(super) moved: Option<u32>,
    /// Whether none is left.
    pub(super) last: bool,
}

impl<T: Copy> Targets<T> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(target, _) => std::slice::from_ref(target),
            Self::Many(crowd) => &crowd.targets,
        }
    }

    pub(super) fn at_mut(&mut self, at: u32) -> Option<&mut T> {
        match self {
            Self::One(target, _) => Some(target),
            Self::Many(crowd) => crowd.targets.get_mut(at as usize),
        }
    }

    /// Adds a target and returns its position.
    pub(super) fn push(&mut self, target: T, handle: u32) -> u32 {
        match self {
            Self::One(first, of_first) => {
                *self = Self::Many(Box::new(Crowd {
                    targets: vec![*first, target],
                    handles: vec![*of_first, handle],
                }));
                1
            }
            Self::Many(crowd) => {
                crowd.targets.push(target);
                crowd.handles.push(handle);
                crowd.targets.len() as u32 - 1
            }
        }
    }

    /// Takes out the target at a position and puts the last one there.
    pub(super) fn swap_remove(&mut self, at: u32) -> Option<Taken<T>> {
        let crowd = match self {
            Self::One(target, _) => {
                return Some(Taken {
                    target: *target,
                    moved: None,
                    last: true,
                });
            }
            Self::Many(crowd) => crowd,
        };
        let at = at as usize;
        if at >= crowd.targets.len() || at >= crowd.handles.len() {
            return None;
        }
        let target = crowd.targets.swap_remove(at);
        crowd.handles.swap_remove(at);
        let moved = crowd.handles.get(at).copied();
        if let ([target], [handle]) = (&crowd.targets[..], &crowd.handles[..]) {
            *self = Self::One(*target, *handle);
        } else {
            crowd.give_back();
        }
        Some(Taken {
            target,
            moved,
            last: false,
        })
    }
}

impl<T> Crowd<T> {
    /// Frees what a crowd left behind, seldom enough to cost nothing on average.
    fn give_back(&mut self) {
        if self.targets.len() * 4 < self.targets.capacity() {
            self.targets.shrink_to(self.targets.len() * 2);
            self.handles.shrink_to(self.handles.len() * 2);
        }
    }
}
