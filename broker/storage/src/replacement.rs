//! `replace.<n>`: that a row of segments is being replaced by one, and what has to be done about it.
//!
//! Payload (an [envelope](crate::envelope), magic `LRI1`), big-endian:
//! ```text
//!  0            8                 16                                                52
//!  | base (i64) | next base (i64) | 3 x: length (u64), crc32 (u32), of the new files | count n (u32) | n bases (i64) |
//! ```
//! The new files are those of a segment, in the order log, offset index, time index. They lie beside the old ones as
//! `<base>.log.cleaned`, ..., complete and on stable storage, before the intent is written; the bases are those of the
//! segments that go, `base` first.
//!
//! ```text
//!  new files written, synced, and their names   a crash: garbage, which the next start removes
//!  intent written and synced                    this is the moment
//!  new files renamed to their places            a crash: the next start does the rest, however often that is cut off
//!  old files away, names synced
//!  intent removed, and that synced              before anything else happens to these files
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use folio_record::{Offset, Timestamp};

use crate::envelope::{ENVELOPE_SIZE_MAX, EnvelopeError, EnvelopeKind};
use crate::files::{FileHandle, Files, OpenMode, is_full, read_file};
use crate::layout::Fields;
use crate::partition_files::SegmentFile;
use crate::quarantine::{Note, move_here};
use crate::recovery::{Damage, RecoveryError};
use crate::trash::TRASH_NAME;

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Where the new segment begins: where the first of the old ones does.
    pub base: Offset,
    /// Where it ends: the base of the segment behind the last of the old ones.
    pub next_base: Offset,
    /// Its files, in the order of [`SegmentFile::ALL`].
    pub files: [Sum; 3],
    /// The bases of the segments that go.
    pub old: Vec<Offset>,
}

/// What a file has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sum {
    /// Bytes.
    pub len: u64,
    /// CRC-32 of all of them.
    pub crc: u32,
}

