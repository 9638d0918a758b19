//! Golden bytes of every message, and what hostile bytes cannot do.

use std::fmt::Debug;

use bytes::BytesMut;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::configs::*;
use super::fetch::*;
use super::frame::{EncodeError, HEADER_AT};
use super::group_admin::*;
use super::groups::*;
use super::metadata::*;
use super::offsets::*;
use super::preface::PREFACE_SIZE;
use super::produce::*;
use super::producers::*;
use super::records::*;
use super::status::*;
use super::subscribe::*;
use super::topics::*;
use super::*;

const FRAME_MAX: u32 = 1 << 20;
const ID: [u8; 16] = *b"0123456789abcdef";

/// The header of `message` as hexadecimal, after a round trip through a whole frame.
fn golden<'a, T: Message + Serialize + Deserialize<'a> + PartialEq + Debug>(message: &T) -> String {
    let mut out = BytesMut::new();
    encode_frame(&mut out, Head::request::<T>(0x0403_0201), message, 3).unwrap();
    out.extend_from_slice(b"rec");
    let out: &'static [u8] = Box::leak(out.to_vec().into_boxed_slice());
    let frame = decode_frame(out, FRAME_MAX).unwrap().unwrap();
    assert_eq!((frame.records, frame.size()), (b"rec".as_slice(), out.len()));
    assert_eq!(frame.head, Head::request::<T>(0x0403_0201));
    assert_eq!(&frame.header::<T>().unwrap(), message);

    // A field fewer, a field more: never half understood.
    let short = Frame { header: &frame.header[..frame.header.len() - 1], ..frame };
    assert!(short.header::<T>().is_err(), "a byte fewer");
    let longer: &'static [u8] = Box::leak([frame.header, &[0]].concat().into_boxed_slice());
    assert!(Frame { header: longer, ..frame }.header::<T>().is_err(), "a byte more");

    // Wherever a count or a length stands, a giant one is an error or another value, never an abort.
    for at in 0..frame.header.len().saturating_sub(7) {
        for giant in [u64::MAX, 1 << 62, 1 << 33] {
            let mut hostile = frame.header.to_vec();
            hostile[at..at + 8].copy_from_slice(&giant.to_le_bytes());
            let _ = Frame { header: hostile.leak(), ..frame }.header::<T>();
        }
    }
    hex(frame.header)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `str` as the drawing says: a u64 length, then the bytes.
fn text(text: &str) -> String {
    format!("{:02x}00000000000000{}", text.len(), hex(text.as_bytes()))
}

#[test]
fn the_preface_is_as_drawn() {
    let preface = Preface { lowest: 1, highest: 2, frame_max: 0x0605_0403 };
    assert_eq!(hex(&preface.encode()), "89464f4c0d0a1a0a0100020003040506");
    assert_eq!(Preface::decode(&preface.encode()), Ok(Some(preface)));
    for size in 0..PREFACE_SIZE {
        assert_eq!(Preface::decode(&preface.encode()[..size]), Ok(None), "{size} bytes");
    }
}

#[test]
fn a_preface_is_refused_at_its_first_wrong_byte() {
    for at in 0..preface::MAGIC.len() {
        let mut bytes = Preface::ours(FRAME_MAX).encode();
        bytes[at] ^= 1;
        assert_eq!(Preface::decode(&bytes[..=at]), Err(PrefaceError::Magic), "byte {at}");
    }
    let backwards = Preface { lowest: 3, highest: 2, frame_max: 1 }.encode();
    assert_eq!(Preface::decode(&backwards), Err(PrefaceError::Versions { lowest: 3, highest: 2 }));
    for frame_max in [0, preface::FRAME_MAX_LEAST - 1] {
        let deaf = Preface::ours(frame_max).encode();
        assert_eq!(Preface::decode(&deaf), Err(PrefaceError::FrameMax { frame_max }));
    }
    assert!(Preface::decode(&Preface::ours(preface::FRAME_MAX_LEAST).encode()).is_ok());
}

#[test]
fn the_highest_common_version_holds() {
    let speaks = |lowest, highest| Preface { lowest, highest, frame_max: 1 };
    for (ours, theirs, common) in [
        (speaks(1, 1), speaks(1, 1), Some(1)),
        (speaks(1, 3), speaks(2, 7), Some(3)),
        (speaks(2, 7), speaks(1, 3), Some(3)),
        (speaks(1, 2), speaks(3, 4), None),
        (speaks(3, 4), speaks(1, 2), None),
    ] {
        assert_eq!(ours.common_version(&theirs), common, "{ours:?} and {theirs:?}");
    }
}

#[test]
fn the_frame_is_as_drawn() {
    let mut out = BytesMut::new();
    let head =
        Head { kind: 0x0102, version: 3, flags: Flags::ANSWER | Flags::PUSHED, correlation: 0x0708_090a };
    encode_frame(&mut out, head, &0xbbaa_u16, 5).unwrap();
    let covered = "02010303".to_owned() + "0a090807" + "02000000" + "aabb";
    let crc = crc32fast::hash(&out[8..]);
    assert_eq!(hex(&out), format!("17000000{}{covered}", hex(&crc.to_le_bytes())));
}

#[test]
fn every_message_is_as_drawn() {
    assert_eq!(golden(&Kind::supported(77, 1).unwrap_err()), "01004d000000");
    assert_eq!(golden(&Kind::supported(16, 9).unwrap_err()), "010010000101");

    assert_eq!(golden(&MetadataRequestV1 { topics: None }), "00");
    let some = MetadataRequestV1 { topics: Some(vec!["t"]) };
    assert_eq!(golden(&some), format!("010100000000000000{}", text("t")));
    let answer = MetadataAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        cluster_id: ID,
        topics: vec![TopicMetadataV1 {
            error: ErrorCode::UNKNOWN_TOPIC,
            name: "t".to_owned(),
            id: ID,
            leader_epochs: vec![5],
        }],
    };
    let topic = format!("0a00{}{}010000000000000005000000", text("t"), hex(&ID));
    assert_eq!(golden(&answer), format!("000000{}0100000000000000{topic}", hex(&ID)));

    let create = TopicCreateRequestV1 { name: "t", partitions: 3, configs: vec![("k", "v")] };
    assert_eq!(golden(&create), format!("{}030000000100000000000000{}{}", text("t"), text("k"), text("v")));
    let answer =
        TopicCreateAnswerV1 { error: ErrorCode::TOPIC_EXISTS, message: Some("m".to_owned()), id: ID };
    assert_eq!(golden(&answer), format!("0c0001{}{}", text("m"), hex(&ID)));

    assert_eq!(golden(&TopicListRequestV1 { internal: true }), "01");
    let topics = vec![ListedTopicV1 { name: "t".to_owned(), id: ID, partitions: 3 }];
    let answer = TopicListAnswerV1 { error: ErrorCode::NONE, message: None, topics };
    assert_eq!(golden(&answer), format!("0000000100000000000000{}{}03000000", text("t"), hex(&ID)));

    assert_eq!(golden(&TopicDescribeRequestV1 { name: "t" }), text("t"));
    let answer = TopicDescribeAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        id: ID,
        configs: vec![TopicConfigV1 { key: "k".to_owned(), value: "v".to_owned(), is_own: true }],
        partitions: vec![PartitionDescriptionV1 {
            error: ErrorCode::PARTITION_OFFLINE,
            message: Some("m".to_owned()),
            partition: 1,
            leader_epoch: 2,
            log_start: 3,
            durable: 4,
            high_watermark: 5,
            log_end: 6,
            size_bytes: 7,
            segments: 8,
        }],
    };
    let config = format!("{}{}01", text("k"), text("v"));
    let offsets = "03000000000000000400000000000000050000000000000006000000000000000700000000000000";
    let partition = format!("200001{}0100000002000000{offsets}08000000", text("m"));
    let one = "0100000000000000";
    assert_eq!(golden(&answer), format!("000000{}{one}{config}{one}{partition}", hex(&ID)));

    assert_eq!(golden(&TopicDeleteRequestV1 { name: "t" }), text("t"));
    assert_eq!(golden(&TopicDeleteAnswerV1 { error: ErrorCode::TOO_BUSY, message: None }), "050000");

    let grow = PartitionsCreateRequestV1 { topic: "t", partitions: 3, validate_only: true };
    assert_eq!(golden(&grow), format!("{}0300000001", text("t")));
    let answer = PartitionsCreateAnswerV1 { error: ErrorCode::INVALID_PARTITIONS, message: None };
    assert_eq!(golden(&answer), "0e0000");

    let entries = vec![RecordsDeleteEntryV1 { topic: "t", partition: 1, before: -1 }];
    let expected = format!("{one}{}01000000ffffffffffffffff", text("t"));
    assert_eq!(golden(&RecordsDeleteRequestV1 { entries }), expected);
    let deleted = RecordsDeletedV1 { error: ErrorCode::NOT_ALLOWED, message: None, log_start: 2 };
    let answer = RecordsDeleteAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![deleted] };
    assert_eq!(golden(&answer), format!("000000{one}1200000200000000000000"));

    settings_are_as_drawn(one);
    subscriptions_are_as_drawn();
    groups_are_as_drawn(one);

    for (acks, number) in [(Acks::None, "00"), (Acks::One, "01"), (Acks::All, "02")] {
        let entries = vec![ProduceEntryV1 { topic: "t", partition: 1, record_bytes: 3 }];
        let request = ProduceRequestV1 { acks, timeout_ms: 9, entries };
        let expected = format!("{number}00000009000000{one}{}0100000003000000", text("t"));
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
    let expected = format!("000000{one}0000000100000000000000ffffffffffffffff0200000000000000");
    assert_eq!(golden(&answer), expected);

    let entries = vec![FetchEntryV1 { topic: "t", partition: 1, offset: 2, max_bytes: 3, leader_epoch: -1 }];
    let request = FetchRequestV1 { max_wait_ms: 4, min_bytes: 5, max_bytes: 6, entries };
    let entry = format!("{}01000000020000000000000003000000ffffffff", text("t"));
    assert_eq!(golden(&request), format!("040000000500000006000000{one}{entry}"));
    let fetched = FetchedV1 {
        error: ErrorCode::NONE,
        message: None,
        high_watermark: 1,
        log_start: 2,
        leader_epoch: 3,
        record_bytes: 4,
    };
    let answer = FetchAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![fetched] };
    let expected = format!("000000{one}000000010000000000000002000000000000000300000004000000");
    assert_eq!(golden(&answer), expected);

    for (spec, expected) in [
        (OffsetSpec::Earliest, "00000000"),
        (OffsetSpec::Latest, "01000000"),
        (OffsetSpec::AtTime(-2), "02000000feffffffffffffff"),
    ] {
        let entries = vec![ListOffsetsEntryV1 { topic: "t", partition: 1, spec }];
        let expected = format!("{one}{}01000000{expected}", text("t"));
        assert_eq!(golden(&ListOffsetsRequestV1 { entries }), expected);
    }
    let found =
        ListedOffsetV1 { error: ErrorCode::NONE, message: None, offset: 1, timestamp: 2, leader_epoch: 3 };
    let answer = ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: vec![found] };
    assert_eq!(golden(&answer), format!("000000{one}0000000100000000000000020000000000000003000000"));

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
    assert_eq!(golden(&answer), format!("000000{one}01000000000000000200030000000400000000000000"));

    group_administration();

    assert_eq!(golden(&StatusRequestV1 { counters: false }), "00");
    let answer = StatusAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        version: "v".to_owned(),
        pid: 1,
        run_id: 2,
        uptime_ms: 3,
        data_dir: "d".to_owned(),
        recovered: "r".to_owned(),
        topics: 4,
        partitions: 5,
        counters: vec![("flushes".to_owned(), 6)],
    };
    let numbers = "0100000002000000000000000300000000000000";
    let counter = format!("{}0600000000000000", text("flushes"));
    let expected =
        format!("000000{}{numbers}{}{}0400000005000000{one}{counter}", text("v"), text("d"), text("r"));
    assert_eq!(golden(&answer), expected);
}

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

