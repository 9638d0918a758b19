//! `quarantine/`: bytes that recovery took out of a log, and files and directories that it moved out of the way,
//! each with a note that says where from and why. Nothing in here is ever removed by the broker.

use std::io;
use std::path::{Path, PathBuf};

use folio_record::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope;
use crate::files::{FileHandle, Files, OpenMode, is_full, parent, tmp_path};

/// What the `.json` beside a quarantined file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Note {
    /// The path that the bytes had, relative to the data directory.
    pub file: String,
    /// Where in that file they began.
    pub position: u64,
    /// How many there were.
    pub bytes: u64,
    /// The first offset that they held, if any.
    pub first_offset: Option<i64>,
    /// Whole, intact batches among them.
    pub intact_batches: u64,
    /// Why they are here.
    pub reason: String,
    /// When they came here, in milliseconds since the epoch.
    pub at_ms: i64,
}

impl Note {
    /// About the bytes of `file` from `position` on.
    pub(crate) fn new(file: &Path, position: u64, reason: String, now: Timestamp) -> Self {
        let file = file.display().to_string();
        Self { file, position, bytes: 0, first_offset: None, intact_batches: 0, reason, at_ms: now.get() }
    }

    pub(crate) fn starting_at(mut self, offset: Offset) -> Self {
        self.first_offset = Some(offset.get());
        self
    }
}

