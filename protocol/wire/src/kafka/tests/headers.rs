//! Claims about what stands in front of a message.

use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::metadata::{MetadataRequest, MetadataResponse};
use crate::kafka::*;

#[test]
fn a_client_id_keeps_its_old_form_and_may_be_null_or_empty_in_flexible_versions() {
    for (client_id, id_bytes) in [(None, &b"\xff\xff"[..]), (Some(""), b"\0\0"), (Some("me"), b"\0\x02me")] {
        for (version, tags) in [(8, &b""[..]), (9, b"\0")] {
            let bytes = [b"\0\x03\0", &[version as u8][..], b"\0\0\0\x07", id_bytes, tags, b"body"].concat();
            let mut reader = Reader::new(&bytes);
            let header = RequestHeader::decode(&mut reader).unwrap();
            let expected = RequestHeader { api: ApiKey::Metadata, version, correlation_id: 7, client_id };
            assert_eq!(header, expected);
            assert_eq!(reader.left(), 4, "the reader stands at the message");

            let mut writer = Writer::new();
            header.encode(&mut writer);
            assert_eq!(writer.finish().unwrap().heap()[..], bytes[..bytes.len() - 4]);
        }
    }
}

#[test]
fn tags_of_a_header_that_nobody_knows_are_passed_over() {
    let bytes = b"\0\x03\0\x09\0\0\0\x07\0\x02me\x01\x05\x02xy";
    let mut reader = Reader::new(bytes);
    RequestHeader::decode(&mut reader).unwrap();
    assert_eq!(reader.left(), 0);
}

#[test]
fn a_question_in_a_version_of_the_future_is_understood_as_far_as_its_header() {
    let bytes = b"\0\x12\0\x63\0\0\0\x07\0\x02me\0whatever";
    let header = RequestHeader::decode(&mut Reader::new(bytes)).unwrap();
    assert_eq!((header.api, header.version), (ApiKey::ApiVersions, 99));
    assert!(!header.api.spec().versions.contains(header.version));
}

#[test]
fn a_key_that_no_api_has_is_an_error_with_its_number() {
    let error = RequestHeader::decode(&mut Reader::new(b"\0\x04\0\x01\0\0\0\x07")).unwrap_err();
    assert_eq!(error, HeaderError::UnknownApi { key: 4, version: 1, correlation_id: 7 });
}

#[test]
fn every_truncation_of_a_header_is_an_error() {
    let bytes = b"\0\x03\0\x09\0\0\0\x07\0\x02me\x01\x05\x02xy";
    for end in 0..bytes.len() {
        assert!(RequestHeader::decode(&mut Reader::new(&bytes[..end])).is_err(), "{end}");
    }
}

#[test]
fn the_answer_to_api_versions_never_has_tags_in_its_header() {
    let answer = ApiVersionsResponse::default();
    let bytes = encode_response(4, 7, &answer).unwrap();
    assert_eq!(bytes.heap()[..], *b"\0\0\0\x0c\0\0\0\x07\0\0\x01\0\0\0\0\0");

    let answer = MetadataResponse::default();
    for (version, tags) in [(8, 0), (9, 1)] {
        let bytes = encode_response(version, 7, &answer).unwrap();
        let mut reader = Reader::new(&bytes.heap()[4..]);
        let header = ResponseHeader::decode(&mut reader, ApiKey::Metadata, version).unwrap();
        assert_eq!((header.correlation_id, reader.at()), (7, 4 + tags));
        assert_eq!(MetadataResponse::decode(&mut reader, version), Ok(answer.clone()));
        assert_eq!(reader.left(), 0);
    }
}

#[test]
fn a_request_goes_with_its_length_its_header_and_its_api() {
    let request = ApiVersionsRequest {
        client_software_name: "folio",
        client_software_version: "1",
        ..ApiVersionsRequest::default()
    };
    let bytes = encode_request(3, 1, Some("c"), &request).unwrap();
    assert_eq!(bytes.heap()[..], *b"\0\0\0\x15\0\x12\0\x03\0\0\0\x01\0\x01c\0\x06folio\x021\0");

    // Every topic: before version 1 an empty list, from then on null.
    let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let bytes = encode_request(1, 1, None, &all).unwrap();
    assert_eq!(bytes.heap()[..], *b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\xff\xff\xff\xff");
    assert_eq!(encode_request(0, 1, None, &all), Err(EncodeError::Null { at: 14 }));
}
