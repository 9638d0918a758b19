//! Batches put together by hand, right or wrong: a second encoder, sharing nothing with the builder.

use std::io::{Read as _, Write as _};

use folio_record::{Compression, seal};
use lz4_flex::frame::{BlockMode, FrameDecoder, FrameEncoder, FrameInfo};

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

    /// The same with its block compressed by another writer than ours.
    pub(crate) fn compressed(self, codec: Compression) -> Self {
        let attributes = self.attributes | u16::from(codec.id());
        Self { attributes, block: compressed(&self.block, codec), ..self }
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

/// A block of `content` by another writer than ours, with what ours leaves out: checksums in lz4 and zstd frames, no
/// size of the content in zstd ones, a file's name in gzip members, no frame around a snappy block.
pub(crate) fn compressed(content: &[u8], codec: Compression) -> Vec<u8> {
    match codec {
        Compression::None => content.to_vec(),
        Compression::Gzip => {
            let builder = flate2::GzBuilder::new().filename("records").mtime(7);
            let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(content).unwrap(),
        Compression::Lz4 => {
            let info = FrameInfo::new().block_mode(BlockMode::Independent);
            let info = info.content_checksum(true).block_checksums(true);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// The content of a block, by another reader than ours. It trusts what the block says: only for blocks that ours took.
pub(crate) fn decompressed(block: &[u8], codec: Compression) -> Vec<u8> {
    let mut content = Vec::new();
    match codec {
        Compression::None => return block.to_vec(),
        Compression::Gzip => {
            flate2::read::MultiGzDecoder::new(block).read_to_end(&mut content).unwrap();
        }
        Compression::Snappy => {
            // Magic and versions, then blocks behind their sizes.
            let mut rest = &block[16..];
            while let Some((size, behind)) = rest.split_first_chunk() {
                let (block, behind) = behind.split_at(u32::from_be_bytes(*size) as usize);
                content.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                rest = behind;
            }
        }
        Compression::Lz4 => {
            FrameDecoder::new(block).read_to_end(&mut content).unwrap();
        }
        Compression::Zstd => content = zstd::decode_all(block).unwrap(),
    }
    content
}

pub(crate) const COMPRESSING: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
pub(crate) const TIME: i64 = 1_700_000_000_000;
