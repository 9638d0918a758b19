//! What a loop serves, by token.

use mio::Token;
use slab::Slab;

/// A slab whose tokens are never used twice:
///
/// ```text
///   63            32 31             0
///   |  generation   |  key in slab  |
/// ```
///
/// An event, a wake-up or a timer may name an entry that has ended meanwhile, and whose key another has by now.
pub(crate) struct Entries<E> {
    slab: Slab<(Token, E)>,
    generation: u32,
}

impl<E> Entries<E> {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), generation: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The token that the next [`insert`](Self::insert) will give.
    pub(crate) fn next_token(&self) -> Token {
        let key = self.slab.vacant_key();
        Token(((self.generation as usize) << KEY_BITS) | (key & KEY_MASK))
    }

    pub(crate) fn insert(&mut self, entry: E) -> Token {
        let token = self.next_token();
        self.slab.insert((token, entry));
        // A key comes round with the same generation after 2^32 insertions: nothing is under way for so long.
        self.generation = (self.generation + 1) & GENERATION_MAX;
        token
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut E> {
        match self.slab.get_mut(token.0 & KEY_MASK) {
            Some((current, entry)) if *current == token => Some(entry),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<E> {
        self.get_mut(token)?;
        self.slab.try_remove(token.0 & KEY_MASK).map(|(_, entry)| entry)
    }

    pub(crate) fn tokens(&self) -> Vec<Token> {
        self.slab.iter().map(|(_, (token, _))| *token).collect()
    }
}

const KEY_BITS: u32 = 32;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;
/// The largest token is the waker's.
const GENERATION_MAX: u32 = u32::MAX >> 1;
const _: () = assert!(size_of::<usize>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_an_entry_that_has_ended_is_nobodys_though_its_key_is_used_again() {
        let mut entries = Entries::new();
        let first = entries.insert("first");
        assert_eq!(entries.remove(first), Some("first"));
        let second = entries.insert("second");
        assert_eq!(first.0 & KEY_MASK, second.0 & KEY_MASK);
        assert_eq!(entries.get_mut(first), None);
        assert_eq!(entries.remove(first), None);
        assert_eq!(entries.get_mut(second), Some(&mut "second"));
    }
}
