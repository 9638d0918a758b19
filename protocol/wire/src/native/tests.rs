//! Golden bytes of every message, and what hostile bytes cannot do.

mod frames;
mod groups;
mod properties;
mod records;
mod topics;

use std::fmt::Debug;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::configs::*;
use super::fetch::*;
use super::frame::{EncodeError, HEADER_AT};
use super::group_admin::*;
use super::groups::*;
use super::metadata::*;
use super::offsets::*;
use super::preface::PREFACE_SIZE;
use super::produce::*;
use super::producers::*;
use super::records::*;
use super::status::*;
use super::subscribe::*;
use super::topics::*;
use super::*;

const FRAME_MAX: u32 = 1 << 20;
const ID: [u8; 16] = *b"0123456789abcdef";
/// The count of a list of one.
const ONE: &str = "0100000000000000";

/// The header of `message` as hexadecimal, after a round trip through a whole frame.
fn golden<'a, T: Message + Serialize + Deserialize<'a> + PartialEq + Debug>(message: &T) -> String {
    let mut out = BytesMut::new();
    encode_frame(&mut out, Head::request::<T>(0x0403_0201), message, 3).unwrap();
    out.extend_from_slice(b"rec");
    let out: &'static [u8] = Box::leak(out.to_vec().into_boxed_slice());
    let frame = decode_frame(out, FRAME_MAX).unwrap().unwrap();
    assert_eq!((frame.records, frame.size()), (b"rec".as_slice(), out.len()));
    assert_eq!(frame.head, Head::request::<T>(0x0403_0201));
    assert_eq!(&frame.header::<T>().unwrap(), message);

    // A field fewer, a field more: never half understood.
    let short = Frame { header: &frame.header[..frame.header.len() - 1], ..frame };
    assert!(short.header::<T>().is_err(), "a byte fewer");
    let longer: &'static [u8] = Box::leak([frame.header, &[0]].concat().into_boxed_slice());
    assert!(Frame { header: longer, ..frame }.header::<T>().is_err(), "a byte more");

    // Wherever a count or a length stands, a giant one is an error or another value, never an abort.
    for at in 0..frame.header.len().saturating_sub(7) {
        for giant in [u64::MAX, 1 << 62, 1 << 33] {
            let mut hostile = frame.header.to_vec();
            hostile[at..at + 8].copy_from_slice(&giant.to_le_bytes());
            let _ = Frame { header: hostile.leak(), ..frame }.header::<T>();
        }
    }
    hex(frame.header)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `str` as the drawing says: a u64 length, then the bytes.
fn text(text: &str) -> String {
    format!("{:02x}00000000000000{}", text.len(), hex(text.as_bytes()))
}

fn request_of(name: &str) -> TopicDeleteRequestV1<'_> {
    TopicDeleteRequestV1 { name }
}
