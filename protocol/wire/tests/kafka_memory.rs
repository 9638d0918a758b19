//! What a peer says about the size of things takes no memory; only bytes do.
//!
//! These tests watch every allocation of the process, so they take turns.

use std::sync::{Mutex, PoisonError};

use folio_wire::kafka::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use folio_wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use folio_wire::kafka::{
    ApiKey, DecodeError, Reader, Records, Request, RequestHeader, encode_request, encode_response,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

static TURN: Mutex<()> = Mutex::new(());

/// Beginnings and counts that announce more than there is: of old, compact, overlong, negative.
const BOASTS: &[&[u8]] = &[
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x00, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff],
];

/// What a count may set aside before an element was read, and what the test itself takes.
const BOAST_MAX: usize = 16 << 10;

/// The most that a request in memory may be, in multiples of its bytes.
const GROWTH_MAX: usize = 32;

#[test]
fn no_count_takes_memory_and_no_request_takes_much_more_than_its_bytes() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = 0_u32;
    for (body, api, version) in bombs() {
        let (result, taken) = decoded(&body, api, version);
        refused += u32::from(result.is_err());
        assert!(taken < BOAST_MAX, "{api} {version} took {taken} bytes for {body:?}");
    }
    assert!(refused > 10_000, "{refused} bombs were refused");
    for boast in BOASTS {
        let header = [&[0, 1, 0, 12, 0, 0, 0, 1], *boast, boast].concat();
        let _ = RequestHeader::decode(&mut Reader::new(&header));
    }

    // Elements of the fewest bytes, as many as there can be.
    for &api in Request::APIS {
        for version in [api.spec().flexible_from.unwrap_or(1) - 1, api.spec().versions.newest] {
            for body in fullest(api.spec().is_flexible(version)) {
                let (_, taken) = decoded(&body, api, version);
                assert!(taken < FULL * GROWTH_MAX, "{api} {version}: {FULL} bytes became {taken}");
            }
        }
    }
}

/// Far less than the record bytes are.
const LITTLE: usize = 4 << 10;

#[test]
fn record_bytes_take_no_memory_whether_they_come_or_go() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let batch = vec![0; 1 << 20];
    let partition = PartitionProduceData { index: 0, records: Some(&batch) };
    let topic =
        TopicProduceData { name: "t", partition_data: vec![partition], ..TopicProduceData::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..ProduceRequest::default() };
    let frame = encode_request(9, 1, None, &request).unwrap();
    let mut reader = Reader::new(&frame.heap()[4..]);
    RequestHeader::decode(&mut reader).unwrap();
    let body = &frame.heap()[4 + reader.at()..];
    let (read, taken) = decoded(body, ApiKey::Produce, 9);
    assert_eq!(read, Ok(Request::Produce(request.clone())));
    assert!(taken < LITTLE, "a request of one batch took {taken} bytes");

    let partition = PartitionData { records: Some(Records::Spliced(50 << 20)), ..PartitionData::default() };
    let topic = FetchableTopicResponse {
        topic: "t".into(),
        partitions: vec![partition],
        ..FetchableTopicResponse::default()
    };
    let answer = FetchResponse { responses: vec![topic], ..FetchResponse::default() };
    let (encoded, taken) = watched(|| encode_response(12, 1, &answer).unwrap());
    assert!(encoded.size() > 50 << 20);
    assert!(taken < LITTLE, "an answer of one partition took {taken} bytes");
}

/// A request, and the most memory that reading it took on the way.
fn decoded(body: &[u8], api: ApiKey, version: i16) -> (Result<Request<'_>, DecodeError>, usize) {
    watched(|| Request::decode(&mut Reader::new(body), api, version))
}

/// What `work` gives, and the most memory that it took on the way.
fn watched<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    // The test harness has a thread of its own, which may free something just now.
    (result, MEMORY.peak_usage().saturating_sub(before))
}

/// Every boast behind every number of innocent bytes.
fn bombs() -> impl Iterator<Item = (Vec<u8>, ApiKey, i16)> {
    Request::APIS.iter().flat_map(|&api| {
        (api.spec().versions.oldest..=api.spec().versions.newest).flat_map(move |version| {
            BOASTS.iter().flat_map(move |boast| {
                (0..40).flat_map(move |innocent| {
                    // Zeros are empty or null things; ones are, in flexible versions, empty ones as well.
                    [0, 1].map(|byte| ([&vec![byte; innocent], *boast, &[0x7f; 12]].concat(), api, version))
                })
            })
        })
    })
}

/// The size of a body that is all elements.
const FULL: usize = 1 << 16;

/// Bodies with a count at every place, of as many elements of `size` zeros as there is room for.
fn fullest(flexible: bool) -> impl Iterator<Item = Vec<u8>> {
    (0..24).flat_map(move |at| {
        [1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 20, 24, 32].into_iter().map(move |size| {
            let count = ((FULL - at - 5) / size) as u32;
            let mut body = vec![0; FULL];
            if flexible {
                for (place, byte) in body[at..at + 5].iter_mut().enumerate() {
                    *byte = (count >> (7 * place)) as u8 & 0x7f | if place < 4 { 0x80 } else { 0 };
                }
            } else {
                body[at..at + 4].copy_from_slice(&count.to_be_bytes());
            }
            body
        })
    })
}
