//! The nodes of [`Trie`](super::Trie): how one is matched, changed and collapsed.
//!
//! What remains of a filter or a name below a node is its *rest*: `""` where it ends, else `/` and
//! the levels. A filter with no sibling below its node is kept as one [`Tail`]; a [`Branch`] always
//! has two filters or more (the root aside). Below [`MAX_DEPTH`] there are no branches, so that
//! recursion, dropping included, is bounded whatever a client subscribes to.

use std::sync::Arc;

use imbl::OrdMap;

use super::short::Short;

/// The deepest level that has nodes of its own. Real filters have about ten levels. Deeper ones lie
/// in one list a node and are compared one by one: a filter there costs its own levels at most, of
/// which it has more than this. A level takes below 1 KiB of stack, dropping included, so that all of
/// them fit into the smallest thread's.
pub(super) const MAX_DEPTH: usize = 32;

/// Up to this many children lie in a vector and are compared one by one, which is faster than any
/// search; more would make copying the node slow (a copied node copies the vector).
const FEW: usize = 8;

/// A map becomes a vector again only well below [`FEW`], so that one filter that comes and goes
/// does not rebuild the children each time.
const FEW_AGAIN: usize = 4;

#[derive(Debug, Clone)]
pub(super) enum Link<V> {
    /// One filter.
    Tail(Arc<Tail<V>>),
    /// Two filters or more.
    Branch(Arc<Branch<V>>),
    /// Two filters or more at [`MAX_DEPTH`], by their rest.
    Deep(Arc<OrdMap<Short, V>>),
}

#[derive(Debug)]
pub(super) struct Tail<V> {
    rest: Short,
    value: V,
}

#[derive(Debug, Clone)]
pub(super) struct Branch<V> {
    /// The filter that ends here.
    end: Option<V>,
    /// The filter that goes on with `#`.
    hash: Option<V>,
    /// The filters that go on with `+`.
    plus: Option<Link<V>>,
    children: Children<V>,
}

#[derive(Debug, Clone)]
enum Children<V> {
    /// In no order.
    Few(Vec<(Short, Link<V>)>),
    Many(OrdMap<Short, Link<V>>),
}

/// Parts the first level from the rest. `levels` does not begin with the `/` of a rest.
#[inline]
fn part(levels: &[u8]) -> (&[u8], &[u8]) {
    match levels.iter().position(|&byte| byte == b'/') {
        Some(at) => levels.split_at(at),
        None => (levels, &[]),
    }
}

/// Parts the first level of a rest from what remains; `None` at the end.
#[inline]
fn descend(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    rest.split_first().map(|(_, levels)| part(levels))
}

/// Whether the rest of a filter matches the rest of a name, and how many levels were looked at.
#[inline]
fn rest_matches(mut filter: &[u8], mut name: &[u8]) -> (bool, usize) {
    let mut levels = 0;
    loop {
        let Some((wanted, filter_rest)) = descend(filter) else {
            return (name.is_empty(), levels);
        };
        levels += 1;
        // Before the end of the name is looked at: `a/#` matches `a` [MQTT-4.7.1-2].
        if wanted == b"#" {
            return (true, levels);
        }
        match descend(name) {
            Some((level, name_rest)) if wanted == b"+" || wanted == level => {
                (filter, name) = (filter_rest, name_rest);
            }
            _ => return (false, levels),
        }
    }
}

impl<V: Clone> Branch<V> {
    pub(super) const fn new() -> Self {
        Self {
            end: None,
            hash: None,
            plus: None,
            children: Children::Few(Vec::new()),
        }
    }

    /// Matches a whole name at the root. Wildcards of the first level are left out for a name that
    /// starts with `$` [MQTT-4.7.2-1].
    #[inline]
    pub(super) fn find_root(&self, name: &[u8], visit: &mut impl FnMut(&V)) -> usize {
        let (level, rest) = part(name);
        let mut visits = 1;
        if name.first() != Some(&b'$') {
            if let Some(value) = &self.hash {
                visit(value);
            }
            if let Some(link) = &self.plus {
                visits += link.find(rest, visit);
            }
        }
        if let Some(link) = self.children.get(level) {
            visits += link.find(rest, visit);
        }
        visits
    }

