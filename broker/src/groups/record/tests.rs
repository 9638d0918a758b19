use proptest::prelude::*;

use super::*;

/// The values of Kafka 4.4's `OffsetCommitValue` and `GroupMetadataValue`, written by its own classes.
const OFFSETS: &[(i16, &str)] = &[
    (0, "0000000000000000002a00046e6f746500000000000003e8"),
    (1, "0001000000000000002a00046e6f746500000000000003e800000000000007d0"),
    (2, "0002000000000000002a00046e6f746500000000000003e8"),
    (3, "0003000000000000002a0000000300046e6f746500000000000003e8"),
    (4, "0004000000000000002a00000003056e6f746500000000000003e800"),
];
const OFFSET_WITH_TOPIC_ID: &str =
    "0004000000000000002a00000003056e6f746500000000000003e80100100102030405060708090a0b0c0d0e0f10";
const GROUPS: &[(i16, &str)] = &[
    (
        0,
        "00000008636f6e73756d657200000005000572616e676500026d310000000100026d31000163000a2f3132372e302e302e310000afc80000000201020000000103",
    ),
    (
        1,
        "00010008636f6e73756d657200000005000572616e676500026d310000000100026d31000163000a2f3132372e302e302e310000ea600000afc80000000201020000000103",
    ),
    (
        2,
        "00020008636f6e73756d657200000005000572616e676500026d3100000000000003e80000000100026d31000163000a2f3132372e302e302e310000ea600000afc80000000201020000000103",
    ),
    (
        3,
        "00030008636f6e73756d657200000005000572616e676500026d3100000000000003e80000000100026d31000169000163000a2f3132372e302e302e310000ea600000afc80000000201020000000103",
    ),
    (
        4,
        "000409636f6e73756d6572000000050672616e6765036d3100000000000003e802036d31026902630b2f3132372e302e302e310000ea600000afc803010202030000",
    ),
];
const GROUP_WITHOUT_MEMBERS: &str = "00030008636f6e73756d657200000006ffffffff00000000000003e800000000";
const OFFSET_KEY: &str = "000100016700066f726465727300000007";
const GROUP_KEY: &str = "0002000167";

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn offset(committed: Committed) -> GroupRecord {
    let (group, topic) = (Arc::from("g"), Arc::from("orders"));
    GroupRecord::Offset { group, topic, partition: 7, committed: Some(committed) }
}

fn committed() -> Committed {
    Committed {
        offset: 42,
        leader_epoch: 3,
        metadata: Arc::from("note"),
        committed_at: Timestamp::new(1000),
        expires_at: None,
        topic_id: Uuid::nil(),
    }
}

fn group(value: GroupValue) -> GroupRecord {
    GroupRecord::Group { group: Arc::from("g"), value: Some(value) }
}

fn value() -> GroupValue {
    let member = MemberValue {
        member: Arc::from("m1"),
        instance: Some(Arc::from("i")),
        client_id: Arc::from("c"),
        client_host: Arc::from("127.0.0.1"),
        rebalance_timeout_ms: 60_000,
        session_timeout_ms: 45_000,
        subscription: Bytes::from_static(&[1, 2]),
        assignment: Bytes::from_static(&[3]),
    };
    GroupValue {
        protocol_type: Arc::from("consumer"),
        generation: 5,
        protocol: Some(Arc::from("range")),
        leader: Some(Arc::from("m1")),
        state_since: Timestamp::new(1000),
        members: vec![member],
    }
}

fn written(record: &GroupRecord) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.write_key(&mut key);
    let has_value = record.write_value(&mut value);
    (key, has_value.then_some(value))
}

#[test]
fn offsets_are_written_as_kafka_writes_them() {
    let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let cases = [
        (committed(), OFFSETS[4].1),
        (Committed { topic_id: id, ..committed() }, OFFSET_WITH_TOPIC_ID),
        (Committed { expires_at: Some(Timestamp::new(2000)), ..committed() }, OFFSETS[1].1),
    ];
    for (committed, bytes) in cases {
        assert_eq!(written(&offset(committed)), (unhex(OFFSET_KEY), Some(unhex(bytes))));
    }
}

#[test]
fn groups_are_written_as_kafka_writes_them() {
    let empty = GroupValue { generation: 6, protocol: None, leader: None, members: Vec::new(), ..value() };
    for (value, bytes) in [(value(), GROUPS[3].1), (empty, GROUP_WITHOUT_MEMBERS)] {
        assert_eq!(written(&group(value)), (unhex(GROUP_KEY), Some(unhex(bytes))));
    }
}

#[test]
fn every_version_of_an_offset_is_read() {
    for (version, bytes) in OFFSETS {
        let read = GroupRecord::read(&unhex(OFFSET_KEY), Some(&unhex(bytes))).unwrap();
        let leader_epoch = if *version >= 3 { 3 } else { -1 };
        let expires_at = (*version == 1).then_some(Timestamp::new(2000));
        assert_eq!(read, offset(Committed { leader_epoch, expires_at, ..committed() }), "version {version}");
    }
}

