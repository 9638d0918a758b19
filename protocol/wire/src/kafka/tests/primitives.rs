//! Claims about single values.

use proptest::prelude::*;

use crate::kafka::*;

/// A value, whether the form is flexible, its bytes.
type Row<T> = (Option<T>, bool, &'static [u8]);

fn fault<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> DecodeFault {
    result.unwrap_err().fault
}

fn heap(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.finish().unwrap().heap().to_vec()
}

#[test]
fn varints_are_written_as_kafka_writes_them() {
    let table: &[(u32, &[u8])] = &[
        (0, &[0]),
        (1, &[1]),
        (127, &[0x7f]),
        (128, &[0x80, 1]),
        (300, &[0xac, 2]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 1]),
        (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ];
    for &(value, bytes) in table {
        assert_eq!(heap(|writer| writer.put_uvarint(value)), bytes);
        assert_eq!(Reader::new(bytes).uvarint(), Ok(value));
    }
}

#[test]
fn a_varint_beyond_32_bits_is_an_error() {
    for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x10][..], &[0x80; 5], &[0xff; 12]] {
        assert_eq!(fault(Reader::new(bytes).uvarint()), DecodeFault::Varint);
    }
    assert!(matches!(fault(Reader::new(&[0x80, 0x80]).uvarint()), DecodeFault::Truncated { .. }));
}

#[test]
fn strings_have_two_forms_and_a_null_in_each() {
    let table: &[Row<&str>] = &[
        (Some("ab"), false, b"\0\x02ab"),
        (Some("ab"), true, b"\x03ab"),
        (Some(""), false, b"\0\0"),
        (Some(""), true, b"\x01"),
        (None, false, b"\xff\xff"),
        (None, true, b"\0"),
    ];
    for &(text, flexible, bytes) in table {
        assert_eq!(heap(|writer| writer.put_text(text, flexible)), bytes);
        assert_eq!(Reader::new(bytes).text(flexible), Ok(text));
    }
    assert_eq!(fault(Reader::new(b"\x03a\xff").text(true)), DecodeFault::Text);
    assert_eq!(fault(Reader::new(b"\0\x02a").text(false)), DecodeFault::Truncated { needed: 2, left: 1 });
}

#[test]
fn bytes_have_two_forms_and_a_null_in_each() {
    let table: &[Row<&[u8]>] = &[
        (Some(b"ab"), false, b"\0\0\0\x02ab"),
        (Some(b"ab"), true, b"\x03ab"),
        (None, false, b"\xff\xff\xff\xff"),
        (None, true, b"\0"),
    ];
    for &(value, flexible, bytes) in table {
        assert_eq!(heap(|writer| writer.put_bytes(value, flexible)), bytes);
        assert_eq!(Reader::new(bytes).bytes(flexible), Ok(value));
    }
}

#[test]
fn a_string_too_long_for_its_length_is_an_error_and_not_cut() {
    let text = "x".repeat(32_768);
    let mut writer = Writer::new();
    writer.put_text(Some(&text), false);
    assert_eq!(writer.finish(), Err(EncodeError::Size { size: 32_768, at: 0 }));
    assert_eq!(heap(|writer| writer.put_text(Some(&text), true)).len(), 3 + 32_768);
}

#[test]
fn unknown_tagged_fields_are_passed_over() {
    let mut reader = Reader::new(&[2, 0, 1, 0xaa, 0x81, 1, 2, 0xbb, 0xcc, 7]);
    reader.skip_tagged().unwrap();
    assert_eq!((reader.at(), reader.left()), (9, 1));
    assert_eq!(reader.expect_end(), Err(DecodeError { at: 9, fault: DecodeFault::Trailing { left: 1 } }));
}

#[test]
fn counts_of_elements_and_tags_are_held_against_what_remains() {
    assert_eq!(
        fault(Reader::new(&[0, 0, 0, 4, 1, 2]).count(false, 1)),
        DecodeFault::Count { count: 4, left: 2 }
    );
    assert_eq!(fault(Reader::new(&[4, 1, 2, 3, 4]).count(true, 2)), DecodeFault::Count { count: 3, left: 4 });
    assert_eq!(Reader::new(&[3, 1, 2, 3, 4]).count(true, 2), Ok(Some(2)));
    assert_eq!(fault(Reader::new(&[2, 0, 0, 0]).tagged_count()), DecodeFault::Count { count: 2, left: 3 });
    assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).count(false, 1), Ok(None));
}

#[test]
fn a_tagged_field_carries_its_length_also_when_that_takes_two_bytes() {
    let bytes = heap(|writer| writer.put_tagged(5, |writer| writer.put_text(Some(&"y".repeat(200)), true)));
    assert_eq!(bytes[..5], [5, 202, 1, 201, 1]);
    let mut reader = Reader::new(&bytes);
    let (tag, mut value) = reader.tagged().unwrap();
    assert_eq!((tag, value.text(true).unwrap().unwrap().len(), reader.left()), (5, 200, 0));
}

#[test]
fn the_elements_of_all_lists_together_are_held_against_what_the_reader_takes() {
    let bytes = [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0];
    let mut reader = Reader::new(&bytes).with_elements_max(4);
    assert_eq!(reader.count(false, 1), Ok(Some(2)));
    let refused = DecodeError { at: 8, fault: DecodeFault::Elements { count: 3, left: 2 } };
    assert_eq!(reader.count(false, 1), Err(refused));
    assert_eq!(Reader::new(&bytes).with_elements_max(2).count(false, 1), Ok(Some(2)));
}

proptest! {
    #[test]
    fn every_varint_is_read_as_it_was_written(value: u32) {
        let bytes = heap(|writer| writer.put_uvarint(value));
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.uvarint(), Ok(value));
        prop_assert_eq!(reader.left(), 0);
    }
}