    fn find(&self, rest: &[u8], visit: &mut impl FnMut(&V)) -> usize {
        if let Some(value) = &self.hash {
            visit(value);
        }
        let Some((level, rest)) = descend(rest) else {
            if let Some(value) = &self.end {
                visit(value);
            }
            return 1;
        };
        let mut visits = 1;
        if let Some(link) = &self.plus {
            visits += link.find(rest, visit);
        }
        if let Some(link) = self.children.get(level) {
            visits += link.find(rest, visit);
        }
        visits
    }

    pub(super) fn get_root(&self, filter: &[u8]) -> Option<&V> {
        let (level, rest) = part(filter);
        self.get_level(level, rest)
    }

    fn get(&self, rest: &[u8]) -> Option<&V> {
        match descend(rest) {
            None => self.end.as_ref(),
            Some((level, rest)) => self.get_level(level, rest),
        }
    }

    fn get_level(&self, level: &[u8], rest: &[u8]) -> Option<&V> {
        match level {
            b"#" => self.hash.as_ref(),
            b"+" => self.plus.as_ref()?.get(rest),
            _ => self.children.get(level)?.get(rest),
        }
    }

    pub(super) fn put_root(&mut self, filter: &[u8], value: V) {
        let (level, rest) = part(filter);
        self.put_level(level, rest, value, 0);
    }

    fn put(&mut self, rest: &[u8], value: V, depth: usize) {
        match descend(rest) {
            None => self.end = Some(value),
            Some((level, rest)) => self.put_level(level, rest, value, depth),
        }
    }

    fn put_level(&mut self, level: &[u8], rest: &[u8], value: V, depth: usize) {
        let link = match level {
            b"#" => {
                self.hash = Some(value);
                return;
            }
            b"+" => self.plus.as_mut(),
            _ => self.children.get_mut(level),
        };
        match (link, level) {
            (Some(link), _) => link.put(rest, value, depth + 1),
            (None, b"+") => self.plus = Some(Link::tail(rest, value)),
            (None, _) => self.children.insert(level, Link::tail(rest, value)),
        }
    }

    /// Takes out a filter that is there.
    pub(super) fn take_root(&mut self, filter: &[u8]) {
        let (level, rest) = part(filter);
        self.take_level(level, rest);
    }

    fn take(&mut self, rest: &[u8]) {
        match descend(rest) {
            None => self.end = None,
            Some((level, rest)) => self.take_level(level, rest),
        }
    }

    fn take_level(&mut self, level: &[u8], rest: &[u8]) {
        match level {
            b"#" => self.hash = None,
            b"+" => {
                if self.plus.as_mut().is_some_and(|link| link.take(rest)) {
                    self.plus = None;
                }
            }
            _ => {
                let link = self.children.get_mut(level);
                if link.is_some_and(|link| link.take(rest)) {
                    self.children.remove(level);
                }
            }
        }
    }

    /// The one filter that is left, if one is: the branch is then replaced by its tail.
    fn lone(&self) -> Option<Tail<V>> {
        let tail = |parts: [&[u8]; 3], value: &V| Tail {
            rest: Short::new(&parts.concat()),
            value: value.clone(),
        };
        let child = match self.children.len() {
            0 => None,
            1 => self.children.first(),
            _ => return None,
        };
        match (&self.end, &self.hash, &self.plus, child) {
            (Some(value), None, None, None) => Some(tail([b"", b"", b""], value)),
            (None, Some(value), None, None) => Some(tail([b"/#", b"", b""], value)),
            (None, None, Some(Link::Tail(below)), None) => {
                Some(tail([b"/+", below.rest.as_bytes(), b""], &below.value))
            }
            (None, None, None, Some((name, Link::Tail(below)))) => Some(tail(
                [b"/", name.as_bytes(), below.rest.as_bytes()],
                &below.value,
            )),
            _ => None,
        }
    }
}

impl<V: Clone> Link<V> {
    fn tail(rest: &[u8], value: V) -> Self {
        let rest = Short::new(rest);
        Self::Tail(Arc::new(Tail { rest, value }))
    }

