//! The zstd library in C.

use std::cell::RefCell;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

use super::super::content::Content;
use super::super::damaged;
use super::frame::Frame;
use crate::BatchError;

/// Compresses batches one after the other; keeps its memory between them.
pub(crate) struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    /// Of a level that the library knows.
    pub(in crate::compression) fn new(level: i32) -> Self {
        let mut context = CCtx::create();
        let set = context.set_parameter(CParameter::CompressionLevel(level));
        debug_assert!(set.is_ok(), "a level beyond the library's is cut to its bounds");
        Self { context }
    }

    /// Writes a frame of `content` to the front of `room` and returns its size, `None` if it does not fit.
    pub(in crate::compression) fn compress(&mut self, content: &[u8], room: &mut [u8]) -> Option<usize> {
        self.context.compress2(room, content).ok()
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

thread_local! {
    /// The tables of a decompression: too large to be made anew for each batch. In one call from a whole frame to its
    /// whole content, the library allocates nothing else, and no window.
    static CONTEXT: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Appends the content of `frame`.
pub(super) fn decompress(frame: &Frame<'_>, content: &mut Content) -> Result<(), BatchError> {
    let room = content.room(frame.content_max);
    let is_limited = room.len() < frame.content_max;
    let found = CONTEXT.with_borrow_mut(|context| context.decompress(room, frame.bytes));
    match found {
        Ok(size) => {
            content.advance(size);
            Ok(())
        }
        Err(code) if is_limited && code == DOES_NOT_FIT => Err(content.too_large()),
        Err(code) => Err(damaged(get_error_name(code))),
    }
}

/// The library's functions return an error's number taken from 0.
const DOES_NOT_FIT: usize = 0usize.wrapping_sub(ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as usize);
