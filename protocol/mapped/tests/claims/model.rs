//! Any sequence of calls on an appender and on slices does what the same calls on a `Vec` do.

use std::io::IoSlice;
use std::sync::Arc;

use folio_mapped::{MapSlice, SegmentMap};
use proptest::prelude::*;

use crate::{directory, new_map, published};

const CAPACITY: usize = 64 << 10;

#[derive(Clone, Debug)]
enum Call {
    Append(Vec<Vec<u8>>),
    Allocate(u64),
    Cut,
    NewAppender,
    Slice { from: usize, to: usize, take: Vec<usize> },
}

fn any_call() -> impl Strategy<Value = Call> {
    let buf = prop_oneof![3 => 0..40_usize, 1 => 0..6000_usize]
        .prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    prop_oneof![
        6 => proptest::collection::vec(buf, 0..5).prop_map(Call::Append),
        1 => (0..CAPACITY as u64 * 2).prop_map(Call::Allocate),
        1 => Just(Call::Cut),
        1 => Just(Call::NewAppender),
        4 => (0..CAPACITY, 0..CAPACITY, proptest::collection::vec(0..5000_usize, 0..4))
            .prop_map(|(from, to, take)| Call::Slice { from, to, take }),
    ]
}

fn bytes_of(slice: &MapSlice) -> Vec<u8> {
    let (mut loaded, mut read) = (vec![0; slice.len()], vec![0; slice.len()]);
    slice.copy_to(0, &mut loaded).unwrap();
    slice.read_to(0, &mut read).unwrap();
    assert_eq!(loaded, read, "the mapping and the descriptor disagree");
    loaded
}

/// Takes pieces off the front of a slice in every way there is.
fn take_apart(mut slice: MapSlice, mut expected: &[u8], take: &[usize]) {
    for (i, &wanted) in take.iter().enumerate() {
        let bytes = wanted.min(slice.len());
        match i % 3 {
            0 => assert_eq!(bytes_of(&slice.split_to(bytes)), expected[..bytes]),
            1 => slice.advance(bytes),
            _ => {
                slice.truncate(wanted);
                expected = &expected[..wanted.min(expected.len())];
                continue;
            }
        }
        expected = &expected[bytes..];
    }
    assert_eq!(bytes_of(&slice), expected);
    assert_eq!(slice.is_empty(), expected.is_empty());
}

fn play(map: &Arc<SegmentMap>, calls: &[Call]) {
    let mut model = Vec::new();
    let mut appender = map.appender().unwrap();
    for call in calls {
        match call {
            Call::Append(bufs) => {
                let whole = bufs.concat();
                let slices: Vec<_> = bufs.iter().map(|buf| IoSlice::new(buf)).collect();
                let fits = model.len() + whole.len() <= CAPACITY;
                let appended = appender.append(&slices);
                assert_eq!(appended.is_ok(), fits);
                if let Ok(range) = appended {
                    assert_eq!(range.start, model.len() as u64);
                    model.extend(whole);
                }
            }
            Call::Allocate(upto) => assert_eq!(appender.allocate(*upto).is_ok(), *upto <= CAPACITY as u64),
            Call::Cut => appender.cut().unwrap(),
            Call::NewAppender => {
                drop(appender);
                appender = map.appender().unwrap();
            }
            Call::Slice { from, to, take } => {
                let slice = map.slice(*from as u64..*to as u64);
                let expected = model.get(*from..*to);
                assert_eq!(slice.is_some(), expected.is_some(), "{from}..{to} of {}", model.len());
                if let (Some(slice), Some(expected)) = (slice, expected) {
                    take_apart(slice, expected, take);
                }
            }
        }
        assert_eq!(map.end(), model.len() as u64);
        assert_eq!(appender.end(), model.len() as u64);
        assert!(appender.allocated() >= appender.end());
    }
    assert_eq!(published(map), model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "too slow there, and maps files")]
    fn a_map_is_a_vec_that_only_grows(calls in proptest::collection::vec(any_call(), 1..40)) {
        let directory = directory();
        let file = new_map(&directory.path().join("log"), CAPACITY as u64);
        play(&file, &calls);
        play(&SegmentMap::heap(CAPACITY), &calls);
        prop_assert_eq!(std::fs::read(directory.path().join("log")).unwrap(), published(&file));
    }
}