    fn find(&self, rest: &[u8], visit: &mut impl FnMut(&V)) -> usize {
        match self {
            Self::Tail(tail) => find_tail(&tail.rest, &tail.value, rest, visit),
            Self::Branch(branch) => branch.find(rest, visit),
            Self::Deep(tails) => tails
                .iter()
                .map(|(tail, value)| find_tail(tail, value, rest, visit))
                .sum(),
        }
    }

    fn get(&self, rest: &[u8]) -> Option<&V> {
        match self {
            Self::Tail(tail) => (tail.rest.as_bytes() == rest).then_some(&tail.value),
            Self::Branch(branch) => branch.get(rest),
            Self::Deep(tails) => tails.get(rest),
        }
    }

    fn put(&mut self, rest: &[u8], value: V, depth: usize) {
        match self {
            Self::Tail(tail) if tail.rest.as_bytes() == rest => *self = Self::tail(rest, value),
            Self::Tail(tail) if depth >= MAX_DEPTH => {
                let mut tails = OrdMap::unit(tail.rest.clone(), tail.value.clone());
                tails.insert(Short::new(rest), value);
                *self = Self::Deep(Arc::new(tails));
            }
            Self::Tail(tail) => {
                let mut branch = Branch::new();
                branch.put(tail.rest.as_bytes(), tail.value.clone(), depth);
                branch.put(rest, value, depth);
                *self = Self::Branch(Arc::new(branch));
            }
            Self::Branch(branch) => Arc::make_mut(branch).put(rest, value, depth),
            Self::Deep(tails) => {
                Arc::make_mut(tails).insert(Short::new(rest), value);
            }
        }
    }

    /// Takes out a filter that is there; true if nothing is left.
    fn take(&mut self, rest: &[u8]) -> bool {
        let lone = match self {
            Self::Tail(_) => return true,
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                branch.take(rest);
                branch.lone()
            }
            Self::Deep(tails) => {
                let tails = Arc::make_mut(tails);
                tails.remove(rest);
                match tails.len() {
                    1 => tails.get_min().map(|(rest, value)| Tail {
                        rest: rest.clone(),
                        value: value.clone(),
                    }),
                    _ => None,
                }
            }
        };
        if let Some(tail) = lone {
            *self = Self::Tail(Arc::new(tail));
        }
        false
    }
}

#[inline]
fn find_tail<V>(tail: &Short, value: &V, rest: &[u8], visit: &mut impl FnMut(&V)) -> usize {
    let (matches, levels) = rest_matches(tail.as_bytes(), rest);
    if matches {
        visit(value);
    }
    1 + levels
}

impl<V: Clone> Children<V> {
    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn first(&self) -> Option<(&Short, &Link<V>)> {
        match self {
            Self::Few(few) => few.first().map(|(name, link)| (name, link)),
            Self::Many(many) => many.get_min().map(|(name, link)| (name, link)),
        }
    }

    #[inline]
    fn get(&self, name: &[u8]) -> Option<&Link<V>> {
        match self {
            Self::Few(few) => few
                .iter()
                .find(|(child, _)| child.as_bytes() == name)
                .map(|(_, link)| link),
            Self::Many(many) => many.get(name),
        }
    }

    fn get_mut(&mut self, name: &[u8]) -> Option<&mut Link<V>> {
        match self {
            Self::Few(few) => few
                .iter_mut()
                .find(|(child, _)| child.as_bytes() == name)
                .map(|(_, link)| link),
            Self::Many(many) => many.get_mut(name),
        }
    }

    /// Adds a child that is not there.
    fn insert(&mut self, name: &[u8], link: Link<V>) {
        let name = Short::new(name);
        match self {
            Self::Few(few) if few.len() < FEW => few.push((name, link)),
            Self::Few(few) => {
                let mut many: OrdMap<_, _> = few.drain(..).collect();
                many.insert(name, link);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(name, link);
            }
        }
    }

    fn remove(&mut self, name: &[u8]) {
        match self {
            Self::Few(few) => few.retain(|(child, _)| child.as_bytes() != name),
            Self::Many(many) => {
                many.remove(name);
                if many.len() <= FEW_AGAIN {
                    *self = Self::Few(std::mem::take(many).into_iter().collect());
                }
            }
        }
    }
}
