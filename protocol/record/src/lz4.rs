//! LZ4 frames, as far as record batches use them.
//!
//! ```text
//!  04 22 4D 18 | FLG | BD | [content size u64] | HC | block ... | 00 00 00 00 | [content checksum u32]
//!
//!  block: u32 size, top bit set if stored as is | bytes | [block checksum u32]
//! ```
//!
//! Little-endian. FLG says which of the parts in brackets are there, BD how large a block may become, HC
//! is a checksum over both and the content size.
//!
//! We write independent blocks of 64 KiB and none of the optional parts. We read what Kafka's own
//! reader takes: one frame, independent blocks of any size; not blocks that refer to earlier ones, and
//! no dictionary. Blocks are decompressed straight into the one buffer that is handed back.
//!
//! No number of the frame decides an allocation: the buffer grows by what the block at hand can at most
//! become, which its compressed size bounds, and never above the caller's limit.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use twox_hash::XxHash32;

use crate::{BatchError, DecompressLimit};

/// Compresses batches one after the other; keeps its table between them.
pub(crate) struct Compressor {
    table: CompressTable,
}

impl Compressor {
    pub(crate) fn new() -> Self {
        Self { table: CompressTable::large() }
    }

    /// Appends one frame of `content` to `out` if it takes fewer bytes than `content` itself. Otherwise
    /// it returns false and leaves `out` as it was.
    pub(crate) fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(&FRAME_START);
        for block in content.chunks(BLOCK_SIZE) {
            self.compress_block(block, out);
            if out.len() - start + END_MARK.len() >= content.len() {
                break;
            }
        }
        out.extend_from_slice(&END_MARK);
        let is_smaller = out.len() - start < content.len();
        if !is_smaller {
            out.truncate(start);
        }
        is_smaller
    }

    fn compress_block(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let size_at = out.len();
        let start = size_at + BLOCK_HEADER_SIZE;
        out.resize(start + get_maximum_output_size(block.len()), 0);
        match compress_into_with_table(block, &mut out[start..], &mut self.table) {
            Ok(size) if size < block.len() => {
                out[size_at..start].copy_from_slice(&(size as u32).to_le_bytes());
                out.truncate(start + size);
            }
            _ => {
                out[size_at..start].copy_from_slice(&(block.len() as u32 | STORED).to_le_bytes());
                out.truncate(start);
                out.extend_from_slice(block);
            }
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// The content of the one frame that `frame` is.
pub(crate) fn decompress(mut frame: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, BatchError> {
    let descriptor = Descriptor::take(&mut frame)?;
    let mut content = Content::new(limit, frame.len());
    loop {
        let word = take_u32(&mut frame)?;
        if word == 0 {
            break;
        }
        let size = (word & !STORED) as usize;
        let block = frame.split_off(..size).ok_or(CUT)?;
        if descriptor.has_block_checksum && take_u32(&mut frame)? != XxHash32::oneshot(0, block) {
            return Err(damaged("the checksum of an lz4 block does not match"));
        }
        if word & STORED == 0 {
            content.decompress(block, descriptor.block_size)?;
        } else if size > descriptor.block_size {
            return Err(damaged("a stored lz4 block is larger than its frame allows"));
        } else {
            content.store(block)?;
        }
    }
    let content = content.finish();
    if descriptor.has_content_checksum && take_u32(&mut frame)? != XxHash32::oneshot(0, &content) {
        return Err(damaged("the checksum of an lz4 frame does not match"));
    }
    if descriptor.content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(damaged("an lz4 frame has not the size it gives"));
    }
    if !frame.is_empty() {
        return Err(damaged("bytes are left behind the lz4 frame"));
    }
    Ok(content)
}

/// What stands before the blocks.
struct Descriptor {
    block_size: usize,
    has_block_checksum: bool,
    has_content_checksum: bool,
    content_size: Option<u64>,
}

impl Descriptor {
    fn take(frame: &mut &[u8]) -> Result<Self, BatchError> {
        if take(frame)? != MAGIC {
            return Err(damaged("it is not an lz4 frame"));
        }
        let all = *frame;
        let [flags, block] = take(frame)?;
        if flags & FLAG_VERSION != VERSION_1 {
            return Err(damaged("an lz4 frame of an unknown version"));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(damaged("the lz4 blocks are linked; Kafka's readers take independent ones only"));
        }
        if flags & FLAGS_REFUSED != 0 {
            return Err(damaged("an lz4 frame with a dictionary or a reserved flag"));
        }
        // 4 is 64 KiB, 5 is 256 KiB, 6 is 1 MiB, 7 is 4 MiB.
        let block_size = match block {
            0x40 | 0x50 | 0x60 | 0x70 => 1 << (8 + 2 * (block >> 4)),
            _ => return Err(damaged("an lz4 frame with an unknown block size")),
        };
        let content_size = match flags & FLAG_CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(take(frame)?)),
        };
        let described = &all[..all.len() - frame.len()];
        let [checksum] = take(frame)?;
        if checksum != (XxHash32::oneshot(0, described) >> 8) as u8 {
            return Err(damaged("the checksum of an lz4 frame's header does not match"));
        }
        Ok(Self {
            block_size,
            has_block_checksum: flags & FLAG_BLOCK_CHECKSUM != 0,
            has_content_checksum: flags & FLAG_CONTENT_CHECKSUM != 0,
            content_size,
        })
    }
}

