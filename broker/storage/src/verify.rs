//! Looking for damage: everything in a data directory that no daemon has open, read from end to end, changing nothing.
//!
//! Each finding names a file and, where it can, the byte and the offsets. It is one of three:
//!
//! | severity | what it means |
//! |---|---|
//! | damage | bytes that were kept are gone, changed, or where they do not belong; no crash does that |
//! | interrupted | what a crash may leave, and the next start clears up: a torn tail, something half-made |
//! | harmless | something lacks that nothing depends on |
//!
//! What a fault in a log is, the [`verdict`](crate::verdict) says, with which recovery decides as well; what recovery
//! would not look at, because the durable point vouches for it, is read here all the same. After a fault the walk goes
//! on with the next batch that is intact, so that a finding tells where its damage ends.
//!
//! Not told, because nothing tells it: the text in `LOCK` (it decides nothing), what was moved to `quarantine/` as it
//! was, and the last transaction of the metadata log having a later number than it had.

mod directory;
mod indexes;
mod needs;
mod partition;
mod segment;
mod slots;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use folio_record::Offset;
use serde::Serialize;
use thiserror::Error;

use crate::files::Files;
use crate::lock::{Holder, hold_if_there};
pub(crate) use directory::check_is_ours;
pub(crate) use needs::{Known, Need, Needs, Place};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Only the partition with this directory name (`access-0`).
    pub partition: Option<String>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing depends on it.
    Harmless,
    /// A crash may leave it, and the next start clears it up.
    Interrupted,
    /// No crash explains it.
    Damage,
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The file or directory, relative to the data directory.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub position: Option<u64>,
    /// How many bytes, as far as that can be told.
    pub bytes: Option<u64>,
    /// Which offsets cannot be trusted any more.
    pub offsets: Option<Offsets>,
    /// What is wrong.
    pub what: String,
}

/// A range of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Offsets {
    /// The first.
    pub from: i64,
    /// The one after the last; `None` if nothing tells where it ends.
    pub to: Option<i64>,
}

/// What is told while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something is not as it was written.
    Found(Finding),
    /// So many bytes of log were read, of so many; now in this directory.
    Progress {
        /// The partition's directory.
        dir: &'a Path,
        /// Bytes read so far.
        done: u64,
        /// Bytes that there are.
        total: u64,
    },
}

/// What was looked at, and how often something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Partitions.
    pub partitions: u64,
    /// Segments.
    pub segments: u64,
    /// Intact batches.
    pub batches: u64,
    /// Bytes of log.
    pub bytes: u64,
    /// Findings that are damage.
    pub damage: u64,
    /// Findings that a crash explains.
    pub interrupted: u64,
    /// Findings that nothing depends on.
    pub harmless: u64,
}

/// Why nothing could be looked at.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Somebody writes to it.
    #[error("{} is in use by {holder}: stop it first, or look with `folio log dump`", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it.
        holder: Box<Holder>,
    },
    /// There is nothing in it that a data directory has.
    #[error("{} is no data directory: it has neither node.meta nor topics", dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// A later build wrote it.
    #[error("{} is of format {found}; this build knows formats up to {supported}", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// The latest that this build knows.
        supported: u32,
    },
    /// It has no such partition.
    #[error("{} has no partition {partition}", dir.display())]
    NoSuchPartition {
        /// The directory.
        dir: PathBuf,
        /// What was asked for.
        partition: String,
    },
    /// A directory cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What could not be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Looks at everything in the directory and tells what it finds, in a fixed order.
///
/// Holds `LOCK` meanwhile, if there is one, so that no daemon starts.
///
/// # Errors
/// See [`VerifyError`]. A file that cannot be read is a finding.
pub fn verify<F: Files>(
    files: &F,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, VerifyError> {
    let at_root = |source| VerifyError::Io { path: files.root().to_owned(), source };
    let _held = hold_if_there(files)
        .map_err(at_root)?
        .map_err(|holder| VerifyError::Locked { dir: files.root().to_owned(), holder: Box::new(holder) })?;
    Ok(examine(files, options, tell)?.0)
}

/// As [`verify`], for who holds the lock; and what a repair would have to do.
pub(crate) fn examine<F: Files>(
    files: &F,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<(Summary, Needs), VerifyError> {
    let mut findings = Findings {
        tell,
        summary: Summary::default(),
        needs: Needs::default(),
        is_quiet: false,
        bytes_total: 0,
    };
    directory::look(files, options.partition.as_deref(), &mut findings)?;
    Ok((findings.summary, findings.needs))
}

/// Where findings go.
struct Findings<'a> {
    tell: &'a mut dyn FnMut(Event<'_>),
    summary: Summary,
    needs: Needs,
    /// What is found concerns something that nobody asked about.
    is_quiet: bool,
    /// Bytes of log that there are to be read.
    bytes_total: u64,
}

impl Findings<'_> {
    fn add(&mut self, finding: Finding) {
        if self.is_quiet {
            return;
        }
        match finding.severity {
            Severity::Damage => self.summary.damage += 1,
            Severity::Interrupted => self.summary.interrupted += 1,
            Severity::Harmless => self.summary.harmless += 1,
        }
        (self.tell)(Event::Found(finding));
    }

    /// Something about a file as a whole.
    fn about(&mut self, severity: Severity, file: &Path, what: impl fmt::Display) {
        self.add(Finding::new(severity, file, what));
    }

    /// So many bytes more of the logs in `dir` were read.
    fn read(&mut self, dir: &Path, bytes: u64) {
        self.summary.bytes += bytes;
        let (done, total) = (self.summary.bytes, self.bytes_total.max(self.summary.bytes));
        (self.tell)(Event::Progress { dir, done, total });
    }

    fn damage(&mut self, file: &Path, what: impl fmt::Display, need: Need) {
        self.about(Severity::Damage, file, what);
        self.need(need);
    }

    fn need(&mut self, need: Need) {
        if !self.is_quiet {
            self.needs.add(need);
        }
    }

    /// As [`add`](Self::add), and if it is damage, this is what it needs.
    fn add_with(&mut self, finding: Finding, need: Need) {
        if finding.severity == Severity::Damage {
            self.need(need);
        }
        self.add(finding);
    }
}

impl Severity {
    /// Damage, unless a crash explains it.
    fn unless_crashed(may_have_crashed: bool) -> Self {
        if may_have_crashed { Self::Interrupted } else { Self::Damage }
    }
}

impl Finding {
    fn new(severity: Severity, file: &Path, what: impl fmt::Display) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            position: None,
            bytes: None,
            offsets: None,
            what: what.to_string(),
        }
    }

    fn at(mut self, position: u64) -> Self {
        self.position = Some(position);
        self
    }

    fn of_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    fn affecting(mut self, from: Offset, to: Option<Offset>) -> Self {
        self.offsets = Some(Offsets { from: from.get(), to: to.map(Offset::get) });
        self
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damage => "damage",
            Self::Interrupted => "interrupted",
            Self::Harmless => "harmless",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.file.display())?;
        if let Some(position) = self.position {
            write!(f, ", byte {position}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(offsets) = self.offsets {
            write!(f, "; {offsets}")?;
        }
        match self.bytes {
            Some(1) => f.write_str(", 1 byte"),
            Some(bytes) => write!(f, ", {bytes} bytes"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { from, to: Some(to) } if to == from + 1 => write!(f, "offset {from}"),
            Self { from, to: Some(to) } if to <= from => f.write_str("no offset"),
            Self { from, to: Some(to) } => write!(f, "offsets {from} to {}", to - 1),
            Self { from, to: None } => write!(f, "offsets from {from} on"),
        }
    }
}