fn group_administration() {
    let one = "0100000000000000";
    assert_eq!(golden(&GroupListRequestV1 { states: vec!["s"] }), format!("{one}{}", text("s")));
    let listed = ListedGroupV1 {
        group: "g".to_owned(),
        state: "s".to_owned(),
        protocol_type: "p".to_owned(),
        members: 1,
        partitions: 2,
        lag: 3,
        above_end: 4,
    };
    let answer = GroupListAnswerV1 { error: ErrorCode::NONE, message: None, groups: vec![listed] };
    let expected = format!("{}{}{}0100000002000000030000000000000004000000", text("g"), text("s"), text("p"));
    assert_eq!(golden(&answer), format!("000000{one}{expected}"));

    assert_eq!(golden(&GroupDescribeRequestV1 { group: "g" }), text("g"));
    let empty = GroupDescribeAnswerV1 { generation: 1, ..GroupDescribeAnswerV1::default() };
    let none = "0000000000000000";
    let lists = format!("{none}{none}{none}{none}");
    assert_eq!(golden(&empty), format!("000000{none}{none}{none}01000000{none}{lists}"));

    for (to, expected) in [
        (GroupTargetV1::Earliest, "00000000"),
        (GroupTargetV1::Latest, "01000000"),
        (GroupTargetV1::Offset(5), "020000000500000000000000"),
        (GroupTargetV1::AtTime(-1), "03000000ffffffffffffffff"),
        (GroupTargetV1::ShiftBy(-2), "04000000feffffffffffffff"),
    ] {
        let entries = vec![GroupResetEntryV1 { topic: "t", partition: 1, to }];
        let request = GroupResetRequestV1 { group: "g", who: "w", is_dry_run: true, entries };
        let expected = format!("{}{}01{one}{}01000000{expected}", text("g"), text("w"), text("t"));
        assert_eq!(golden(&request), expected);
    }
    let moved = GroupMoveV1 {
        topic: "t".to_owned(),
        partition: 1,
        error: ErrorCode::NONE,
        message: None,
        from: 2,
        to: -1,
    };
    let entry = format!("{one}{}010000000000000200000000000000ffffffffffffffff", text("t"));
    let entries = vec![moved];
    let answer = GroupResetAnswerV1 { entries: entries.clone(), ..GroupResetAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{entry}"));
    let answer = GroupDeleteAnswerV1 { entries: entries.clone(), ..GroupDeleteAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{entry}"));
    let change = GroupChangeV1 { at: 1, who: "w".to_owned(), kind: "reset".to_owned(), partitions: 2 };
    let answer = GroupUndoAnswerV1 { change: Some(change), entries, ..GroupUndoAnswerV1::default() };
    let change = format!("01{one}{}{}02000000", text("w"), text("reset"));
    assert_eq!(golden(&answer), format!("000000{change}{entry}"));
    assert_eq!(golden(&GroupUndoRequestV1 { group: "g", is_dry_run: false }), format!("{}00", text("g")));
    let request = GroupDeleteRequestV1 { group: "g", who: "w", is_dry_run: true };
    assert_eq!(golden(&request), format!("{}{}01", text("g"), text("w")));
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

fn groups_are_as_drawn(one: &str) {
    let protocols = vec![GroupProtocolV1 { name: "p", metadata: b"x" }];
    let join = JoinGroupRequestV1 {
        group: "g",
        member: "m",
        instance: Some("i"),
        client_id: "c",
        session_timeout_ms: 1,
        rebalance_timeout_ms: 2,
        protocol_type: "consumer",
        protocols,
        reason: None,
    };
    let named = format!("{}{}01{}{}", text("g"), text("m"), text("i"), text("c"));
    let ways = format!("{}{one}{}{}00", text("consumer"), text("p"), text("x"));
    assert_eq!(golden(&join), format!("{named}0100000002000000{ways}"));
    let members = vec![JoinedMemberV1 { member: "m".to_owned(), instance: None, metadata: b"x".to_vec() }];
    let answer = JoinGroupAnswerV1 {
        member: "m".to_owned(),
        generation: 3,
        protocol: "p".to_owned(),
        leader: "l".to_owned(),
        skip_assignment: true,
        members,
        ..JoinGroupAnswerV1::default()
    };
    let chosen = format!("{}03000000{}{}01", text("m"), text("p"), text("l"));
    assert_eq!(golden(&answer), format!("000000{chosen}{one}{}00{}", text("m"), text("x")));

    let assignments = vec![GroupAssignmentV1 { member: "m", assignment: b"x" }];
    let sync = SyncGroupRequestV1 {
        group: "g",
        member: "m",
        instance: None,
        generation: 3,
        protocol_type: "consumer",
        protocol: "p",
        assignments,
    };
    let in_generation = format!("{}{}0003000000", text("g"), text("m"));
    let ways = format!("{}{}{one}{}{}", text("consumer"), text("p"), text("m"), text("x"));
    assert_eq!(golden(&sync), format!("{in_generation}{ways}"));
    let answer = SyncGroupAnswerV1 { assignment: b"x".to_vec(), ..SyncGroupAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{}", text("x")));

    let heartbeat = HeartbeatRequestV1 { group: "g", member: "m", instance: None, generation: 3 };
    assert_eq!(golden(&heartbeat), in_generation);
    let answer = HeartbeatAnswerV1 { error: ErrorCode::REBALANCE_IN_PROGRESS, message: None };
    assert_eq!(golden(&answer), "300000");

    let members = vec![LeaverV1 { member: "m", instance: Some("i"), reason: None }];
    let leave = LeaveGroupRequestV1 { group: "g", members };
    assert_eq!(golden(&leave), format!("{}{one}{}01{}00", text("g"), text("m"), text("i")));
    let members = vec![LeftV1 { error: ErrorCode::UNKNOWN_MEMBER, message: None }];
    assert_eq!(
        golden(&LeaveGroupAnswerV1 { members, ..LeaveGroupAnswerV1::default() }),
        format!("000000{one}2c0000")
    );

    let entries = vec![CommitEntryV1 { topic: "t", partition: 1, offset: 2, leader_epoch: -1, note: "n" }];
    let commit = CommitOffsetsRequestV1 { group: "g", member: "m", instance: None, generation: 3, entries };
    let entry = format!("{}010000000200000000000000ffffffff{}", text("t"), text("n"));
    assert_eq!(golden(&commit), format!("{in_generation}{one}{entry}"));
    let entries = vec![CommittedV1 { error: ErrorCode::UNKNOWN_TOPIC, message: None }];
    let answer = CommitOffsetsAnswerV1 { entries, ..CommitOffsetsAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{one}0a0000"));

    let entries = Some(vec![FetchOffsetsEntryV1 { topic: "t", partition: 1 }]);
    let fetch = FetchOffsetsRequestV1 { group: "g", entries };
    assert_eq!(golden(&fetch), format!("{}01{one}{}01000000", text("g"), text("t")));
    assert_eq!(golden(&FetchOffsetsRequestV1 { group: "g", entries: None }), format!("{}00", text("g")));
    let entries = vec![FetchedOffsetV1 {
        topic: "t".to_owned(),
        partition: 1,
        offset: 2,
        leader_epoch: -1,
        note: "n".to_owned(),
        committed_at: 3,
    }];
    let answer = FetchOffsetsAnswerV1 { entries, ..FetchOffsetsAnswerV1::default() };
    assert_eq!(golden(&answer), format!("000000{one}{entry}0300000000000000"));
}

fn settings_are_as_drawn(one: &str) {
    for (resource, expected) in [
        (ConfigResource::Topic("t"), format!("00000000{}", text("t"))),
        (ConfigResource::Broker, "01000000".to_owned()),
        (ConfigResource::AllBrokers, "02000000".to_owned()),
    ] {
        let request = ConfigDescribeRequestV1 { resource, names: Some(vec!["k"]) };
        assert_eq!(golden(&request), format!("{expected}01{one}{}", text("k")));
    }
    let setting = SettingV1 {
        name: "k".to_owned(),
        value: Some("v".to_owned()),
        source: ConfigSource::Broker,
        kind: ConfigKind::Long,
        is_read_only: true,
        doc: "d".to_owned(),
        does_nothing: None,
        synonyms: vec![SynonymV1 {
            name: "s".to_owned(),
            value: "v".to_owned(),
            source: ConfigSource::Default,
        }],
    };
    let answer = ConfigDescribeAnswerV1 { error: ErrorCode::NONE, message: None, settings: vec![setting] };
    let (k, v, s, d) = (text("k"), text("v"), text("s"), text("d"));
    let expected = format!("000000{one}{k}01{v}010000000300000001{d}00{one}{s}{v}04000000");
    assert_eq!(golden(&answer), expected);

    for (operation, number) in [
        (ConfigOperation::Set, "00"),
        (ConfigOperation::Delete, "01"),
        (ConfigOperation::Append, "02"),
        (ConfigOperation::Subtract, "03"),
    ] {
        let changes = vec![ConfigChangeV1 { name: "k", operation, value: Some("v") }];
        let request = ConfigAlterRequestV1 {
            resource: ConfigResource::Broker,
            replaces: true,
            validate_only: false,
            changes,
        };
        assert_eq!(golden(&request), format!("010000000100{one}{k}{number}00000001{v}"));
    }
    let answer = ConfigAlterAnswerV1 { error: ErrorCode::INVALID_CONFIG, message: None };
    assert_eq!(golden(&answer), "0f0000");
}

#[test]
fn every_error_code_has_one_number_and_one_name() {
    let numbers: std::collections::BTreeSet<u16> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    let names: std::collections::BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
    let unknown = ErrorCode::new(60_000);
    assert!(!unknown.is_retriable() && unknown.name().is_none());
    assert_eq!(unknown.to_string(), "error 60000");
}

#[test]
fn lengths_and_flags_are_refused_before_the_rest_is_there() {
    let mut frame = BytesMut::new();
    encode_frame(
        &mut frame,
        Head::request::<TopicListRequestV1>(1),
        &TopicListRequestV1 { internal: true },
        0,
    )
    .unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut fixed = frame[..HEADER_AT].to_vec();
        fixed[at..at + bytes.len()].copy_from_slice(bytes);
        decode_frame(&fixed, FRAME_MAX).unwrap_err()
    };
    for length in [0, 15, FRAME_MAX + 1, u32::MAX] {
        let refused = with(0, &length.to_le_bytes());
        assert_eq!(refused, FrameError::Length { length, frame_max: FRAME_MAX });
    }
    for header_length in [2, header::HEADER_MAX + 1, u32::MAX] {
        let refused = with(16, &header_length.to_le_bytes());
        let header_max = Kind::TopicList.request_header_max();
        assert_eq!(refused, FrameError::HeaderLength { header_length, length: 17, header_max });
    }
    for bit in 3..8 {
        assert_eq!(with(11, &[1 << bit]), FrameError::Flags { flags: 1 << bit });
    }
}

#[test]
fn a_giant_count_is_an_error_and_not_an_allocation() {
    for count in [2, 1 << 32, u64::MAX] {
        let header = [&[1][..], &count.to_le_bytes(), &[0; 8]].concat();
        assert!(header::decode::<MetadataRequestV1<'_>>(&header).is_err(), "{count} topics");
        let header = [&0_u16.to_le_bytes()[..], &[1], &count.to_le_bytes(), b"m"].concat();
        assert!(header::decode::<TopicDeleteAnswerV1>(&header).is_err(), "a message of {count} bytes");
    }
}

#[test]
fn a_header_over_its_limit_is_not_written() {
    let mut out = BytesMut::from(&b"before"[..]);
    let name = "t".repeat(header::HEADER_MAX as usize);
    let request = TopicDeleteRequestV1 { name: &name };
    let refused = encode_frame(&mut out, Head::request::<TopicDeleteRequestV1<'_>>(1), &request, 0);
    assert!(matches!(refused, Err(EncodeError::Header(_))));
    let long = request_of(&name[..4096]);
    let refused = encode_frame(&mut out, Head::request::<TopicDeleteRequestV1<'_>>(1), &long, 0);
    let header_max = Kind::TopicDelete.request_header_max();
    assert!(matches!(refused, Err(EncodeError::HeaderTooLarge { header_max: max, .. }) if max == header_max));
    for record_bytes in [1 << 32, usize::MAX] {
        let head = Head::request::<TopicDeleteRequestV1<'_>>(1);
        let refused = encode_frame(&mut out, head, &request_of("t"), record_bytes);
        assert!(matches!(refused, Err(EncodeError::TooLarge { .. })), "{record_bytes} record bytes");
    }
    assert_eq!(&out[..], b"before");
}

fn request_of(name: &str) -> TopicDeleteRequestV1<'_> {
    TopicDeleteRequestV1 { name }
}

#[test]
fn the_drawing_lists_every_error_code() {
    let drawn: Vec<&str> = include_str!("../../README.md")
        .lines()
        .skip_while(|line| *line != "| code | name | retriable |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let row = |code: &ErrorCode| {
        let retriable = if code.is_retriable() { "yes" } else { "no" };
        format!("| {} | {code} | {retriable} |", code.number())
    };
    assert_eq!(drawn, ErrorCode::ALL.iter().map(row).collect::<Vec<_>>());
}

/// Reads back what is written, and refuses it with any one byte cut off.
fn round_trips<'a, T: Message + Serialize + Deserialize<'a> + PartialEq + Debug>(
    message: &T,
    out: &'a mut BytesMut,
) -> Result<(), TestCaseError> {
    encode_frame(out, Head::request::<T>(1), message, 0).unwrap();
    let frame = decode_frame(&*out, FRAME_MAX).unwrap().unwrap();
    prop_assert_eq!(&frame.header::<T>().unwrap(), message);
    for size in 0..frame.header.len() {
        let short = Frame { header: &frame.header[..size], ..frame };
        prop_assert!(short.header::<T>().is_err(), "{} bytes of {}", size, frame.header.len());
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_produce_comes_back_as_it_went(
        acks in prop::sample::select(vec![Acks::None, Acks::One, Acks::All]),
        timeout_ms: u32,
        entries in prop::collection::vec((".{0,20}", any::<u32>(), any::<u32>()), 0..6),
    ) {
        let entries = entries.iter().map(|(topic, partition, record_bytes)| ProduceEntryV1 {
            topic,
            partition: *partition,
            record_bytes: *record_bytes,
        });
        let request = ProduceRequestV1 { acks, timeout_ms, entries: entries.collect() };
        round_trips(&request, &mut BytesMut::new())?;
    }

    #[test]
    fn a_fetch_answer_comes_back_as_it_went(
        error: u16,
        message in prop::option::of(".{0,20}"),
        entries in prop::collection::vec(
            (any::<u16>(), prop::option::of(".{0,20}"), any::<(i64, i64, i32, u32)>()),
            0..6,
        ),
    ) {
        let entries = entries.into_iter().map(|(error, message, of)| FetchedV1 {
            error: ErrorCode::new(error),
            message,
            high_watermark: of.0,
            log_start: of.1,
            leader_epoch: of.2,
            record_bytes: of.3,
        });
        let answer =
            FetchAnswerV1 { error: ErrorCode::new(error), message, entries: entries.collect() };
        round_trips(&answer, &mut BytesMut::new())?;
    }

    #[test]
    fn a_status_comes_back_as_it_went(
        texts in any::<(String, String, String)>(),
        numbers: (u32, u64, u64, u32, u32),
        counters in prop::collection::vec(any::<(String, u64)>(), 0..6),
    ) {
        let answer = StatusAnswerV1 {
            error: ErrorCode::NONE,
            message: None,
            version: texts.0,
            pid: numbers.0,
            run_id: numbers.1,
            uptime_ms: numbers.2,
            data_dir: texts.1,
            recovered: texts.2,
            topics: numbers.3,
            partitions: numbers.4,
            counters,
        };
        round_trips(&answer, &mut BytesMut::new())?;
    }

    #[test]
    fn any_flip_in_what_the_checksum_covers_is_found(name in "[a-z]{0,40}", correlation: u32, bit in 0_usize..8, at: prop::sample::Index) {
        let mut out = BytesMut::new();
        let head = Head::request::<TopicDeleteRequestV1<'_>>(correlation);
        encode_frame(&mut out, head, &request_of(&name), 0).unwrap();
        let at = 4 + at.index(out.len() - 4);
        out[at] ^= 1 << bit;
        prop_assert!(decode_frame(&out, FRAME_MAX).is_err(), "byte {at}");
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_incomplete_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Preface::decode(&bytes);
        let _ = decode_frame(&bytes, FRAME_MAX);
        let _ = header::decode::<MetadataRequestV1<'_>>(&bytes);
        let _ = header::decode::<TopicCreateRequestV1<'_>>(&bytes);
        let _ = header::decode::<ProduceRequestV1<'_>>(&bytes);
        let _ = header::decode::<ProduceAnswerV1>(&bytes);
        let _ = header::decode::<FetchRequestV1<'_>>(&bytes);
        let _ = header::decode::<FetchAnswerV1>(&bytes);
        let _ = header::decode::<ListOffsetsRequestV1<'_>>(&bytes);
        let _ = header::decode::<TopicDescribeAnswerV1>(&bytes);
        let _ = header::decode::<InitProducerRequestV1<'_>>(&bytes);
        let _ = header::decode::<DescribeProducersAnswerV1>(&bytes);
        let _ = header::decode::<StatusAnswerV1>(&bytes);
        let _ = header::decode::<GroupDescribeAnswerV1>(&bytes);
        let _ = header::decode::<GroupResetRequestV1<'_>>(&bytes);
    }

    #[test]
    fn an_incomplete_frame_is_incomplete_at_every_byte(name in "[a-z]{0,40}", records in 0_usize..50) {
        let mut out = BytesMut::new();
        encode_frame(&mut out, Head::request::<TopicDeleteRequestV1<'_>>(1), &request_of(&name), records).unwrap();
        out.resize(out.len() + records, 7);
        for size in 0..out.len() {
            prop_assert_eq!(decode_frame(&out[..size], FRAME_MAX), Ok(None));
        }
        prop_assert_eq!(decode_frame(&out, FRAME_MAX).unwrap().unwrap().size(), out.len());
    }
}
