//! The envelope of the small files: `node.meta`, `partition.meta`, `epochs`, and whatever is rewritten whole.
//!
//! ```text
//!  0       4         6       8          12              12 + n   16 + n
//!  | magic | version | zero  | length n | payload (n)   | crc32  |
//! ```
//! Big-endian. `crc32` (IEEE) covers everything before itself. Nothing follows it.
//!
//! An envelope is never changed in place: the new one is written under another name, synced, renamed over the
//! old one, and the directory is synced. A crash leaves the old file or the new one, and perhaps a `.tmp`.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::{FileHandle, Files, OpenMode, is_full, parent, tmp_path};
use crate::layout::{field, put};

/// Which file this is, and which edition of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvelopeKind {
    /// The first four bytes of the file.
    pub magic: [u8; 4],
    /// The newest edition of the payload that this build writes; it reads only this one.
    pub version: u16,
}

/// Why bytes are not the envelope that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// The file is empty, cut, or carries bytes after its end.
    #[error("{found} bytes where its header says {expected}")]
    Length {
        /// Bytes that the header announces, or the smallest envelope if there is no whole header.
        expected: u64,
        /// Bytes that the file has.
        found: u64,
    },
    /// The file is another one.
    #[error("magic {found:02x?} where {expected:02x?} belongs")]
    Magic {
        /// The magic of the kind asked for.
        expected: [u8; 4],
        /// What stands there.
        found: [u8; 4],
    },
    /// Intact, but of an edition that this build does not know.
    #[error("edition {found}; this build reads edition {expected}")]
    Version {
        /// What this build reads.
        expected: u16,
        /// What the file is.
        found: u16,
    },
    /// Bytes changed after they were written.
    #[error("checksum {found:08x} where its bytes give {computed:08x}")]
    Checksum {
        /// As stored.
        found: u32,
        /// As computed.
        computed: u32,
    },
    /// The envelope is intact, but its payload is not what the kind requires.
    #[error("its payload is not well-formed")]
    Payload,
}

impl EnvelopeKind {
    /// Wraps `payload`.
    ///
    /// # Panics
    /// If the payload is larger than [`PAYLOAD_SIZE_MAX`]: small files are small.
    pub fn seal(self, payload: &[u8]) -> Vec<u8> {
        assert!(payload.len() <= PAYLOAD_SIZE_MAX);
        let mut bytes = vec![0; PAYLOAD_AT + payload.len() + CRC_SIZE];
        put(&mut bytes, MAGIC_AT, &self.magic);
        put(&mut bytes, VERSION_AT, &self.version.to_be_bytes());
        put(&mut bytes, LENGTH_AT, &(payload.len() as u32).to_be_bytes());
        put(&mut bytes, PAYLOAD_AT, payload);
        let crc_at = PAYLOAD_AT + payload.len();
        let crc = crc32fast::hash(&bytes[..crc_at]);
        put(&mut bytes, crc_at, &crc.to_be_bytes());
        bytes
    }

    /// The payload of `bytes`, if they are an intact envelope of this kind.
    ///
    /// The checksum is judged before the edition: a flipped bit is damage, never "written by a newer build".
    pub fn open(self, bytes: &[u8]) -> Result<&[u8], EnvelopeError> {
        let found = bytes.len() as u64;
        if bytes.len() < ENVELOPE_SIZE_MIN {
            return Err(EnvelopeError::Length { expected: ENVELOPE_SIZE_MIN as u64, found });
        }
        let magic: [u8; 4] = field(bytes, MAGIC_AT);
        if magic != self.magic {
            return Err(EnvelopeError::Magic { expected: self.magic, found: magic });
        }
        let length = u32::from_be_bytes(field(bytes, LENGTH_AT));
        let expected = u64::from(length) + ENVELOPE_SIZE_MIN as u64;
        if expected != found {
            return Err(EnvelopeError::Length { expected, found });
        }
        let crc_at = bytes.len() - CRC_SIZE;
        let stored = u32::from_be_bytes(field(bytes, crc_at));
        let computed = crc32fast::hash(&bytes[..crc_at]);
        if stored != computed {
            return Err(EnvelopeError::Checksum { found: stored, computed });
        }
        let version = u16::from_be_bytes(field(bytes, VERSION_AT));
        if version != self.version {
            return Err(EnvelopeError::Version { expected: self.version, found: version });
        }
        Ok(&bytes[PAYLOAD_AT..crc_at])
    }
}

