//! Bytes of unknown origin as a request of Kafka's, header and message: an error or a request, never a panic;
//! and what was read is written and read the same.
//!
//! The header says which API it is; `FOLIO_FUZZ_API=Fetch` makes it that one whatever the header says. A
//! version that the API lacks becomes one that it has: else nearly every input would end there.

#![no_main]

use std::sync::LazyLock;

use folio_wire::kafka::{ApiKey, Reader, Request, RequestHeader, VERSIONS, Writer};
use libfuzzer_sys::fuzz_target;

static ONLY: LazyLock<Option<ApiKey>> = LazyLock::new(|| {
    let name = std::env::var("FOLIO_FUZZ_API").ok()?;
    let spec = VERSIONS.iter().find(|spec| spec.api.name() == name);
    Some(spec.expect("FOLIO_FUZZ_API is the name of an API").api)
});

fuzz_target!(|input: &[u8]| {
    let mut frame = input.to_vec();
    if frame.len() < 4 {
        return;
    }
    if let Some(api) = *ONLY {
        frame[..2].copy_from_slice(&api.number().to_be_bytes());
    }
    if let Some(api) = ApiKey::new(i16::from_be_bytes([frame[0], frame[1]])) {
        let versions = api.spec().versions;
        let asked = i16::from_be_bytes([frame[2], frame[3]]);
        let version = versions.oldest + asked.rem_euclid(versions.newest - versions.oldest + 1);
        frame[2..4].copy_from_slice(&version.to_be_bytes());
    }

    let mut reader = Reader::new(&frame);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    let Ok(request) = Request::decode(&mut reader, header.api, header.version) else { return };
    assert_eq!(request.api(), header.api);

    let mut writer = Writer::new();
    request.encode(&mut writer, header.version);
    let written = writer.finish().expect("what was read can be written");
    let mut reader = Reader::new(written.heap());
    let again = Request::decode(&mut reader, header.api, header.version);
    assert_eq!(again, Ok(request));
    assert_eq!(reader.left(), 0);
});