impl Replacement {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(ROWS_AT + self.old.len() * size_of::<i64>());
        payload.extend_from_slice(&self.base.get().to_be_bytes());
        payload.extend_from_slice(&self.next_base.get().to_be_bytes());
        for sum in &self.files {
            payload.extend_from_slice(&sum.len.to_be_bytes());
            payload.extend_from_slice(&sum.crc.to_be_bytes());
        }
        payload.extend_from_slice(&(self.old.len() as u32).to_be_bytes());
        payload.extend(self.old.iter().flat_map(|base| base.get().to_be_bytes()));
        INTENT.seal(&payload)
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let payload = INTENT.open(bytes)?;
        let mut fields = Fields::new(payload);
        let read = |fields: &mut Fields<'_>| -> Option<Self> {
            let offset = |fields: &mut Fields<'_>| fields.take().map(|b| Offset::new(i64::from_be_bytes(b)));
            let (base, next_base) = (offset(fields)?, offset(fields)?);
            let mut files = [Sum { len: 0, crc: 0 }; 3];
            for sum in &mut files {
                sum.len = u64::from_be_bytes(fields.take()?);
                sum.crc = u32::from_be_bytes(fields.take()?);
            }
            let count = u32::from_be_bytes(fields.take()?);
            if fields.rest().len() as u64 != u64::from(count) * size_of::<i64>() as u64 {
                return None;
            }
            let old: Vec<Offset> = std::iter::from_fn(|| offset(fields)).collect();
            let is_row = old.first() == Some(&base)
                && old.is_sorted_by(|a, b| a < b)
                && old.last().is_some_and(|last| *last < next_base);
            is_row.then_some(Self { base, next_base, files, old })
        };
        read(&mut fields).ok_or(EnvelopeError::Payload)
    }

    /// Gives the new files their names, as far as that is still to be done. The log is the last: before it, the old
    /// segment is still there, with indexes that are found out, if they are not its own.
    pub(crate) fn take_names<F: Files>(&self, files: &F, dir: &Path) -> io::Result<()> {
        for file in SegmentFile::ALL.into_iter().rev() {
            let cleaned = cleaned_path(dir, self.base, file);
            if files.entry(&cleaned)?.is_some() {
                files.rename(&cleaned, &file.path(dir, self.base))?;
            }
        }
        Ok(())
    }

    /// Gives the new files their names, and removes the old ones, as far as that is still to be done.
    fn finish<F: Files>(&self, files: &F, dir: &Path) -> io::Result<()> {
        self.take_names(files, dir)?;
        for base in &self.old[1..] {
            for file in SegmentFile::ALL.into_iter().rev() {
                match files.remove_file(&file.path(dir, *base)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        // A run that was killed may have moved some of them to the trash.
        files.sync_dir(Path::new(TRASH_NAME))?;
        files.sync_dir(dir)
    }

    /// Where each of the new files is now, if it is what the intent says.
    ///
    /// # Errors
    /// Which file is not, and why.
    pub(crate) fn find<F: Files>(
        &self,
        files: &F,
        dir: &Path,
    ) -> io::Result<Result<[PathBuf; 3], (PathBuf, String)>> {
        let mut found = SegmentFile::ALL.map(|file| cleaned_path(dir, self.base, file));
        for ((file, sum), path) in SegmentFile::ALL.into_iter().zip(self.files).zip(&mut found) {
            if files.entry(path)?.is_none() {
                *path = file.path(dir, self.base);
            }
            let handle = match files.open(path, OpenMode::Read) {
                Ok(handle) => handle,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(Err((path.clone(), "the file is missing".to_owned())));
                }
                Err(error) => return Err(error),
            };
            let is = Sum::of(&handle)?;
            if is != sum {
                let what = format!(
                    "{} bytes with checksum {:08x} where {} with {:08x} were written",
                    is.len, is.crc, sum.len, sum.crc
                );
                return Ok(Err((path.clone(), what)));
            }
        }
        Ok(Ok(found))
    }
}

impl Sum {
    /// Of an open file, by reading it.
    pub(crate) fn of<H: FileHandle>(file: &H) -> io::Result<Self> {
        let (mut crc, mut at, mut buffer) = (crc32fast::Hasher::new(), 0, vec![0; READ_STEP]);
        loop {
            let read = file.read_at(&mut buffer, at)?;
            if read == 0 {
                return Ok(Self { len: at, crc: crc.finalize() });
            }
            crc.update(&buffer[..read]);
            at += read as u64;
        }
    }

    /// Of a file with these bytes.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u64, crc: crc32fast::hash(bytes) }
    }
}

/// The name that a file of the segment at `base` has before it takes its place.
pub(crate) fn cleaned_path(dir: &Path, base: Offset, file: SegmentFile) -> PathBuf {
    let mut name = file.path(dir, base).into_os_string();
    name.push(".cleaned");
    PathBuf::from(name)
}

/// Where the intent of this number is.
pub(crate) fn intent_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("replace.{number}"))
}

/// Reads an intent.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_intent<F: Files>(files: &F, path: &Path) -> Result<Replacement, String> {
    let bytes = read_file(files, path, ENVELOPE_SIZE_MAX).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("the file is missing")?;
    Replacement::decode(&bytes).map_err(|error| error.to_string())
}

/// Does what is left of the replacements with these numbers, which a crash has interrupted. For a start, before it
/// looks at the segments. Gives the first for which there is no room, and where its intent is: that stays, and a later
/// start goes on.
///
/// # Errors
/// An intent that cannot be read, or new files that are not what it says, take the partition offline; nothing is
/// changed then.
pub(crate) fn finish_replacements<F: Files>(
    files: &F,
    dir: &Path,
    numbers: &BTreeSet<u64>,
) -> Result<Option<(PathBuf, Replacement)>, RecoveryError> {
    let damage = |file: PathBuf, what: String| RecoveryError::Offline(Damage::Replacement { file, what });
    for number in numbers {
        let path = intent_path(dir, *number);
        let replacement = read_intent(files, &path).map_err(|what| damage(path.clone(), what))?;
        match replacement.find(files, dir) {
            Ok(Ok(_)) => {}
            Ok(Err((file, what))) => return Err(damage(file, what)),
            Err(error) => return Err(damage(path, error.to_string())),
        }
        let io = |source| RecoveryError::Io { path: path.clone(), source };
        // A run that was killed may have left the intent in the cache only: what is done about it must not outlive it.
        files.sync_dir(dir).map_err(io)?;
        match replacement.finish(files, dir).and_then(|()| files.remove_file(&path)) {
            Err(error) if is_full(&error) => return Ok(Some((path, replacement))),
            finished => finished.map_err(io)?,
        }
        files.sync_dir(dir).map_err(io)?;
    }
    Ok(None)
}

