//! Claims about record bytes, which no decoding and no encoding copies, and about fields that a version lacks.

use bytes::Bytes;

use crate::kafka::current_leader::LeaderIdAndEpoch;
use crate::kafka::fetch::*;
use crate::kafka::produce::*;
use crate::kafka::*;

fn answer(first: Records<'static>, second: Records<'static>) -> FetchResponse<'static> {
    let partition = |partition_index, records| PartitionData {
        partition_index,
        high_watermark: 40,
        records: Some(records),
        ..PartitionData::default()
    };
    FetchResponse {
        responses: vec![FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![partition(0, first), partition(1, Records::default()), partition(2, second)],
            ..FetchableTopicResponse::default()
        }],
        ..FetchResponse::default()
    }
}

#[test]
fn records_of_an_answer_are_left_out_and_their_places_told() {
    const FIRST: &[u8] = &[0xaa; 300];
    const SECOND: &[u8] = &[0xbb; 5];
    for version in 4..=18 {
        let held = answer(Records::Held(FIRST), Records::Held(SECOND));
        let held = encode_response(version, 9, &held).unwrap();
        let spliced = answer(Records::Spliced(FIRST.len()), Records::Spliced(SECOND.len()));
        let spliced = encode_response(version, 9, &spliced).unwrap();
        assert_eq!(spliced.size(), held.size());
        assert!(spliced.heap().len() < held.heap().len() - 300);

        let mut records = [FIRST, SECOND].into_iter();
        let mut sizes = Vec::new();
        let filled: Vec<u8> = spliced
            .into_parts()
            .flat_map(|part| match part {
                Part::Heap(bytes) => {
                    assert!(!bytes.is_empty());
                    bytes
                }
                Part::Splice(size) => {
                    sizes.push(size);
                    Bytes::from_static(records.next().unwrap())
                }
            })
            .collect();
        assert_eq!(sizes, [300, 5], "empty records leave no gap");
        assert_eq!(filled, held.heap()[..], "version {version}");
        let length = i32::from_be_bytes(filled[..4].try_into().unwrap());
        assert_eq!(length as usize, filled.len() - 4, "the length of the frame counts the records");
    }
}

#[test]
fn a_gap_inside_a_tagged_field_counts_in_its_length_and_stays_in_its_place() {
    let mut writer = Writer::framed();
    writer.put_tagged(3, |writer| {
        writer.put_i8(1);
        writer.splice(200);
        writer.put_i8(2);
    });
    let parts: Vec<Part> = writer.finish().unwrap().into_parts().collect();
    assert_eq!(
        parts,
        [
            Part::Heap(Bytes::from_static(&[0, 0, 0, 205, 3, 202, 1, 1])),
            Part::Splice(200),
            Part::Heap(Bytes::from_static(&[2])),
        ]
    );
}

#[test]
fn records_of_a_request_are_found_in_place() {
    let batch = [0x5a; 90];
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: "t",
            partition_data: vec![PartitionProduceData { index: 3, records: Some(&batch) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let frame = encode_request(9, 1, Some("c"), &request).unwrap().heap().clone();
    let mut reader = Reader::new(&frame[4..]);
    let header = RequestHeader::decode(&mut reader).unwrap();
    let read = ProduceRequest::decode(&mut reader, header.version).unwrap();
    assert_eq!(read, request);
    let records = read.topic_data[0].partition_data[0].records.unwrap();
    let shared = frame.slice_ref(records);
    assert_eq!(shared.as_ptr(), records.as_ptr(), "the frame itself, not a copy");
}

#[test]
fn a_field_that_a_version_lacks_is_dropped_if_kafka_drops_it_and_else_refused() {
    let mut answer = answer(Records::default(), Records::default());
    answer.responses[0].topic_id = uuid::Uuid::from_u128(7);
    let bytes = encode_response(12, 0, &answer).unwrap();
    assert!(!bytes.heap().windows(16).any(|window| window == uuid::Uuid::from_u128(7).as_bytes()));

    answer.responses[0].partitions[0].current_leader = LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2 };
    assert!(encode_response(12, 0, &answer).is_ok());
    let refused = EncodeError::Field { field: "PartitionData.current_leader", version: 11 };
    assert_eq!(encode_response(11, 0, &answer), Err(refused));
}

#[test]
fn tagged_fields_are_written_only_if_they_say_something() {
    let plain = answer(Records::default(), Records::default());
    let mut moved = plain.clone();
    moved.responses[0].partitions[0].current_leader = LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2 };
    let (plain, moved) = (encode_response(16, 0, &plain).unwrap(), encode_response(16, 0, &moved).unwrap());
    // Tag, length, two numbers and the struct's own tags.
    assert_eq!(moved.size() - plain.size(), 2 + 4 + 4 + 1);
}

#[test]
fn what_a_version_lacks_reads_as_kafkas_default() {
    let request = FetchRequest { max_wait_ms: 500, ..FetchRequest::default() };
    let bytes = encode_request(4, 0, None, &request).unwrap();
    let mut reader = Reader::new(&bytes.heap()[4..]);
    RequestHeader::decode(&mut reader).unwrap();
    let read = FetchRequest::decode(&mut reader, 4).unwrap();
    assert_eq!((read.session_id, read.session_epoch, read.max_bytes), (0, -1, i32::MAX));
    assert_eq!((read.cluster_id, read.rack_id), (None, ""));
}
