//! Whatever is written is read back, and whatever comes is no panic.

use proptest::prelude::*;

use super::*;

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
