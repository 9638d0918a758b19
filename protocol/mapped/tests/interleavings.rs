//! What holds in every interleaving of a few threads, and whatever value each load may see: loom tries them all, over
//! memory.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p folio-mapped --test interleavings --target-dir target/loom`

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

use std::io::IoSlice;
use std::sync::Arc;

use folio_mapped::{SegmentMap, published_without_order};
use loom::thread;

const BYTES: &[u8] = b"abcd";

/// One appends, the others read all that they see.
fn readers_beside_an_appender(readers: usize) {
    let map = SegmentMap::heap(BYTES.len());
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let map = Arc::clone(&map);
            thread::spawn(move || {
                let end = map.end();
                let slice = map.slice(0..end).expect("it is published");
                let mut seen = vec![0; slice.len()];
                slice.copy_to(0, &mut seen).unwrap();
                assert_eq!(seen, BYTES[..end as usize]);
                assert!(slice.following(u64::MAX).range().end >= end, "an end went back");
            })
        })
        .collect();
    let mut appender = map.appender().unwrap();
    for part in BYTES.chunks(2) {
        appender.append(&[IoSlice::new(part)]).unwrap();
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn whoever_sees_an_end_has_every_byte_below_it_in_every_interleaving() {
    loom::model(|| readers_beside_an_appender(2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_end_that_is_published_without_an_order_is_found() {
    published_without_order(|| loom::model(|| readers_beside_an_appender(1)));
}

#[test]
fn while_one_appends_others_are_turned_away_and_the_next_goes_on_where_it_ended() {
    loom::model(|| {
        let map = SegmentMap::heap(BYTES.len());
        let others: Vec<_> = (0..2).map(|_| Arc::clone(&map)).collect();
        let others: Vec<_> = others.into_iter().map(|map| thread::spawn(move || append_one(&map))).collect();
        let own = append_one(&map);
        let appended: u64 = own + others.into_iter().map(|other| other.join().unwrap()).sum::<u64>();
        assert!(appended >= 1, "nobody appended");
        assert_eq!(map.end(), appended, "one was written over");
    });
}

/// Appends a byte, if nobody else appends; how many.
fn append_one(map: &Arc<SegmentMap>) -> u64 {
    let Ok(mut appender) = map.appender() else { return 0 };
    let end = appender.end();
    assert_eq!(appender.append(&[IoSlice::new(b"x")]).unwrap(), end..end + 1);
    1
}
