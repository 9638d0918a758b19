//! Batches put together by hand, right or wrong: a second encoder, sharing nothing with the builder.

use folio_record::{Compression, seal};

/// Everything a batch says, to be changed at will.
#[derive(Clone, Debug)]
pub(crate) struct Handmade {
    pub(crate) base_offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) attributes: u16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
    pub(crate) block: Vec<u8>,
}

impl Handmade {
    /// A good batch: `values` at consecutive offsets, all of one time.
    pub(crate) fn of(values: &[&[u8]]) -> Self {
        let records =
            values.iter().enumerate().map(|(delta, value)| record(0, delta as i64, None, Some(value), &[]));
        Self {
            count: values.len() as i32,
            last_offset_delta: values.len() as i32 - 1,
            ..Self::empty(records.flatten().collect())
        }
    }

    /// A batch of this block that says it is empty.
    pub(crate) fn empty(block: Vec<u8>) -> Self {
        Self {
            base_offset: 0,
            leader_epoch: -1,
            magic: 2,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: TIME,
            max_timestamp: TIME,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
            block,
        }
    }

    /// The same with its block in an lz4 frame.
    pub(crate) fn lz4(self) -> Self {
        let attributes = self.attributes | u16::from(Compression::Lz4.id());
        Self { attributes, block: lz4_frame(&self.block), ..self }
    }

    /// Its bytes, with the right length and checksum.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.base_offset.to_be_bytes());
        bytes.extend((self.block.len() as i32 + 49).to_be_bytes());
        bytes.extend(self.leader_epoch.to_be_bytes());
        bytes.extend(self.magic.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.attributes.to_be_bytes());
        bytes.extend(self.last_offset_delta.to_be_bytes());
        bytes.extend(self.base_timestamp.to_be_bytes());
        bytes.extend(self.max_timestamp.to_be_bytes());
        bytes.extend(self.producer_id.to_be_bytes());
        bytes.extend(self.producer_epoch.to_be_bytes());
        bytes.extend(self.base_sequence.to_be_bytes());
        bytes.extend(self.count.to_be_bytes());
        bytes.extend(&self.block);
        seal(&mut bytes);
        bytes
    }
}

pub(crate) type HandmadeHeader<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// One record, its length in front.
pub(crate) fn record(
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[HandmadeHeader<'_>],
) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(varint(timestamp_delta));
    body.extend(varint(offset_delta));
    body.extend(nullable(key));
    body.extend(nullable(value));
    body.extend(varint(headers.len() as i64));
    for (key, value) in headers {
        body.extend(nullable(*key));
        body.extend(nullable(*value));
    }
    prefixed(&body)
}

/// `body` behind its length.
pub(crate) fn prefixed(body: &[u8]) -> Vec<u8> {
    nullable(Some(body))
}

pub(crate) fn nullable(bytes: Option<&[u8]>) -> Vec<u8> {
    let length = bytes.map_or(-1, |bytes| bytes.len() as i64);
    [varint(length), bytes.unwrap_or_default().to_vec()].concat()
}

pub(crate) fn varint(number: i64) -> Vec<u8> {
    let mut folded = if number < 0 { !(number as u64) << 1 | 1 } else { (number as u64) << 1 };
    let mut bytes = Vec::new();
    loop {
        let low = (folded % 128) as u8;
        folded /= 128;
        if folded == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 128);
    }
}

/// An lz4 frame by another writer than ours, with checksums that ours does not have.
pub(crate) fn lz4_frame(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};

    let info =
        FrameInfo::new().block_mode(BlockMode::Independent).content_checksum(true).block_checksums(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const TIME: i64 = 1_700_000_000_000;
