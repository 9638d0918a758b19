//! Golden bytes of what carries records, finds them, numbers them and pushes them.

use super::*;

#[test]
fn a_produce_is_as_drawn() {
    for (acks, number) in [(Acks::None, "00"), (Acks::One, "01"), (Acks::All, "02")] {
        let entries = vec![ProduceEntryV1 { topic: "t", partition: 1, record_bytes: 3 }];
        let request = ProduceRequestV1 { acks, timeout_ms: 9, entries };
        let expected = format!("{number}00000009000000{ONE}{}0100000003000000", text("t"));
        assert_eq!(golden(&request), expected);
    }
    let produced = ProducedV1 {
        error: ErrorCode::NONE,
        message: None,
        base_offset: 1,
        log_append_time: -1,
        log_start: 2,
    };
    let answer = ProduceAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![produced] };
    let expected = format!("000000{ONE}0000000100000000000000ffffffffffffffff0200000000000000");
    assert_eq!(golden(&answer), expected);
}

#[test]
fn a_fetch_is_as_drawn() {
    let entries = vec![FetchEntryV1 { topic: "t", partition: 1, offset: 2, max_bytes: 3, leader_epoch: -1 }];
    let request = FetchRequestV1 { max_wait_ms: 4, min_bytes: 5, max_bytes: 6, entries };
    let entry = format!("{}01000000020000000000000003000000ffffffff", text("t"));
    assert_eq!(golden(&request), format!("040000000500000006000000{ONE}{entry}"));
    let fetched = FetchedV1 {
        error: ErrorCode::NONE,
        message: None,
        high_watermark: 1,
        log_start: 2,
        leader_epoch: 3,
        record_bytes: 4,
    };
    let answer = FetchAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![fetched] };
    let expected = format!("000000{ONE}000000010000000000000002000000000000000300000004000000");
    assert_eq!(golden(&answer), expected);
}

#[test]
fn looking_for_offsets_is_as_drawn() {
    for (spec, expected) in [
        (OffsetSpec::Earliest, "00000000"),
        (OffsetSpec::Latest, "01000000"),
        (OffsetSpec::AtTime(-2), "02000000feffffffffffffff"),
    ] {
        let entries = vec![ListOffsetsEntryV1 { topic: "t", partition: 1, spec }];
        let expected = format!("{ONE}{}01000000{expected}", text("t"));
        assert_eq!(golden(&ListOffsetsRequestV1 { entries }), expected);
    }
    let found =
        ListedOffsetV1 { error: ErrorCode::NONE, message: None, offset: 1, timestamp: 2, leader_epoch: 3 };
    let answer = ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![found] };
    assert_eq!(golden(&answer), format!("000000{ONE}0000000100000000000000020000000000000003000000"));
}

#[test]
fn producers_are_as_drawn() {
    assert_eq!(golden(&InitProducerRequestV1 { transactional_id: None }), "00");
    let request = InitProducerRequestV1 { transactional_id: Some("x") };
    assert_eq!(golden(&request), format!("01{}", text("x")));
    let answer = InitProducerAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        producer_id: 0x0807_0605_0403_0201,
        producer_epoch: 0x0a09,
    };
    assert_eq!(golden(&answer), "0000000102030405060708090a");
    let request = DescribeProducersRequestV1 { topic: "t", partition: 1 };
    assert_eq!(golden(&request), format!("{}01000000", text("t")));
    let producer =
        ProducerDescriptionV1 { producer_id: 1, producer_epoch: 2, last_sequence: 3, last_timestamp: 4 };
    let answer =
        DescribeProducersAnswerV1 { error: ErrorCode::NONE, message: None, producers: vec![producer] };
    assert_eq!(golden(&answer), format!("000000{ONE}01000000000000000200030000000400000000000000"));
}

#[test]
fn subscriptions_are_as_drawn() {
    for (from, expected) in [
        (SubscribeFrom::Earliest, "00000000"),
        (SubscribeFrom::Latest, "01000000"),
        (SubscribeFrom::Offset(-2), "02000000feffffffffffffff"),
    ] {
        let request = SubscribeRequestV1 {
            subscription: 7,
            topic: "t",
            partition: 1,
            from,
            leader_epoch: -1,
            credit: u64::MAX - 1,
        };
        let expected = format!("07000000{}01000000{expected}fffffffffeffffffffffffff", text("t"));
        assert_eq!(golden(&request), expected);
    }
    let answer = SubscribeAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        offset: 1,
        high_watermark: 2,
        log_start: 3,
        leader_epoch: 4,
    };
    let three = "010000000000000002000000000000000300000000000000";
    assert_eq!(golden(&answer), format!("000000{three}04000000"));
    let batches = BatchesV1 { subscription: 7, high_watermark: 1, log_start: 2, leader_epoch: 3 };
    assert_eq!(golden(&batches), "070000000100000000000000020000000000000003000000");

    assert_eq!(golden(&CreditRequestV1 { subscription: 7, add: 8 }), "070000000800000000000000");
    let answer = CreditAnswerV1 { error: ErrorCode::UNKNOWN_SUBSCRIPTION, message: None, credit: 9 };
    assert_eq!(golden(&answer), "2300000900000000000000");
    assert_eq!(golden(&UnsubscribeRequestV1 { subscription: 7 }), "07000000");
    let answer = UnsubscribeAnswerV1 { error: ErrorCode::NONE, message: None, next_offset: -1 };
    assert_eq!(golden(&answer), "000000ffffffffffffffff");
    let end = SubscriptionEndV1 {
        subscription: 7,
        error: ErrorCode::OFFSET_OUT_OF_RANGE,
        message: Some("m".to_owned()),
        next_offset: 1,
        high_watermark: 2,
        log_start: 3,
    };
    assert_eq!(golden(&end), format!("07000000140001{}{three}", text("m")));
}

#[test]
fn what_only_ever_comes_cannot_be_asked_for() {
    for kind in [Kind::Unsupported, Kind::Batches, Kind::SubscriptionEnd] {
        let refused = Kind::supported(kind.number(), 1).unwrap_err();
        assert_eq!((refused.lowest, refused.highest), (0, 0), "{kind:?}");
    }
    let head = Head::request::<SubscribeRequestV1<'_>>(9).pushed::<BatchesV1>();
    assert_eq!(head, Head { kind: 41, version: 1, flags: Flags::PUSHED, correlation: 9 });
}
