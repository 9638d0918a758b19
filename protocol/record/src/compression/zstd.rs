//! Zstandard frames (RFC 8878).
//!
//! We write one frame. We read one or more frames, with or without the size of their content, and skip skippable
//! ones; not dictionaries, and nothing that is no frame. The window that a frame asks for, up to gigabytes, is not
//! what it gets: nothing in a block can refer to more than the block's content, and that is in memory anyway.
//!
//! Two libraries do the work, behind the same three functions: the zstd library in C with the feature `libzstd`,
//! else one in Rust, which needs no C compiler, reads at about a third of the speed and knows one level.

#[cfg_attr(feature = "libzstd", allow(dead_code, reason = "the library in C reads headers by itself"))]
mod frame;
#[cfg(any(test, feature = "libzstd"))]
mod libzstd;
#[cfg(any(test, not(feature = "libzstd")))]
mod pure;

#[cfg(feature = "libzstd")]
use libzstd as library;
#[cfg(not(feature = "libzstd"))]
use pure as library;

use super::content::Content;
use super::damaged;
use crate::{BatchError, DecompressLimit};
use frame::Frame;

pub(crate) use library::Compressor;

/// The content of all frames that `frames` are.
pub(super) fn decompress(frames: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, BatchError> {
    decompress_with(library::decompress, frames, limit)
}

type DecompressFrame = fn(&Frame<'_>, &mut Content) -> Result<(), BatchError>;

fn decompress_with(
    one: DecompressFrame,
    mut frames: &[u8],
    limit: DecompressLimit,
) -> Result<Vec<u8>, BatchError> {
    let mut content = Content::new(limit, frames.len());
    while let Some(frame) = Frame::take(&mut frames)? {
        let from = content.len();
        one(&frame, &mut content)?;
        if frame.content_size.is_some_and(|size| size != (content.len() - from) as u64) {
            return Err(damaged("a zstd frame has not the size it gives"));
        }
        if frames.is_empty() {
            break;
        }
    }
    Ok(content.finish())
}

#[cfg(test)]
mod tests;