/// The decompressed bytes so far.
struct Content {
    // `bytes[..filled]` is content; what lies behind is zeroed room of earlier blocks, used again.
    bytes: Vec<u8>,
    filled: usize,
    limit: usize,
}

impl Content {
    fn new(limit: DecompressLimit, compressed: usize) -> Self {
        // Logs shrink to a quarter or so: mostly one allocation.
        let capacity = compressed.saturating_mul(4).min(limit.get());
        Self { bytes: Vec::with_capacity(capacity), filled: 0, limit: limit.get() }
    }

    fn decompress(&mut self, block: &[u8], block_size: usize) -> Result<(), BatchError> {
        let becomes_at_most = block.len().saturating_mul(EXPANSION_MAX).min(block_size);
        let room = becomes_at_most.min(self.limit - self.filled);
        self.make_room(room);
        match decompress_into(block, &mut self.bytes[self.filled..self.filled + room]) {
            Ok(size) => {
                self.filled += size;
                Ok(())
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < becomes_at_most => {
                Err(BatchError::DecompressedTooLarge { limit: self.limit })
            }
            Err(_) => Err(damaged("an lz4 block is damaged")),
        }
    }

    fn store(&mut self, block: &[u8]) -> Result<(), BatchError> {
        if block.len() > self.limit - self.filled {
            return Err(BatchError::DecompressedTooLarge { limit: self.limit });
        }
        self.make_room(block.len());
        self.bytes[self.filled..self.filled + block.len()].copy_from_slice(block);
        self.filled += block.len();
        Ok(())
    }

    fn make_room(&mut self, room: usize) {
        let len = self.filled + room;
        if len > self.bytes.capacity() {
            // Twice as much each time, but not above the limit, as `Vec` would.
            let capacity = self.bytes.capacity().saturating_mul(2).min(self.limit).max(len);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        if len > self.bytes.len() {
            self.bytes.resize(len, 0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }
}

fn take<const N: usize>(frame: &mut &[u8]) -> Result<[u8; N], BatchError> {
    let (taken, rest) = frame.split_first_chunk().ok_or(CUT)?;
    *frame = rest;
    Ok(*taken)
}

fn take_u32(frame: &mut &[u8]) -> Result<u32, BatchError> {
    take(frame).map(u32::from_le_bytes)
}

const fn damaged(reason: &'static str) -> BatchError {
    BatchError::Decompress { reason }
}

const CUT: BatchError = damaged("an lz4 frame is cut short");

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();
const FLAG_VERSION: u8 = 0b1100_0000;
const VERSION_1: u8 = 0b0100_0000;
const FLAG_INDEPENDENT: u8 = 1 << 5;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAGS_REFUSED: u8 = 0b11;
/// Set in a block's size if the block is stored as it is.
const STORED: u32 = 1 << 31;

/// The frames we write: version 1, independent blocks of 64 KiB, nothing optional, its checksum.
const FRAME_START: [u8; 7] = [MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x60, 0x40, 0x82];
const END_MARK: [u8; 4] = [0; 4];
const BLOCK_SIZE: usize = 64 * 1024;
const BLOCK_HEADER_SIZE: usize = size_of::<u32>();
/// A byte of a block makes at most 255 bytes of content: those that lengthen a match by so much.
const EXPANSION_MAX: usize = 255;
