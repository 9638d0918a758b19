//! What is refused, and what is not for being beside it.

use super::*;

#[test]
fn what_is_not_a_batch_or_too_large_is_refused() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let mut junk =
        [BytesMut::from(&b"not a batch, whatever its length may be, for it has to be 61 bytes or more"[..])];
    let refused = log.writer().append(&mut junk, Mode::MayBlock, NOW).unwrap().outcomes;
    assert_eq!(refused, [Err(Refusal::NotABatch)]);
    let mut large = [batch(&[&"x".repeat(5000)], 1000)];
    let refused = log.writer().append(&mut large, Mode::MayBlock, NOW).unwrap().outcomes;
    assert!(matches!(refused[..], [Err(Refusal::TooLarge { max: 4096, .. })]), "{refused:?}");
    assert_eq!(log.log_end(), Offset::ZERO);
}

#[test]
fn what_is_refused_by_itself_leaves_those_beside_it_alone() {
    let one = |value: &str| batch(&[value], 1000);
    // More than a segment takes.
    let many = |value: &str| {
        let mut many = BytesMut::new();
        (0..5).for_each(|_| many.extend_from_slice(&one(value)));
        many
    };
    let large = "x".repeat(1100);
    let options = LogOptions { batch_size_max: 1000, ..small() };
    // As many as a segment takes are written at once; more, one after the other.
    for filling in [10, 900] {
        let files = Arc::new(SimFiles::new());
        let (dir, log) = open(&files, &options);
        let filling = "y".repeat(filling);
        let mut numbered_twice = numbered((7, 0, 0), &["a"], 1000);
        numbered_twice.extend_from_slice(&numbered((7, 0, 1), &["b"], 1000));
        let mut buffers = [
            many(&large),
            one(&filling),
            one(&large),
            one(&filling),
            BytesMut::from(&b"no batch"[..]),
            BytesMut::new(),
            numbered_twice,
            one(&filling),
            one(&filling),
        ];
        let buffers = if filling.len() == 10 { &mut buffers[1..] } else { &mut buffers[..] };
        let appended = log.writer().append(buffers, Mode::MayBlock, NOW).unwrap();
        assert!(appended.stopped.is_none());
        let bases: Vec<_> = appended
            .outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map(|range| range.base_offset.get()))
            .collect();
        let refused = bases.iter().filter_map(|outcome| outcome.err()).collect::<Vec<_>>();
        assert_eq!(bases.iter().filter_map(|base| base.ok()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(matches!(
            refused[refused.len() - 4..],
            [Refusal::TooLarge { .. }, Refusal::NotABatch, Refusal::NotABatch, Refusal::NotABatch]
        ));
        assert!(refused.len() == 4 || matches!(refused[0], Refusal::TooMany { .. }), "{refused:?}");
        flush(&dir, &log);
        assert_eq!(values(&log, Offset::ZERO, 1 << 20).len(), 4);
    }
}

#[test]
fn more_batches_than_a_segment_takes_are_refused_together_and_harm_nothing() {
    let files = Arc::new(SimFiles::new());
    let (_dir, log) = open(&files, &small());
    let mut many = BytesMut::new();
    (0..10).for_each(|_| many.extend_from_slice(&batch(&[&"x".repeat(1000)], 1000)));
    let refused = log.writer().append(&mut [many], Mode::MayBlock, NOW).unwrap().outcomes;
    assert!(matches!(refused[..], [Err(Refusal::TooMany { max: 8192, .. })]), "{refused:?}");
    assert_eq!(append(&log, &["next"]).unwrap().base_offset, Offset::ZERO);
}