#[test]
fn every_version_of_a_group_is_read() {
    for (version, bytes) in GROUPS {
        let read = GroupRecord::read(&unhex(GROUP_KEY), Some(&unhex(bytes))).unwrap();
        let mut value = value();
        if *version < 3 {
            value.members[0].instance = None;
        }
        if *version < 2 {
            value.state_since = Timestamp::NONE;
        }
        if *version < 1 {
            value.members[0].rebalance_timeout_ms = -1;
        }
        assert_eq!(read, group(value), "version {version}");
    }
}

#[test]
fn a_record_without_a_value_is_a_tombstone() {
    let key = unhex(OFFSET_KEY);
    let read = GroupRecord::read(&key, None).unwrap();
    assert!(matches!(read, GroupRecord::Offset { committed: None, partition: 7, .. }));
    assert_eq!(written(&read), (key, None));
    let read = GroupRecord::read(&unhex(GROUP_KEY), None).unwrap();
    assert!(matches!(read, GroupRecord::Group { value: None, .. }));
}

#[test]
fn keys_of_the_oldest_kind_are_offsets_too() {
    let mut key = unhex(OFFSET_KEY);
    key[1] = 0;
    assert!(matches!(GroupRecord::read(&key, None), Ok(GroupRecord::Offset { partition: 7, .. })));
}

#[test]
fn what_newer_coordinators_write_is_told_apart_from_damage() {
    let mut key = unhex(GROUP_KEY);
    key[1] = 3;
    assert_eq!(GroupRecord::read(&key, None), Err(RecordFault::UnknownKind(3)));
    let mut bytes = unhex(GROUPS[4].1);
    bytes[1] = 5;
    let read = GroupRecord::read(&unhex(GROUP_KEY), Some(&bytes));
    assert_eq!(read, Err(RecordFault::UnknownVersion(5)));
}

#[test]
fn a_record_that_is_cut_off_anywhere_is_damaged() {
    for (_, bytes) in GROUPS {
        let bytes = unhex(bytes);
        for length in 0..bytes.len() {
            let read = GroupRecord::read(&unhex(GROUP_KEY), Some(&bytes[..length]));
            assert!(matches!(read, Err(RecordFault::Damaged(_))), "{length} bytes");
        }
    }
}

#[test]
fn a_name_that_could_not_be_written_again_is_refused() {
    let mut bytes = unhex("0004");
    put_uvarint(&mut bytes, 40_001);
    bytes.extend_from_slice(&[b'x'; 40_000]);
    bytes.extend_from_slice(&unhex("000000010000ffffffffffffffff0100"));
    let read = GroupRecord::read(&unhex(GROUP_KEY), Some(&bytes));
    assert_eq!(read, Err(RecordFault::LongName(40_000)));
    // A note is not: it is never written again.
    let mut bytes = unhex("0004000000000000002affffffff");
    put_uvarint(&mut bytes, 40_001);
    bytes.extend_from_slice(&[b'x'; 40_000]);
    bytes.extend_from_slice(&unhex("00000000000003e800"));
    assert!(GroupRecord::read(&unhex(OFFSET_KEY), Some(&bytes)).is_ok());
}

#[test]
fn a_count_of_members_allocates_nothing_by_itself() {
    let mut bytes = unhex(GROUP_WITHOUT_MEMBERS);
    let count_at = bytes.len() - 4;
    bytes[count_at..].copy_from_slice(&i32::MAX.to_be_bytes());
    let read = GroupRecord::read(&unhex(GROUP_KEY), Some(&bytes));
    assert!(matches!(read, Err(RecordFault::Damaged(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(key: Vec<u8>, value: Option<Vec<u8>>, kind in 0i16..4, version in 0i16..6) {
        let _ = GroupRecord::read(&key, value.as_deref());
        let mut told = kind.to_be_bytes().to_vec();
        told.extend_from_slice(&[0, 1, b'g', 0, 1, b't', 0, 0, 0, 1]);
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend(value.unwrap_or_default());
        let _ = GroupRecord::read(&told, Some(&bytes));
    }

    #[test]
    fn what_was_written_reads_back(
        offset in any::<i64>(), epoch in any::<i32>(), note in ".{0,40}", at: i64, id: u128, expires in any::<Option<i32>>(),
    ) {
        // An offset that says when it goes has no epoch and no topic id.
        let plain = expires.is_none();
        let committed = Committed {
            offset,
            leader_epoch: if plain { epoch } else { -1 },
            metadata: Arc::from(note),
            committed_at: Timestamp::new(at),
            expires_at: expires.map(|ms| Timestamp::new(i64::from(ms.saturating_abs()))),
            topic_id: Uuid::from_u128(if plain { id } else { 0 }),
        };
        let record = super::tests::offset(committed);
        let (key, value) = written(&record);
        prop_assert_eq!(GroupRecord::read(&key, value.as_deref()).unwrap(), record);
    }
}
