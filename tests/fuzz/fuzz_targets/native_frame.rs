//! Bytes of unknown origin as a preface, a frame and every header: an error, incomplete or a message, never
//! a panic, and never memory in proportion to a number in the bytes.
//!
//! The first byte of the input says whether the checksum is made right before reading: without that, a fuzzer
//! would hardly ever see a header.

#![no_main]

use folio_wire::native::configs::{
    ConfigAlterAnswerV1, ConfigAlterRequestV1, ConfigDescribeAnswerV1, ConfigDescribeRequestV1,
};
use folio_wire::native::fetch::{FetchAnswerV1, FetchRequestV1};
use folio_wire::native::group_admin::{
    GroupDeleteAnswerV1, GroupDeleteRequestV1, GroupDescribeAnswerV1, GroupDescribeRequestV1,
    GroupListAnswerV1, GroupListRequestV1, GroupResetAnswerV1, GroupResetRequestV1, GroupUndoAnswerV1,
    GroupUndoRequestV1,
};
use folio_wire::native::groups::{
    CommitOffsetsAnswerV1, CommitOffsetsRequestV1, FetchOffsetsAnswerV1, FetchOffsetsRequestV1,
    HeartbeatAnswerV1, HeartbeatRequestV1, JoinGroupAnswerV1, JoinGroupRequestV1, LeaveGroupAnswerV1,
    LeaveGroupRequestV1, SyncGroupAnswerV1, SyncGroupRequestV1,
};
use folio_wire::native::metadata::{MetadataAnswerV1, MetadataRequestV1};
use folio_wire::native::offsets::{ListOffsetsAnswerV1, ListOffsetsRequestV1};
use folio_wire::native::produce::{ProduceAnswerV1, ProduceRequestV1};
use folio_wire::native::producers::{
    DescribeProducersAnswerV1, DescribeProducersRequestV1, InitProducerAnswerV1, InitProducerRequestV1,
};
use folio_wire::native::records::{RecordsDeleteAnswerV1, RecordsDeleteRequestV1};
use folio_wire::native::status::{StatusAnswerV1, StatusRequestV1};
use folio_wire::native::subscribe::{
    BatchesV1, CreditAnswerV1, CreditRequestV1, SubscribeAnswerV1, SubscribeRequestV1, SubscriptionEndV1,
    UnsubscribeAnswerV1, UnsubscribeRequestV1,
};
use folio_wire::native::topics::{
    PartitionsCreateAnswerV1, PartitionsCreateRequestV1, TopicCreateAnswerV1, TopicCreateRequestV1,
    TopicDeleteAnswerV1, TopicDeleteRequestV1, TopicDescribeAnswerV1, TopicDescribeRequestV1,
    TopicListAnswerV1, TopicListRequestV1,
};
use folio_wire::native::{Frame, Kind, Preface, UnsupportedV1, decode_frame};
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: u32 = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, bytes)) = input.split_first() else { return };
    let _ = Preface::decode(bytes);
    let mut bytes = bytes.to_vec();
    if mode & 1 == 1 && bytes.len() >= 20 {
        make_plausible(&mut bytes);
    }
    let Ok(Some(frame)) = decode_frame(&bytes, FRAME_MAX) else { return };
    assert!(frame.size() <= bytes.len());
    assert_eq!(frame.records.len() + frame.records_at(), frame.size());
    if let Some(kind) = Kind::from_number(frame.head.kind) {
        read(kind, &frame);
    }
});

