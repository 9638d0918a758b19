//! The preface, the frame, and what hostile lengths cannot do.

use super::*;

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
fn every_error_code_has_one_number_and_one_name() {
    let numbers: std::collections::BTreeSet<u16> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    let names: std::collections::BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
    let unknown = ErrorCode::new(60_000);
    assert!(!unknown.is_retriable() && unknown.name().is_none());
    assert_eq!(unknown.to_string(), "error 60000");
}

#[test]
fn the_drawing_lists_every_error_code() {
    let drawn: Vec<&str> = include_str!("../../../README.md")
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