/// Finishes replacements whose new files are not what was written, so that a repair has one log to look at: what was to
/// go is in quarantine afterwards, and so is the intent. Those that a start can finish are left to it.
pub(crate) fn force_replacements<F: Files>(
    files: &F,
    dir: &Path,
    numbers: &BTreeSet<u64>,
    now: Timestamp,
) -> io::Result<()> {
    let aside = |path: &Path, base: Offset| -> io::Result<()> {
        if files.entry(path)?.is_some() {
            let reason = "a segment was to take its place, and is damaged".to_owned();
            move_here(files, path, Note::new(path, 0, reason, now).starting_at(base))?;
        }
        Ok(())
    };
    for number in numbers {
        let path = intent_path(dir, *number);
        let Ok(replacement) = read_intent(files, &path) else { continue };
        if replacement.find(files, dir)?.is_ok() {
            continue;
        }
        replacement.take_names(files, dir)?;
        for base in &replacement.old[1..] {
            for file in SegmentFile::ALL {
                aside(&file.path(dir, *base), *base)?;
            }
        }
        files.sync_dir(dir)?;
        aside(&path, replacement.base)?;
    }
    Ok(())
}

const INTENT: EnvelopeKind = EnvelopeKind { magic: *b"LRI1", version: 1 };
/// Where the bases begin.
const ROWS_AT: usize = 56;
const _: () =
    assert!(2 * size_of::<i64>() + 3 * (size_of::<u64>() + size_of::<u32>()) + size_of::<u32>() == ROWS_AT);
const READ_STEP: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn replacement() -> Replacement {
        Replacement {
            base: Offset::new(1),
            next_base: Offset::new(9),
            files: [1, 2, 3].map(|n| Sum { len: n, crc: 0x10 + n as u32 }),
            old: [1, 4, 6].map(Offset::new).to_vec(),
        }
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let mut payload = Vec::new();
        for long in [1_i64, 9] {
            payload.extend_from_slice(&long.to_be_bytes());
        }
        for sum in [1_u32, 2, 3] {
            payload.extend_from_slice(&u64::from(sum).to_be_bytes());
            payload.extend_from_slice(&(0x10 + sum).to_be_bytes());
        }
        payload.extend_from_slice(&3_u32.to_be_bytes());
        assert_eq!(payload.len(), ROWS_AT);
        for base in [1_i64, 4, 6] {
            payload.extend_from_slice(&base.to_be_bytes());
        }
        assert_eq!(replacement().encode(), INTENT.seal(&payload));
        assert_eq!(Replacement::decode(&INTENT.seal(&payload)), Ok(replacement()));
    }

    #[test]
    fn what_is_no_row_of_segments_is_no_intent() {
        for old in [&[][..], &[4, 6], &[1, 6, 4], &[1, 4, 9]] {
            let wrong = Replacement { old: old.iter().copied().map(Offset::new).collect(), ..replacement() };
            assert_eq!(Replacement::decode(&wrong.encode()), Err(EnvelopeError::Payload), "{old:?}");
        }
        let mut payload = INTENT.open(&replacement().encode()).unwrap().to_vec();
        payload.pop();
        assert_eq!(Replacement::decode(&INTENT.seal(&payload)), Err(EnvelopeError::Payload));
    }
}
