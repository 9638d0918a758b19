//! What the headers of a frame and of its blocks tell before anything is decompressed.
//!
//! ```text
//!  28 b5 2f fd | descriptor | [window] | [dictionary] | [content size] | { block } ... | [checksum u32]
//!
//!  block: last : 1, kind : 2, size : 21 | bytes          kind 0 is stored, 1 is one byte repeated, 2 is compressed
//!  descriptor: size of content size : 2, single segment : 1, _ : 1, reserved : 1, has checksum : 1, dictionary id : 2
//! ```
//!
//! Little-endian; bits from the highest down for the descriptor, from the lowest up for a block. A frame in a single
//! segment has no window field; its content size is its window.

use super::super::{damaged, take};
use crate::BatchError;

/// One frame of which only headers were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// All of it.
    pub(super) bytes: &'a [u8],
    blocks_at: usize,
    pub(super) has_checksum: bool,
    pub(super) content_size: Option<u64>,
    /// How far back it says that it may refer.
    pub(super) window: u64,
    /// What its blocks can become at most, whatever sizes it gives.
    pub(super) content_max: usize,
}

impl<'a> Frame<'a> {
    /// What follows the header.
    pub(super) fn blocks(&self) -> &'a [u8] {
        &self.bytes[self.blocks_at..]
    }

    /// Takes the next frame off the front of `frames`, or `None` if only skippable ones were left.
    pub(super) fn take(frames: &mut &'a [u8]) -> Result<Option<Self>, BatchError> {
        loop {
            let all = *frames;
            let magic = u32::from_le_bytes(take(frames).ok_or(CUT)?);
            if magic == MAGIC {
                return Self::take_behind_magic(all, frames).map(Some);
            }
            if magic & SKIPPABLE_MASK != SKIPPABLE {
                return Err(damaged("it is not a zstd frame"));
            }
            let size = u32::from_le_bytes(take(frames).ok_or(CUT)?);
            frames.split_off(..size as usize).ok_or(CUT)?;
            if frames.is_empty() {
                return Ok(None);
            }
        }
    }

    fn take_behind_magic(all: &'a [u8], frames: &mut &'a [u8]) -> Result<Self, BatchError> {
        let [descriptor] = take(frames).ok_or(CUT)?;
        if descriptor & RESERVED != 0 {
            return Err(damaged("a zstd frame with a reserved flag"));
        }
        let is_single_segment = descriptor & SINGLE_SEGMENT != 0;
        let window = if is_single_segment { None } else { Some(window_of(take(frames).ok_or(CUT)?)) };
        let dictionary = take_number(frames, [0, 1, 2, 4][usize::from(descriptor & 0b11)])?;
        if dictionary != 0 {
            return Err(damaged("a zstd frame with a dictionary"));
        }
        let content_size = match (descriptor >> 6, is_single_segment) {
            (0, false) => None,
            (0, true) => Some(take_number(frames, 1)?),
            (1, _) => Some(take_number(frames, 2)? + 256),
            (2, _) => Some(take_number(frames, 4)?),
            _ => Some(take_number(frames, 8)?),
        };
        let window = window.or(content_size).unwrap_or_default();
        let blocks_at = all.len() - frames.len();
        let content_max = skip_blocks(frames, window)?;
        let has_checksum = descriptor & CHECKSUM != 0;
        if has_checksum {
            let [..]: [u8; 4] = take(frames).ok_or(CUT)?;
        }
        Ok(Self {
            bytes: &all[..all.len() - frames.len()],
            blocks_at,
            has_checksum,
            content_size,
            window,
            content_max: content_size.map_or(content_max, |size| size.min(content_max as u64) as usize),
        })
    }
}

/// What the blocks can become.
fn skip_blocks(frames: &mut &[u8], window: u64) -> Result<usize, BatchError> {
    let block_max = window.min(BLOCK_SIZE_MAX) as usize;
    let mut content_max = 0usize;
    loop {
        let [low, middle, high] = take(frames).ok_or(CUT)?;
        let header = u32::from_le_bytes([low, middle, high, 0]);
        let size = (header >> 3) as usize;
        let (stored_size, becomes) = match header >> 1 & 0b11 {
            0 => (size, size),
            1 => (1, size),
            2 => (size, block_max),
            _ => return Err(damaged("a zstd block of a reserved kind")),
        };
        if becomes > block_max || stored_size > block_max.max(1) {
            return Err(damaged("a zstd block is larger than its frame allows"));
        }
        frames.split_off(..stored_size).ok_or(CUT)?;
        content_max = content_max.saturating_add(becomes);
        if header & 1 == 1 {
            return Ok(content_max);
        }
    }
}

/// A mantissa of three bits below an exponent of five.
fn window_of([field]: [u8; 1]) -> u64 {
    let base = 1u64 << (WINDOW_LOG_MIN + (field >> 3));
    base + base / 8 * u64::from(field & 0b111)
}

fn take_number(frames: &mut &[u8], size: usize) -> Result<u64, BatchError> {
    let mut number = [0; 8];
    number[..size].copy_from_slice(frames.split_off(..size).ok_or(CUT)?);
    Ok(u64::from_le_bytes(number))
}

const CUT: BatchError = damaged("a zstd frame is cut short");

pub(super) const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: u32 = 0x184d_2a50;
const SKIPPABLE_MASK: u32 = 0xffff_fff0;
const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
pub(super) const CHECKSUM: u8 = 1 << 2;
pub(super) const WINDOW_LOG_MIN: u8 = 10;
/// No block becomes more than that, however large the window.
pub(super) const BLOCK_SIZE_MAX: u64 = 128 * 1024;
