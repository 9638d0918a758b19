//! Contents to compress, for the tests of all codecs.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::DecompressLimit;

pub(super) fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..300),
        (0..200_000usize).prop_map(text),
        (0..80_000usize).prop_map(noise),
        ((0..80_000usize), (0..150_000usize)).prop_map(|(a, b)| [noise(a), text(b)].concat()),
    ]
}

/// Shrinks well.
pub(super) fn text(len: usize) -> Vec<u8> {
    let mut text: Vec<u8> = vec![];
    for line in 0.. {
        if text.len() >= len {
            break;
        }
        text.extend(format!("GET /page/{line} HTTP/1.1\n").bytes());
    }
    text.truncate(len);
    text
}

/// Does not shrink.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

pub(super) const LIMIT: DecompressLimit = DecompressLimit::new(1 << 24);
