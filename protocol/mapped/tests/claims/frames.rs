//! Checksummed frames, so that a reader can tell a torn one.
//!
//! ```text
//!  0        4       8      12
//!  | length | crc32 | number | filling .. |      little-endian; crc32 and length cover what follows crc32
//! ```

use std::io::IoSlice;

use folio_mapped::{Appender, MapSlice};

pub(crate) const HEADER_SIZE: usize = 8;

/// The bytes of frame `number`; its length depends on the number, up to about 2,000 bytes.
pub(crate) fn frame(number: u32) -> Vec<u8> {
    let filling = (number.wrapping_mul(2_654_435_761) >> 21) as usize;
    let mut body = number.to_le_bytes().to_vec();
    body.extend((0..filling).map(|i| (i as u32).wrapping_mul(31).wrapping_add(number) as u8));
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32fast::hash(&body).to_le_bytes());
    frame.extend(body);
    frame
}

/// Appends frame `number` in three pieces.
pub(crate) fn append(appender: &mut Appender, number: u32) {
    let frame = frame(number);
    let (header, body) = frame.split_at(HEADER_SIZE);
    let (front, back) = body.split_at(body.len() / 2);
    let range = appender.append(&[header, front, back].map(IoSlice::new)).unwrap();
    assert_eq!(range.end - range.start, frame.len() as u64);
}

/// Checks that `slice` is whole frames, from number `next` on; returns the number after the last.
///
/// `copy` copies bytes out of the slice, in whatever way is being tested.
pub(crate) fn check(
    slice: &MapSlice,
    mut next: u32,
    mut copy: impl FnMut(&MapSlice, usize, &mut [u8]),
) -> u32 {
    let mut at = 0;
    while at < slice.len() {
        let mut header = [0; HEADER_SIZE];
        copy(slice, at, &mut header);
        let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        assert!(at + HEADER_SIZE + len <= slice.len(), "torn: a frame of {len} bytes at {at}");
        let mut body = vec![0; len];
        copy(slice, at + HEADER_SIZE, &mut body);
        assert_eq!(crc32fast::hash(&body), u32::from_le_bytes([c0, c1, c2, c3]), "torn at {at}");
        assert_eq!(body[..4], next.to_le_bytes());
        at += HEADER_SIZE + len;
        next += 1;
    }
    next
}