/// Puts `bytes` in the place of the file at `path`, so that a crash leaves the old file or the new one.
pub fn replace<F: Files>(files: &F, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let tmp = tmp_path(path);
    let replaced =
        write_tmp(files, &tmp, bytes).and_then(|file| file.sync()).and_then(|()| files.rename(&tmp, path));
    if replaced.as_ref().is_err_and(is_full) {
        // What there is of it gives its room back, if that can be.
        let _ = files.remove_file(&tmp);
    }
    replaced?;
    files.sync_dir(parent(path))
}

/// Whether a [`replace`] of the file at `path` by one of `len` bytes would find room. That is tried and undone: how
/// much is free does not tell how much of it this user may have.
///
/// # Errors
/// Those of trying; among them, that there is no room.
pub(crate) fn try_room<F: Files>(files: &F, path: &Path, len: usize) -> io::Result<()> {
    let tmp = tmp_path(path);
    let tried = write_tmp(files, &tmp, &vec![0; len]).map(drop);
    let removed = files.remove_file(&tmp);
    tried.and(removed)
}

/// Replaces many files at the price of two syncs of the whole file system. Each is old or new after a crash. `false`:
/// there was no room for all of them.
///
/// `has_syncfs` says whether the file system can be synced as a whole; without that, or for a few files, each is
/// synced by itself.
///
/// # Errors
/// The disk's. A sync that fails for want of room is one of them: what it was about is lost, and was promised room.
pub fn replace_many<F: Files>(
    files: &F,
    replacements: &[(PathBuf, Vec<u8>)],
    has_syncfs: bool,
) -> io::Result<bool> {
    let mut written = Vec::with_capacity(replacements.len());
    for (path, bytes) in replacements {
        match write_tmp(files, &tmp_path(path), bytes) {
            Ok(file) => written.push((path, file)),
            Err(error) if is_full(&error) => {
                // What there is of it gives its room back, if that can be.
                let _ = files.remove_file(&tmp_path(path));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let mut is_whole = written.len() == replacements.len();
    if !has_syncfs || written.len() <= 2 {
        for (path, file) in written {
            file.sync()?;
            if take_place(files, path)? {
                files.sync_dir(parent(path))?;
            } else {
                is_whole = false;
            }
        }
        return Ok(is_whole);
    }
    files.sync_everything()?;
    for (path, _) in written {
        is_whole &= take_place(files, path)?;
    }
    files.sync_everything()?;
    Ok(is_whole)
}

/// Gives what was written the name that it is for; `false`: there was no room for that, and the old one stays. A file
/// system that never overwrites needs some even where a name takes another's place.
fn take_place<F: Files>(files: &F, path: &Path) -> io::Result<bool> {
    let tmp = tmp_path(path);
    match files.rename(&tmp, path) {
        Err(error) if is_full(&error) => {
            // Where there is no room even for that, it is written over the next time.
            let _ = files.remove_file(&tmp);
            Ok(false)
        }
        renamed => renamed.map(|()| true),
    }
}

fn write_tmp<F: Files>(files: &F, tmp: &Path, bytes: &[u8]) -> io::Result<F::File> {
    let file = files.open(tmp, OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    Ok(file)
}

/// The largest payload an envelope carries; a longer file is not read into memory.
pub const PAYLOAD_SIZE_MAX: usize = 16 * 1024 * 1024;
/// The largest envelope.
pub const ENVELOPE_SIZE_MAX: usize = PAYLOAD_SIZE_MAX + ENVELOPE_SIZE_MIN;

const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 4;
const LENGTH_AT: usize = 8;
const PAYLOAD_AT: usize = 12;
const CRC_SIZE: usize = 4;
const ENVELOPE_SIZE_MIN: usize = PAYLOAD_AT + CRC_SIZE;
const _: () = assert!(MAGIC_AT + size_of::<[u8; 4]>() == VERSION_AT);
const _: () = assert!(VERSION_AT + size_of::<u16>() + size_of::<u16>() == LENGTH_AT);
const _: () = assert!(LENGTH_AT + size_of::<u32>() == PAYLOAD_AT);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimFiles;
    use crate::files::sim::Fault;

    const KIND: EnvelopeKind = EnvelopeKind { magic: *b"TST1", version: 3 };

    #[test]
    fn the_bytes_are_as_drawn() {
        let mut expected = b"TST1\x00\x03\x00\x00\x00\x00\x00\x02hi".to_vec();
        expected.extend_from_slice(&crc32fast::hash(&expected).to_be_bytes());
        assert_eq!(KIND.seal(b"hi"), expected);
        assert_eq!(KIND.open(&expected), Ok(&b"hi"[..]));
    }

    #[test]
    fn an_empty_payload_is_a_payload() {
        assert_eq!(KIND.open(&KIND.seal(b"")), Ok(&b""[..]));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let sealed = KIND.seal(b"where the log was durable");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = KIND.open(&flipped).expect_err("a flipped bit went unseen");
            assert!(!matches!(error, EnvelopeError::Version { .. }), "bit {bit} passed for a newer edition");
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let sealed = KIND.seal(b"payload");
        for len in 0..sealed.len() {
            assert!(KIND.open(&sealed[..len]).is_err(), "{len} bytes passed for the whole");
        }
        let mut longer = sealed;
        longer.push(0);
        assert!(matches!(KIND.open(&longer), Err(EnvelopeError::Length { .. })));
    }

    #[test]
    fn a_newer_edition_is_refused_as_such() {
        let newer = EnvelopeKind { version: 4, ..KIND }.seal(b"?");
        assert_eq!(KIND.open(&newer), Err(EnvelopeError::Version { expected: 3, found: 4 }));
    }

    #[test]
    fn a_crash_at_any_step_of_a_replacement_leaves_the_old_or_the_new() {
        for count in [1, 5] {
            for operation in 0..5 * count {
                for seed in 0..20 {
                    let files = SimFiles::new();
                    let path = |n| PathBuf::from(format!("meta{n}"));
                    let all =
                        |bytes: &[u8]| (0..count).map(|n| (path(n), KIND.seal(bytes))).collect::<Vec<_>>();
                    replace_many(&files, &all(b"old"), true).unwrap();
                    files.cut_power_at(files.operations() + operation);
                    let done = replace_many(&files, &all(b"new"), true);
                    files.crash(seed);
                    for n in 0..count {
                        let left = &files.snapshot()[&path(n)];
                        let payload = KIND.open(left).expect("an intact envelope");
                        assert!(payload == b"new" || (payload == b"old" && done.is_err()));
                    }
                }
            }
        }
    }

    #[test]
    fn a_replacement_that_finds_no_room_at_any_step_but_a_sync_leaves_the_old_and_nothing_else() {
        for count in [1, 5] {
            let path = |n| PathBuf::from(format!("meta{n}"));
            let all = |bytes: &[u8]| (0..count).map(|n| (path(n), KIND.seal(bytes))).collect::<Vec<_>>();
            let mut not_whole = 0;
            for operation in 0..5 * count {
                let files = SimFiles::new();
                replace_many(&files, &all(b"old"), true).unwrap();
                files.fail_at(files.operations() + operation, Fault::Full);
                let Ok(is_whole) = replace_many(&files, &all(b"new"), true) else { continue };
                not_whole += u64::from(!is_whole);
                let left = files.snapshot();
                assert_eq!(left.len() as u64, count, "{:?}", left.keys());
                let is_new = |path: &PathBuf| KIND.open(&left[path]).unwrap() == b"new";
                assert_eq!(left.keys().all(is_new), is_whole);
            }
            // Each is opened, made empty, written and renamed.
            assert!(not_whole >= 4 * count, "{not_whole} of {count}");
        }
    }

    #[test]
    fn a_length_of_four_gigabytes_is_refused_without_being_believed() {
        let mut bytes = KIND.seal(b"x");
        put(&mut bytes, LENGTH_AT, &u32::MAX.to_be_bytes());
        assert!(matches!(KIND.open(&bytes), Err(EnvelopeError::Length { .. })));
    }
}