/// Copies the bytes of `file` from `note.position` to its end. After this returned `Some`, they are on stable
/// storage; `None` says that the disk has no room for a copy.
pub(crate) fn keep_tail<F: Files>(files: &F, file: &F::File, mut note: Note) -> io::Result<Option<PathBuf>> {
    let copying = copy_tail(files, file, &mut note);
    match copying {
        Ok(path) => Ok(Some(path)),
        Err(error) if is_full(&error) => {
            // Removing what was copied so far gives the room back; if that fails too, the next start tries again.
            let _ = files.remove_file(&staging(&note));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Moves a file or a directory here as a whole, with a note if there is room for one.
///
/// # Errors
/// Those of the disk. Where it is full ([`is_full`]) everything is as it was, and may be tried again.
pub(crate) fn move_here<F: Files>(files: &F, path: &Path, mut note: Note) -> io::Result<PathBuf> {
    note.bytes = files.entry(path)?.map_or(0, |entry| entry.len);
    let label = label(path);
    let mut to = Path::new(QUARANTINE_NAME).join(&label);
    for number in 2..=NAMES_MAX {
        if files.entry(&to)?.is_none() {
            break;
        }
        to = Path::new(QUARANTINE_NAME).join(format!("{label}.{number}"));
    }
    match write_note(files, &to, &note) {
        // What is moved needs no room. A start on a full disk goes without the note.
        Err(error) if is_full(&error) => drop(files.remove_file(&tmp_path(&note_path(&to)))),
        written => written?,
    }
    if let Err(error) = files.rename(path, &to) {
        // There may be no room for another name. What has not come here needs no note.
        let _ = files.remove_file(&note_path(&to));
        return Err(error);
    }
    files.sync_dir(Path::new(QUARANTINE_NAME))?;
    files.sync_dir(parent(path))?;
    Ok(to)
}

/// Whether this is a copy of a tail, by its name, and not what was copied.
pub(crate) fn is_damaged_copy<F: Files>(files: &F, path: &Path) -> io::Result<bool> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let crc =
        name.rsplit_once('@').and_then(|(_, place)| place.split_once('.')).and_then(|(position, crc)| {
            let is_a_number = !position.is_empty() && position.bytes().all(|digit| digit.is_ascii_digit());
            (is_a_number && crc.len() == 8).then(|| u32::from_str_radix(crc, 16).ok()).flatten()
        });
    let Some(crc) = crc else { return Ok(false) };
    let file = files.open(path, OpenMode::Read)?;
    let mut found = crc32fast::Hasher::new();
    each_piece(&file, 0, |_, bytes| {
        found.update(bytes);
        Ok(())
    })?;
    Ok(found.finalize() != crc)
}

/// The name of the directory.
pub const QUARANTINE_NAME: &str = "quarantine";

const NAMES_MAX: u32 = 10_000;
const COPY_STEP: usize = 1024 * 1024;

fn copy_tail<F: Files>(files: &F, file: &F::File, note: &mut Note) -> io::Result<PathBuf> {
    let copy = files.open(&staging(note), OpenMode::Create)?;
    copy.set_len(0)?;
    let mut crc = crc32fast::Hasher::new();
    note.bytes = each_piece(file, note.position, |at, bytes| {
        crc.update(bytes);
        copy.write_at(bytes, at)
    })?;
    copy.sync()?;
    // Named by its contents: a recovery that is interrupted after this step keeps the same bytes only once.
    let name = format!("{}@{}.{:08x}", label(Path::new(&note.file)), note.position, crc.finalize());
    let path = Path::new(QUARANTINE_NAME).join(name);
    write_note(files, &path, note)?;
    files.rename(&staging(note), &path)?;
    files.sync_dir(Path::new(QUARANTINE_NAME))?;
    Ok(path)
}

/// Reads a file from `position` to its end, piece by piece; says how much that was.
fn each_piece<H: FileHandle>(
    file: &H,
    position: u64,
    mut piece: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let (mut buf, mut done) = (vec![0; COPY_STEP], 0);
    loop {
        let read = file.read_at(&mut buf, position + done)?;
        if read == 0 {
            return Ok(done);
        }
        piece(done, &buf[..read])?;
        done += read as u64;
    }
}

fn write_note<F: Files>(files: &F, about: &Path, note: &Note) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(note).map_err(io::Error::other)?;
    envelope::replace(files, &note_path(about), &json)
}

fn note_path(about: &Path) -> PathBuf {
    let mut path = about.as_os_str().to_owned();
    path.push(".json");
    PathBuf::from(path)
}

/// Where the bytes that `note` is about are collected. Others may be kept at the same time.
fn staging(note: &Note) -> PathBuf {
    Path::new(QUARANTINE_NAME).join(format!("{}.tmp", label(Path::new(&note.file))))
}

/// One name for a whole path.
fn label(path: &Path) -> String {
    path.display().to_string().replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimFiles;
    use crate::files::sim::{Room, SimFile};

    fn log(files: &SimFiles) -> SimFile {
        files.create_dir(Path::new(QUARANTINE_NAME)).unwrap();
        let file = files.open(Path::new("a.log"), OpenMode::Create).unwrap();
        file.write_at(b"good-torn", 0).unwrap();
        file
    }

    fn note() -> Note {
        Note::new(Path::new("a.log"), 5, "torn".to_owned(), Timestamp::new(1)).starting_at(Offset::new(7))
    }

    #[test]
    fn a_cut_tail_is_kept_once_with_a_note_that_says_where_from_and_why() {
        let files = SimFiles::new();
        let file = log(&files);
        let path = keep_tail(&files, &file, note()).unwrap().unwrap();
        assert_eq!(keep_tail(&files, &file, note()).unwrap().as_ref(), Some(&path));
        let kept = files.snapshot();
        assert_eq!(kept[&path], b"torn");
        let json: serde_json::Value =
            serde_json::from_slice(&kept[Path::new(&format!("{}.json", path.display()))]).unwrap();
        assert_eq!((json["position"].as_u64(), json["bytes"].as_u64()), (Some(5), Some(4)));
        assert_eq!((json["file"].as_str(), json["reason"].as_str()), (Some("a.log"), Some("torn")));
        assert_eq!(json["first_offset"].as_i64(), Some(7));
        assert_eq!(kept.len(), 3, "{kept:?}");
    }

    #[test]
    fn a_kept_tail_survives_a_crash() {
        for seed in 0..20 {
            let files = SimFiles::new();
            let file = log(&files);
            files.sync_dir(Path::new("")).unwrap();
            let path = keep_tail(&files, &file, note()).unwrap().unwrap();
            files.crash(seed);
            assert_eq!(files.snapshot()[&path], b"torn");
        }
    }

    #[test]
    fn tails_that_are_kept_at_the_same_time_do_not_mix() {
        let files = SimFiles::new();
        files.create_dir(Path::new(QUARANTINE_NAME)).unwrap();
        let names = ["a.log", "b.log", "c.log", "d.log"];
        let content = |name: &str| vec![name.as_bytes()[0]; COPY_STEP * 2 + 7];
        let keep = |name: &str| {
            let file = files.open(Path::new(name), OpenMode::Create).unwrap();
            file.write_at(&content(name), 0).unwrap();
            keep_tail(&files, &file, Note::new(Path::new(name), 0, String::new(), Timestamp::new(1)))
        };
        std::thread::scope(|scope| {
            let keeping = names.map(|name| (name, scope.spawn(move || keep(name))));
            for (name, kept) in keeping {
                let path = kept.join().unwrap().unwrap().unwrap();
                assert!(files.snapshot()[&path] == content(name), "{name}");
            }
        });
    }

    #[test]
    fn a_full_disk_keeps_nothing_and_says_so() {
        let files = SimFiles::new();
        let file = log(&files);
        files.set_room(Room::NoBytes);
        assert_eq!(keep_tail(&files, &file, note()).unwrap(), None);
        assert_eq!(files.snapshot().len(), 1, "nothing half-done is left");
    }

    #[test]
    fn things_of_the_same_name_are_kept_side_by_side() {
        let files = SimFiles::new();
        files.create_dir(Path::new(QUARANTINE_NAME)).unwrap();
        let mut names = Vec::new();
        for _ in 0..3 {
            files.create_dir(Path::new("t-0")).unwrap();
            names.push(move_here(&files, Path::new("t-0"), note()).unwrap());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3);
    }
}
