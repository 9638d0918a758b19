//! Compressors that the partitions of a producer lend one another: many batches are filled at the same time, and as
//! many are compressed as threads do so.

use std::sync::{Mutex, PoisonError};

use folio_record::{BatchBuilder, Codec, Compressor};

/// The compressors of one producer. There are never more than threads that ended batches at the same time.
#[derive(Debug)]
pub(crate) struct Compressors {
    codec: Codec,
    idle: Mutex<Vec<Compressor>>,
}

impl Compressors {
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, idle: Mutex::default() }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// The batch that `builder` holds, compressed.
    pub(crate) fn build(&self, builder: &mut BatchBuilder) -> Option<Vec<u8>> {
        let mut compressor = self.lock().pop().or_else(|| Compressor::new(self.codec));
        let batch = builder.build_with(compressor.as_mut());
        if let Some(compressor) = compressor {
            self.lock().push(compressor);
        }
        batch
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Compressor>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
