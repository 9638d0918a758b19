//! Snappy, bare or in the frame of Java's snappy library ("xerial").
//!
//! ```text
//!  bare:    length varint | elements ...
//!
//!  framed:  82 53 4e 41 50 50 59 00 | version i32 | oldest reader i32 | { size i32 | bare ... } ...
//! ```
//!
//! Big-endian. `length` is that of the content and not folded. Java's clients write frames and read both; others
//! write bare blocks, of which none can begin as a frame does: its first element would refer to content before the
//! first byte. Versions are not looked at, as in Java.
//!
//! We write frames with blocks of 32 KiB, as Java does. A length is taken for what it says only if so few bytes
//! could become that much.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::content::Content;
use super::{damaged, take};
use crate::{BatchError, DecompressLimit};

/// Compresses batches one after the other; keeps its table between them.
pub(crate) struct Compressor {
    encoder: Encoder,
    block: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { encoder: Encoder::new(), block: Vec::new() }
    }

    /// Writes a frame of `content` to the front of `room` and returns its size, `None` if it does not fit.
    pub(super) fn compress(&mut self, content: &[u8], room: &mut [u8]) -> Option<usize> {
        room.get_mut(..FRAME_START.len())?.copy_from_slice(&FRAME_START);
        let mut end = FRAME_START.len();
        self.block.resize(max_compress_len(BLOCK_SIZE), 0);
        for block in content.chunks(BLOCK_SIZE) {
            let size = self.encoder.compress(block, &mut self.block).ok()?;
            let (size_field, rest) = room[end..].split_first_chunk_mut()?;
            *size_field = (size as i32).to_be_bytes();
            rest.get_mut(..size)?.copy_from_slice(&self.block[..size]);
            end += size_field.len() + size;
        }
        Some(end)
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// The content of `block`, bare or framed.
pub(super) fn decompress(block: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, BatchError> {
    let mut content = Content::new(limit, block.len());
    let mut decoder = Decoder::new();
    match block.strip_prefix(&MAGIC) {
        None => decompress_bare(&mut decoder, block, &mut content)?,
        Some(mut rest) => {
            skip_versions(&mut rest)?;
            while !rest.is_empty() {
                let size = take(&mut rest).ok_or(CUT)?;
                if size == MAGIC[..size.len()] {
                    // A frame behind a frame: their contents are one, as in Java.
                    let magic: [u8; MAGIC.len() - size_of::<i32>()] = take(&mut rest).ok_or(CUT)?;
                    if magic != MAGIC[size.len()..] {
                        return Err(damaged("a snappy frame begins wrong"));
                    }
                    skip_versions(&mut rest)?;
                    continue;
                }
                let size = usize::try_from(i32::from_be_bytes(size))
                    .map_err(|_| damaged("a snappy block of less than no bytes"))?;
                decompress_bare(&mut decoder, rest.split_off(..size).ok_or(CUT)?, &mut content)?;
            }
        }
    }
    Ok(content.finish())
}

fn skip_versions(frame: &mut &[u8]) -> Result<(), BatchError> {
    let [..]: [u8; 8] = take(frame).ok_or(CUT)?;
    Ok(())
}

fn decompress_bare(decoder: &mut Decoder, block: &[u8], content: &mut Content) -> Result<(), BatchError> {
    if block.is_empty() {
        return Err(CUT);
    }
    let len = decompress_len(block).map_err(|_| damaged("a snappy block has no length"))?;
    if len > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(damaged("a snappy block is too short for the length it gives"));
    }
    if len > content.left() {
        return Err(content.too_large());
    }
    decoder
        .decompress(block, content.room(len))
        .map_err(|_| damaged("a snappy block is damaged or cut short"))?;
    content.advance(len);
    Ok(())
}

const CUT: BatchError = damaged("a snappy frame is cut short");

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// The magic, version 1, and that readers of version 1 will do.
const FRAME_START: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const BLOCK_SIZE: usize = 32 * 1024;
/// An element of three bytes copies at most 64 bytes of content.
const EXPANSION_MAX: usize = 22;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::samples::{LIMIT, contents, noise, text};
    use super::*;

    #[test]
    fn a_frame_is_as_javas() {
        let content = text(BLOCK_SIZE + 100);
        let mut room = vec![0; content.len()];
        let size = Compressor::new().compress(&content, &mut room).unwrap();
        assert_eq!(room[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let mut rest = &room[16..size];
        let mut lens = vec![];
        while let Some(size) = take(&mut rest) {
            lens.push(decompress_len(rest.split_off(..i32::from_be_bytes(size) as usize).unwrap()).unwrap());
        }
        assert_eq!(lens, [BLOCK_SIZE, 100]);
        assert_eq!(decompress(&room[..size], LIMIT), Ok(content));
    }

    #[test]
    fn frames_of_any_version_and_frames_in_a_row_are_read() {
        let content = b"abcabcabcabcabcabcabc";
        let mut frame = framed(&[content]);
        frame[8..16].fill(0x77);
        assert_eq!(decompress(&frame, LIMIT).unwrap(), content);
        let twice = [frame.clone(), framed(&[content, b""])].concat();
        assert_eq!(decompress(&twice, LIMIT).unwrap(), content.repeat(2));
        assert_eq!(decompress(&framed(&[]), LIMIT), Ok(vec![]));
        assert_eq!(decompress(&[0], LIMIT), Ok(vec![]), "bare, of nothing");
    }

    #[test]
    fn a_block_cut_anywhere_is_an_error_and_so_is_one_with_bytes_behind() {
        let content = text(1000);
        for block in [bare(&content), framed(&[&content])] {
            for len in 0..block.len() {
                // A frame may end behind its beginning: then it has no block, and no content.
                if block.starts_with(&MAGIC) && len == FRAME_START.len() {
                    assert_eq!(decompress(&block[..len], LIMIT), Ok(vec![]));
                    continue;
                }
                let found = decompress(&block[..len], LIMIT);
                assert!(matches!(found, Err(BatchError::Decompress { .. })), "{len}: {found:?}");
            }
            for behind in [&[0][..], b"garbage", &MAGIC] {
                let found = decompress(&[&block, behind].concat(), LIMIT);
                assert!(matches!(found, Err(BatchError::Decompress { .. })), "{behind:02x?}: {found:?}");
            }
        }
    }

    #[test]
    fn no_length_that_a_block_gives_decides_an_allocation() {
        // Four gigabytes, in five bytes, with next to nothing behind.
        let enormous = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, b'a'];
        let too_short = Err(damaged("a snappy block is too short for the length it gives"));
        assert_eq!(decompress(&enormous, DecompressLimit::new(usize::MAX)), too_short);
        let mut frame = FRAME_START.to_vec();
        frame.extend((enormous.len() as i32).to_be_bytes());
        frame.extend(enormous);
        assert_eq!(decompress(&frame, DecompressLimit::new(usize::MAX)), too_short);
        // A block of two gigabytes is announced, or of less than nothing.
        for size in [i32::MAX, -1, i32::MIN] {
            frame[16..20].copy_from_slice(&size.to_be_bytes());
            assert!(matches!(decompress(&frame, LIMIT), Err(BatchError::Decompress { .. })));
        }
        assert!(decompress(&[0xff; 10], LIMIT).is_err(), "a length of more than 32 bits");
    }

    #[test]
    fn the_most_that_a_block_can_expand_is_read_within_the_limit() {
        let content = vec![7; 1 << 20];
        let block = bare(&content);
        assert!(block.len() < content.len() / 20);
        let exact = decompress(&block, DecompressLimit::new(content.len())).unwrap();
        assert!(exact.capacity() <= content.len());
        for limit in [0, 1, 65_536, content.len() - 1] {
            let refused = Err(BatchError::DecompressedTooLarge { limit });
            assert_eq!(decompress(&block, DecompressLimit::new(limit)), refused);
            assert_eq!(decompress(&framed(&[&content]), DecompressLimit::new(limit)), refused);
        }
    }

    #[test]
    fn what_does_not_fit_is_not_compressed() {
        for len in [0, 10, 5000, 100_000] {
            assert_eq!(Compressor::new().compress(&noise(len), &mut vec![0; len]), None);
        }
    }

    proptest! {
        #[test]
        fn frames_and_bare_blocks_are_read(content in contents(), cut in 1..50_000usize) {
            let limit = DecompressLimit::new(content.len());
            prop_assert_eq!(&decompress(&bare(&content), limit).unwrap(), &content);
            let blocks: Vec<&[u8]> = content.chunks(cut).collect();
            prop_assert_eq!(&decompress(&framed(&blocks), limit).unwrap(), &content);
            let mut room = vec![0; content.len()];
            if let Some(size) = Compressor::new().compress(&content, &mut room) {
                prop_assert_eq!(&decompress(&room[..size], limit).unwrap(), &content);
            }
        }

        #[test]
        fn arbitrary_blocks_are_an_error_or_content(
            len in 0..2000u32, block in vec(any::<u8>(), 0..64), is_framed: bool,
        ) {
            let mut bytes = vec![len as u8 | 0x80, (len >> 7) as u8];
            bytes.extend(block);
            if is_framed {
                bytes = [&FRAME_START[..], &(bytes.len() as i32).to_be_bytes(), &bytes].concat();
            }
            let limit = DecompressLimit::new(1000);
            if let Ok(content) = decompress(&bytes, limit) {
                prop_assert!(content.len() <= limit.get());
            }
        }
    }

    fn bare(content: &[u8]) -> Vec<u8> {
        Encoder::new().compress_vec(content).unwrap()
    }

    fn framed(blocks: &[&[u8]]) -> Vec<u8> {
        let mut frame = FRAME_START.to_vec();
        for block in blocks.iter().map(|block| bare(block)) {
            frame.extend((block.len() as i32).to_be_bytes());
            frame.extend(block);
        }
        frame
    }
}
