//! What each side sends first: who speaks, in which protocol versions, and how large a frame it takes.
//!
//! ```text
//!  0        8        10        12          16
//!  | magic  | lowest | highest | frame_max |
//! ```
//! Little-endian. The magic begins with a byte that is neither ASCII nor another protocol's first, and
//! holds both line ends and a control character, so that a transfer that rewrites text is noticed.

/// The first eight bytes, both ways.
pub const MAGIC: [u8; 8] = [0x89, b'F', b'O', b'L', b'\r', b'\n', 0x1A, b'\n'];
/// A whole preface.
pub const PREFACE_SIZE: usize = 16;
/// The only protocol version so far.
pub const VERSION: u16 = 1;

/// The least that a side may say it reads: room for any answer that refuses.
pub const FRAME_MAX_LEAST: u32 = 4 << 10;

const LOWEST_AT: usize = 8;
const HIGHEST_AT: usize = 10;
const FRAME_MAX_AT: usize = 12;
const _: () = assert!(MAGIC.len() == LOWEST_AT && FRAME_MAX_AT + size_of::<u32>() == PREFACE_SIZE);

/// One side's preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// The lowest protocol version that this side speaks.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
    /// The largest frame that this side reads, in bytes behind the length field.
    pub frame_max: u32,
}

/// Why the peer's first bytes are no preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// Another protocol.
    #[error("the peer does not speak Folio's protocol")]
    Magic,
    /// The lowest version is above the highest.
    #[error("the peer's protocol versions {lowest} to {highest} are no range")]
    Versions {
        /// As sent.
        lowest: u16,
        /// As sent.
        highest: u16,
    },
    /// It reads no frame worth sending.
    #[error("the peer reads frames of at most {frame_max} bytes; {FRAME_MAX_LEAST} are the least")]
    FrameMax {
        /// As sent.
        frame_max: u32,
    },
}

impl Preface {
    /// What this build sends.
    #[must_use]
    pub const fn ours(frame_max: u32) -> Self {
        Self { lowest: VERSION, highest: VERSION, frame_max }
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> [u8; PREFACE_SIZE] {
        let mut bytes = [0; PREFACE_SIZE];
        bytes[..LOWEST_AT].copy_from_slice(&MAGIC);
        bytes[LOWEST_AT..HIGHEST_AT].copy_from_slice(&self.lowest.to_le_bytes());
        bytes[HIGHEST_AT..FRAME_MAX_AT].copy_from_slice(&self.highest.to_le_bytes());
        bytes[FRAME_MAX_AT..].copy_from_slice(&self.frame_max.to_le_bytes());
        bytes
    }

    /// Reads the preface at the front of `bytes`; `None` while it is incomplete.
    ///
    /// # Errors
    /// As soon as a byte differs from what a preface must hold, even when the rest is still to come.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, PrefaceError> {
        let magic = bytes.len().min(MAGIC.len());
        if bytes[..magic] != MAGIC[..magic] {
            return Err(PrefaceError::Magic);
        }
        let Some(bytes) = bytes.first_chunk::<PREFACE_SIZE>() else { return Ok(None) };
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (lowest, highest) = (u16_at(LOWEST_AT), u16_at(HIGHEST_AT));
        if lowest > highest {
            return Err(PrefaceError::Versions { lowest, highest });
        }
        let [.., a, b, c, d] = *bytes;
        let frame_max = u32::from_le_bytes([a, b, c, d]);
        if frame_max < FRAME_MAX_LEAST {
            return Err(PrefaceError::FrameMax { frame_max });
        }
        Ok(Some(Self { lowest, highest, frame_max }))
    }

    /// The highest version that both speak, if there is one. It holds for the whole connection.
    #[must_use]
    pub fn common_version(&self, other: &Self) -> Option<u16> {
        let version = self.highest.min(other.highest);
        (version >= self.lowest.max(other.lowest)).then_some(version)
    }
}
