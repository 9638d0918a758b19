//! The same bytes on the heap: for whoever would rather copy than depend on pages that stay where they are.

use std::io::{self, IoSliceMut};

use rustix::io::{Errno, ReadWriteFlags};

use crate::segment::SegmentMap;
use crate::slice::{CopyError, MapSlice};

impl MapSlice {
    /// A copy of it on the heap, if that waits for no disk: one `preadv2` with `RWF_NOWAIT`. `None`: some of it is not
    /// in the page cache, or the filesystem cannot tell.
    ///
    /// # Errors
    ///
    /// As of [`read_to`](Self::read_to).
    pub fn copied_at_once(&self) -> Result<Option<Self>, CopyError> {
        let Some(file) = self.backing().fd() else { return Ok(Some(self.clone())) };
        let (mut bytes, mut done) = (vec![0; self.len()], 0);
        while done < bytes.len() {
            let position = self.range().start + done as u64;
            let into = &mut [IoSliceMut::new(&mut bytes[done..])];
            match rustix::io::preadv2(file, into, position, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(self.backing().ends_at(position)),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
                Err(error) => return Err(CopyError::Io { position, source: io::Error::from(error) }),
            }
        }
        Ok(Some(Self::holding(bytes)))
    }

    /// A copy of it on the heap, for which this waits for the disk if it must.
    ///
    /// # Errors
    ///
    /// As of [`read_to`](Self::read_to).
    pub fn copied(&self) -> Result<Self, CopyError> {
        if self.is_on_heap() {
            return Ok(self.clone());
        }
        let mut bytes = vec![0; self.len()];
        self.read_to(0, &mut bytes)?;
        Ok(Self::holding(bytes))
    }

    /// Whether it is memory of ours, and not pages of a file.
    pub fn is_on_heap(&self) -> bool {
        self.backing().is_heap()
    }

    fn holding(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len() as u64;
        Self::new(SegmentMap::holding(bytes), range)
    }
}
