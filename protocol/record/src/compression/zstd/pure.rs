//! The zstd library in Rust.

use std::io::Read as _;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress};

use super::super::content::Content;
use super::super::damaged;
use super::frame::{BLOCK_SIZE_MAX, CHECKSUM, Frame, MAGIC, WINDOW_LOG_MIN};
use crate::BatchError;

/// Compresses batches one after the other.
#[derive(Debug)]
pub(crate) struct Compressor;

impl Compressor {
    /// The level is not looked at: there is one, close to the C library's first.
    pub(in crate::compression) fn new(_level: i32) -> Self {
        Self
    }

    /// Writes a frame of `content` to the front of `room` and returns its size, `None` if it does not fit.
    pub(in crate::compression) fn compress(&mut self, content: &[u8], room: &mut [u8]) -> Option<usize> {
        // The library expects that its drain takes all.
        let mut frame = Vec::with_capacity(room.len());
        compress(content, &mut frame, CompressionLevel::Fastest);
        room.get_mut(..frame.len())?.copy_from_slice(&frame);
        Some(frame.len())
    }
}

/// Appends the content of `frame`.
pub(super) fn decompress(frame: &Frame<'_>, content: &mut Content) -> Result<(), BatchError> {
    let header = header_of(frame, content);
    let mut source = header.chain(frame.blocks());
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(u64::MAX);
    decoder.init(&mut source).map_err(|_| DAMAGED)?;
    loop {
        let step = BlockDecodingStrategy::UptoBytes(BLOCK_SIZE_MAX as usize);
        decoder.decode_blocks(&mut source, step).map_err(|_| DAMAGED)?;
        while decoder.can_collect() > 0 {
            let room = content.room(decoder.can_collect());
            if room.is_empty() {
                return Err(content.too_large());
            }
            let size = decoder.read(room).map_err(|_| DAMAGED)?;
            content.advance(size);
        }
        if decoder.is_finished() {
            break;
        }
    }
    if frame.has_checksum && decoder.get_checksum_from_data() != decoder.get_calculated_checksum() {
        return Err(damaged("the checksum of a zstd frame does not match"));
    }
    Ok(())
}

/// A header for the blocks of `frame` that asks for no more window than its content can need: the library allocates
/// what a header asks for.
fn header_of(frame: &Frame<'_>, content: &Content) -> [u8; 6] {
    let needed = (frame.content_max as u64).min(content.left() as u64 + BLOCK_SIZE_MAX);
    // Never smaller than a block that the frame allows, or its blocks would count as too large.
    let window = frame.window.min(needed.max(BLOCK_SIZE_MAX));
    let window_log = window.next_power_of_two().ilog2().max(u32::from(WINDOW_LOG_MIN));
    let descriptor = if frame.has_checksum { CHECKSUM } else { 0 };
    let [a, b, c, d] = MAGIC.to_le_bytes();
    [a, b, c, d, descriptor, ((window_log as u8) - WINDOW_LOG_MIN) << 3]
}

const DAMAGED: BatchError = damaged("a zstd frame is damaged");
