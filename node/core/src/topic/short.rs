//! A byte string that lies in place up to 22 bytes: level names and tails of the trie.
//!
//! Comparing a level is what a match mostly does; in place it costs no second cache miss. Longer
//! ones are shared, so that copying a node never copies text.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// What fits beside the length in the 24 bytes that the shared form takes as well.
const IN_PLACE: usize = 22;

#[derive(Clone)]
pub(super) struct Short(Repr);

#[derive(Clone)]
enum Repr {
    InPlace { len: u8, bytes: [u8; IN_PLACE] },
    Shared(Arc<[u8]>),
}

impl Short {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self(Repr::InPlace {
                    len: text.len() as u8,
                    bytes,
                })
            }
            None => Self(Repr::Shared(text.into())),
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::InPlace { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Short {}

impl PartialOrd for Short {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Short {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Borrow<[u8]> for Short {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_and_order_as_their_bytes() {
        let texts: Vec<Vec<u8>> = (0..60).map(|len| vec![b'x'; len]).collect();
        for pair in texts.windows(2) {
            let (a, b) = (Short::new(&pair[0]), Short::new(&pair[1]));
            assert_eq!(a.as_bytes(), pair[0]);
            assert!(a < b && a != b && a.clone() == a);
        }
        assert_eq!(std::mem::size_of::<Short>(), 24);
    }
}