/// The length and the checksum that the rest of the bytes calls for.
fn make_plausible(bytes: &mut [u8]) {
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let header_length = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]) as usize;
    if let Some(covered) = bytes.get(8..20_usize.saturating_add(header_length)) {
        let crc = crc32fast::hash(covered);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

fn read(kind: Kind, frame: &Frame<'_>) {
    match kind {
        Kind::Unsupported => drop(frame.header::<UnsupportedV1>()),
        Kind::Metadata => {
            drop(frame.header::<MetadataRequestV1<'_>>());
            drop(frame.header::<MetadataAnswerV1>());
        }
        Kind::TopicCreate => {
            drop(frame.header::<TopicCreateRequestV1<'_>>());
            drop(frame.header::<TopicCreateAnswerV1>());
        }
        Kind::TopicList => {
            drop(frame.header::<TopicListRequestV1>());
            drop(frame.header::<TopicListAnswerV1>());
        }
        Kind::TopicDescribe => {
            drop(frame.header::<TopicDescribeRequestV1<'_>>());
            drop(frame.header::<TopicDescribeAnswerV1>());
        }
        Kind::TopicDelete => {
            drop(frame.header::<TopicDeleteRequestV1<'_>>());
            drop(frame.header::<TopicDeleteAnswerV1>());
        }
        Kind::PartitionsCreate => {
            drop(frame.header::<PartitionsCreateRequestV1<'_>>());
            drop(frame.header::<PartitionsCreateAnswerV1>());
        }
        Kind::RecordsDelete => {
            drop(frame.header::<RecordsDeleteRequestV1<'_>>());
            drop(frame.header::<RecordsDeleteAnswerV1>());
        }
        Kind::ConfigDescribe => {
            drop(frame.header::<ConfigDescribeRequestV1<'_>>());
            drop(frame.header::<ConfigDescribeAnswerV1>());
        }
        Kind::ConfigAlter => {
            drop(frame.header::<ConfigAlterRequestV1<'_>>());
            drop(frame.header::<ConfigAlterAnswerV1>());
        }
        Kind::Produce => {
            drop(frame.header::<ProduceRequestV1<'_>>());
            drop(frame.header::<ProduceAnswerV1>());
        }
        Kind::Fetch => {
            drop(frame.header::<FetchRequestV1<'_>>());
            drop(frame.header::<FetchAnswerV1>());
        }
        Kind::ListOffsets => {
            drop(frame.header::<ListOffsetsRequestV1<'_>>());
            drop(frame.header::<ListOffsetsAnswerV1>());
        }
        Kind::InitProducer => {
            drop(frame.header::<InitProducerRequestV1<'_>>());
            drop(frame.header::<InitProducerAnswerV1>());
        }
        Kind::DescribeProducers => {
            drop(frame.header::<DescribeProducersRequestV1<'_>>());
            drop(frame.header::<DescribeProducersAnswerV1>());
        }
        Kind::JoinGroup => {
            drop(frame.header::<JoinGroupRequestV1<'_>>());
            drop(frame.header::<JoinGroupAnswerV1>());
        }
        Kind::SyncGroup => {
            drop(frame.header::<SyncGroupRequestV1<'_>>());
            drop(frame.header::<SyncGroupAnswerV1>());
        }
        Kind::Heartbeat => {
            drop(frame.header::<HeartbeatRequestV1<'_>>());
            drop(frame.header::<HeartbeatAnswerV1>());
        }
        Kind::LeaveGroup => {
            drop(frame.header::<LeaveGroupRequestV1<'_>>());
            drop(frame.header::<LeaveGroupAnswerV1>());
        }
        Kind::CommitOffsets => {
            drop(frame.header::<CommitOffsetsRequestV1<'_>>());
            drop(frame.header::<CommitOffsetsAnswerV1>());
        }
        Kind::FetchOffsets => {
            drop(frame.header::<FetchOffsetsRequestV1<'_>>());
            drop(frame.header::<FetchOffsetsAnswerV1>());
        }
        Kind::Status => {
            drop(frame.header::<StatusRequestV1>());
            drop(frame.header::<StatusAnswerV1>());
        }
        Kind::GroupList => {
            drop(frame.header::<GroupListRequestV1<'_>>());
            drop(frame.header::<GroupListAnswerV1>());
        }
        Kind::GroupDescribe => {
            drop(frame.header::<GroupDescribeRequestV1<'_>>());
            drop(frame.header::<GroupDescribeAnswerV1>());
        }
        Kind::GroupReset => {
            drop(frame.header::<GroupResetRequestV1<'_>>());
            drop(frame.header::<GroupResetAnswerV1>());
        }
        Kind::GroupUndo => {
            drop(frame.header::<GroupUndoRequestV1<'_>>());
            drop(frame.header::<GroupUndoAnswerV1>());
        }
        Kind::GroupDelete => {
            drop(frame.header::<GroupDeleteRequestV1<'_>>());
            drop(frame.header::<GroupDeleteAnswerV1>());
        }
        Kind::Subscribe => {
            drop(frame.header::<SubscribeRequestV1<'_>>());
            drop(frame.header::<SubscribeAnswerV1>());
        }
        Kind::Batches => drop(frame.header::<BatchesV1>()),
        Kind::Credit => {
            drop(frame.header::<CreditRequestV1>());
            drop(frame.header::<CreditAnswerV1>());
        }
        Kind::Unsubscribe => {
            drop(frame.header::<UnsubscribeRequestV1>());
            drop(frame.header::<UnsubscribeAnswerV1>());
        }
        Kind::SubscriptionEnd => drop(frame.header::<SubscriptionEndV1>()),
    }
}
