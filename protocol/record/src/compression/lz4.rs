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

use super::content::Content;
use super::damaged;
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
            decompress_block(block, descriptor.block_size, &mut content)?;
        } else if size > descriptor.block_size {
            return Err(damaged("a stored lz4 block is larger than its frame allows"));
        } else {
            content.push(block)?;
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

/// Decompresses one block, which becomes at most `block_size` bytes.
fn decompress_block(block: &[u8], block_size: usize, content: &mut Content) -> Result<(), BatchError> {
    let becomes_at_most = block.len().saturating_mul(EXPANSION_MAX).min(block_size);
    let room = content.room(becomes_at_most);
    let is_limited = room.len() < becomes_at_most;
    match decompress_into(block, room) {
        Ok(size) => {
            content.advance(size);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if is_limited => Err(content.too_large()),
        Err(_) => Err(damaged("an lz4 block is damaged")),
    }
}

fn take<const N: usize>(frame: &mut &[u8]) -> Result<[u8; N], BatchError> {
    super::take(frame).ok_or(CUT)
}

fn take_u32(frame: &mut &[u8]) -> Result<u32, BatchError> {
    take(frame).map(u32::from_le_bytes)
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::samples::{LIMIT, contents, noise, text};
    use super::*;

    /// 329 bytes of content, by liblz4 1.9.4 with every checksum and size that there is.
    #[rustfmt::skip]
    const WITH_ALL_OPTIONS: &[u8] = &[
        // magic, flags, 64 KiB, content size 329, header checksum
        0x04, 0x22, 0x4d, 0x18,  0x7c,  0x40,  0x49, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,  0x2f,
        // a block of 36 bytes and its checksum
        0x24, 0x00, 0x00, 0x00,
        0xff, 0x09, 0x8e, 0x05, 0x00, 0x00, 0x00, 0x01, 0x80, 0x05, 0x47, 0x45, 0x54, 0x20, 0x2f, 0x69, 0x6e, 0x64,
        0x65, 0x78, 0x2e, 0x68, 0x74, 0x6d, 0x6c, 0x20, 0x10, 0x00, 0xff, 0x1a, 0x50, 0x74, 0x6d, 0x6c, 0x20, 0x00,
        0xf2, 0x9d, 0x40, 0x11,
        // the end, and the checksum of the content
        0x00, 0x00, 0x00, 0x00,  0xbd, 0x11, 0x96, 0x37,
    ];

    #[test]
    fn a_frame_of_the_lz4_library_with_all_options_is_read() {
        let content = decompress(WITH_ALL_OPTIONS, LIMIT).unwrap();
        assert_eq!(content.len(), 329);
        assert_eq!(&content[8..328], b"GET /index.html ".repeat(20));
    }

    #[test]
    fn any_changed_byte_of_a_frame_with_checksums_is_found() {
        for at in 0..WITH_ALL_OPTIONS.len() {
            for bit in 0..8 {
                let mut frame = WITH_ALL_OPTIONS.to_vec();
                frame[at] ^= 1 << bit;
                assert!(decompress(&frame, LIMIT).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_an_error_and_so_is_one_with_bytes_behind() {
        for len in 0..WITH_ALL_OPTIONS.len() {
            assert_eq!(decompress(&WITH_ALL_OPTIONS[..len], LIMIT), Err(CUT), "{len}");
        }
        let two = [WITH_ALL_OPTIONS, WITH_ALL_OPTIONS].concat();
        for len in [1, 4, WITH_ALL_OPTIONS.len()] {
            let longer = &two[..WITH_ALL_OPTIONS.len() + len];
            assert_eq!(decompress(longer, LIMIT), Err(damaged("bytes are left behind the lz4 frame")));
        }
    }

    #[test]
    fn frames_that_kafkas_reader_does_not_take_are_refused() {
        // The header checksum is right each time: it is the flags that are refused.
        let cases: [(&str, [u8; 2]); 9] = [
            ("linked blocks", [0x40, 0x40]),
            ("version 0", [0x20, 0x40]),
            ("version 2", [0xa0, 0x40]),
            ("a dictionary", [0x61, 0x40]),
            ("a reserved flag", [0x62, 0x40]),
            ("blocks of 32 KiB", [0x60, 0x30]),
            ("blocks of no size", [0x60, 0x00]),
            ("a reserved bit below the block size", [0x60, 0x41]),
            ("a reserved bit above the block size", [0x60, 0xc0]),
        ];
        for (what, descriptor) in cases {
            assert!(decompress(&empty_frame(descriptor), LIMIT).is_err(), "{what}");
        }
        assert_eq!(decompress(&empty_frame([0x60, 0x40]), LIMIT), Ok(vec![]));
        assert!(decompress(b"not lz4", LIMIT).is_err());
        let linked = framed(&text(200_000), &FrameInfo::new().block_mode(BlockMode::Linked));
        assert!(matches!(decompress(&linked, LIMIT), Err(BatchError::Decompress { .. })));
    }

    #[test]
    fn a_block_cannot_become_larger_than_its_frame_allows() {
        // The same blocks in a frame of 256 KiB blocks and in one that says 64 KiB.
        let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max256KB);
        for content in [text(100_000), noise(100_000)] {
            let mut frame = framed(&content, &info);
            assert_eq!(decompress(&frame, LIMIT).as_ref(), Ok(&content));
            frame[5] = 0x40;
            frame[6] = 0x82;
            assert!(matches!(decompress(&frame, LIMIT), Err(BatchError::Decompress { .. })));
        }
    }

    #[test]
    fn memory_follows_the_content_and_never_exceeds_the_limit() {
        let content = vec![0; 1 << 20];
        let frame = framed(&content, &FrameInfo::new().block_mode(BlockMode::Independent));
        for limit in [0, 1000, 1 << 16, (1 << 20) - 1] {
            let limit = DecompressLimit::new(limit);
            assert_eq!(
                decompress(&frame, limit),
                Err(BatchError::DecompressedTooLarge { limit: limit.get() })
            );
        }
        let exact = decompress(&frame, DecompressLimit::new(content.len())).unwrap();
        assert!(exact.capacity() <= content.len());

        // A frame that announces 4 MiB blocks and an enormous content, and holds next to nothing.
        let mut frame = WITH_ALL_OPTIONS[..4].to_vec();
        frame.extend([0x68, 0x70]);
        frame.extend(u64::MAX.to_le_bytes());
        frame.push((XxHash32::oneshot(0, &frame[4..]) >> 8) as u8);
        frame.extend([1, 0, 0, 0, 0x00].repeat(100)); // blocks of one token, which become nothing
        frame.extend([3, 0, 0, 0x80, b'a', b'b', b'c']);
        let mut content = Content::new(LIMIT, 0);
        decompress_block(&[0], 4 << 20, &mut content).unwrap();
        assert!(content.capacity() <= EXPANSION_MAX);
        frame.extend(END_MARK);
        assert_eq!(decompress(&frame, LIMIT), Err(damaged("an lz4 frame has not the size it gives")));
    }

    #[test]
    fn the_most_that_a_block_can_expand_is_read() {
        // One literal, then a match as long as 64 KiB have room for: close to 255 bytes of content for
        // each byte of the block.
        let content = vec![7; BLOCK_SIZE];
        let frame = framed(&content, &all_options());
        assert!(frame.len() < 300);
        assert_eq!(decompress(&frame, LIMIT), Ok(content));
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut out = b"before".to_vec();
        for content in [noise(0), noise(10), noise(1 << 16), noise(200_000)] {
            assert!(!Compressor::new().compress(&content, &mut out));
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn blocks_are_of_64_kib_and_noise_among_them_is_stored() {
        let content = [text(BLOCK_SIZE), noise(BLOCK_SIZE), text(100)].concat();
        let mut frame = vec![];
        assert!(Compressor::new().compress(&content, &mut frame));
        assert_eq!(frame[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
        let mut rest = &frame[7..];
        let mut blocks = vec![];
        loop {
            let word = take_u32(&mut rest).unwrap();
            if word == 0 {
                break;
            }
            blocks.push((word & STORED != 0, rest.split_off(..(word & !STORED) as usize).unwrap().len()));
        }
        assert!(rest.is_empty());
        assert!(matches!(blocks[..], [(false, _), (true, BLOCK_SIZE), (false, 0..100)]), "{blocks:?}");
        assert_eq!(decompress(&frame, LIMIT), Ok(content));
    }

    proptest! {
        #[test]
        fn our_frames_are_read_by_us_and_by_another(content in contents()) {
            let mut frame = vec![];
            if Compressor::new().compress(&content, &mut frame) {
                prop_assert!(frame.len() < content.len());
                let mut theirs = vec![];
                FrameDecoder::new(&frame[..]).read_to_end(&mut theirs).unwrap();
                prop_assert_eq!(&theirs, &content);
                prop_assert_eq!(decompress(&frame, DecompressLimit::new(content.len())).unwrap(), content);
            }
        }

        #[test]
        fn the_frames_of_another_are_read(
            content in contents(), checksums: (bool, bool), sized: bool, size in 0..4usize,
        ) {
            let sizes = [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB];
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(sizes[size])
                .block_checksums(checksums.0)
                .content_checksum(checksums.1)
                .content_size(sized.then_some(content.len() as u64));
            let frame = framed(&content, &info);
            prop_assert_eq!(&decompress(&frame, DecompressLimit::new(content.len())).unwrap(), &content);
            if let Some(limit) = content.len().checked_sub(1) {
                let found = decompress(&frame, DecompressLimit::new(limit));
                prop_assert_eq!(found, Err(BatchError::DecompressedTooLarge { limit }));
            }
        }

        #[test]
        fn arbitrary_blocks_are_an_error_or_content(blocks in vec((any::<u32>(), vec(any::<u8>(), 0..64)), 0..4)) {
            let mut frame = FRAME_START.to_vec();
            for (word, block) in blocks {
                // Mostly the right size; the top bit at random.
                let word = if word % 8 == 0 { word } else { (word & STORED) | block.len() as u32 };
                frame.extend(word.to_le_bytes());
                frame.extend(block);
            }
            frame.extend(END_MARK);
            let limit = DecompressLimit::new(1000);
            if let Ok(content) = decompress(&frame, limit) {
                prop_assert!(content.len() <= limit.get());
            }
        }
    }

    fn framed(content: &[u8], info: &FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info.clone(), vec![]);
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn all_options() -> FrameInfo {
        FrameInfo::new().block_mode(BlockMode::Independent).block_checksums(true).content_checksum(true)
    }

    fn empty_frame(descriptor: [u8; 2]) -> Vec<u8> {
        let checksum = (XxHash32::oneshot(0, &descriptor) >> 8) as u8;
        [&MAGIC[..], &descriptor, &[checksum], &END_MARK].concat()
    }
}
