//! Mending a data directory that no daemon has open: the only way to give up what is stored.
//!
//! ```text
//! verify -> what is needed -> steps, shown -> (only if asked) done, one by one -> verify
//! ```
//! What a log loses it loses from one offset on, because a log has no gaps; those bytes, and files that are in the way,
//! move to `quarantine/` with a note. Everything that can be told from what is left is written anew: indexes and epochs
//! from the batches, a partition's identity from its name and its slot, the metadata log from the partitions. A log
//! that was touched is then recovered with the code of a start, which knows nothing durable of it and reads all of it.
//!
//! Invariants:
//! * Without [`RepairOptions::apply`] nothing is written.
//! * No byte of a log goes that is not in quarantine; where there is no room for a copy, nothing is cut.
//! * The marker of a clean stop goes first, so that whatever a crash leaves half-mended is not trusted by a start.
//! * A repair that a crash interrupts can be begun anew.
//! * Durable points that the disk does not give back are not lost, as far as anybody knows: there is no repair over
//!   them.

mod apply;
mod log;
mod metadata;
mod plan;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use folio_record::{Offset, Timestamp};
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::data_dir::TOPICS_NAME;
use crate::files::{Files, OpenMode};
use crate::lock::{Holder, LOCK_NAME, hold, hold_if_there};
use crate::quarantine::QUARANTINE_NAME;
use crate::recovery::survey_all;
use crate::replacement::force_replacements;
use crate::verify::{Event, Offsets, Summary, VerifyError, VerifyOptions, check_is_ours, examine};

/// What may be done.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Only the partition with this directory name (`access-0`).
    pub partition: Option<String>,
    /// Rebuild a damaged metadata log from the partitions.
    pub metadata: bool,
    /// Give up everything from this offset of the partition on, also what is intact.
    pub accept_loss_from: Option<Offset>,
    /// Do it; otherwise it is only shown.
    pub apply: bool,
    /// The build that does it, for the metadata log.
    pub build: String,
    /// What the directory and its cluster are called if nothing tells any more.
    pub new_dir: Uuid,
    /// See `new_dir`.
    pub new_cluster: Uuid,
    /// The time.
    pub now: Timestamp,
}

/// One thing that a repair does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is about, relative to the data directory.
    pub file: PathBuf,
    /// What is done.
    pub what: String,
    /// Offsets that are given up.
    pub offsets: Option<Offsets>,
    /// Bytes that go to quarantine.
    pub bytes: Option<u64>,
}

/// What a repair came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Steps that are due, or were done.
    pub steps: u64,
    /// Whether they were done.
    pub is_done: bool,
    /// What `verify` says of the directory now.
    pub left: Summary,
}

/// Why a repair is not made, or not finished.
#[derive(Debug, Error)]
pub enum RepairError {
    /// Nothing can be looked at.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The metadata log is damaged, and nobody said that it is to be rebuilt.
    #[error(
        "the metadata log is damaged: --metadata rebuilds it from the partitions, which loses the topics' settings \
         where it cannot be read"
    )]
    NeedsMetadata,
    /// A file cannot be read without which a repair would have to give up what may be there: the disk does not give
    /// back the slots, or this process may not open a log.
    #[error(
        "{} cannot be read: {error}; a repair does not give up what may be read again: make it readable, or move \
         it away if it is lost, and repair then",
        file.display()
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: String,
    },
    /// Less was given up than is lost.
    #[error(
        "{} is damaged from offset {damaged} on, so accepting its loss from {accepted} on is not enough",
        dir.display()
    )]
    LosesMore {
        /// The partition's directory.
        dir: PathBuf,
        /// Where the damage begins.
        damaged: Offset,
        /// What was accepted.
        accepted: Offset,
    },
    /// The offset that is to be given up is not there.
    #[error("{} holds no offset {accepted}", dir.display())]
    NotThere {
        /// The partition's directory.
        dir: PathBuf,
        /// What was accepted.
        accepted: Offset,
    },
    /// Two directories say that they are different topics of one name.
    #[error("both {} and {} would be topic {name}: move one of them away", first.display(), second.display())]
    Ambiguous {
        /// The name.
        name: String,
        /// A directory.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// There is no room for a copy of what would be cut.
    #[error("no room for a copy of {} in quarantine: nothing was cut from it", file.display())]
    Full {
        /// The log.
        file: PathBuf,
    },
    /// The disk's fault. What was done so far is done.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was mended does not open. What was done so far is done.
    #[error("{}: {reason}", path.display())]
    Unmended {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Finds what is damaged, says what mending it takes, and does that if it may.
///
/// # Errors
/// See [`RepairError`].
pub fn repair<F: Files>(
    files: &Arc<F>,
    options: &RepairOptions,
    progress: &mut dyn FnMut(&Path, u64, u64),
    step: &mut dyn FnMut(&Step),
) -> Result<Repaired, RepairError> {
    // Nothing is written, not even a lock, into what is something else.
    check_is_ours(&**files)?;
    let _held = take_lock(&**files, options.apply)?;
    let look = |progress: &mut dyn FnMut(&Path, u64, u64)| {
        let only = VerifyOptions { partition: options.partition.clone() };
        examine(&**files, &only, &mut |event| {
            if let Event::Progress { dir, done, total } = event {
                progress(dir, done, total);
            }
        })
    };
    if options.apply {
        finish_damaged(&**files, options)?;
    }
    let (summary, needs) = look(progress)?;
    let plan = plan::Plan::new(&**files, needs, options)?;
    let steps = plan.steps(&**files, options);
    steps.iter().for_each(step);
    let mut repaired = Repaired { steps: steps.len() as u64, is_done: options.apply, left: summary };
    if options.apply && !steps.is_empty() {
        apply::apply(files, &plan, options)?;
        repaired.left = look(progress)?.0;
    }
    Ok(repaired)
}

/// Replacements of segments that no start can finish: only then does it show what is lost.
fn finish_damaged<F: Files>(files: &F, options: &RepairOptions) -> Result<(), RepairError> {
    let topics = Path::new(TOPICS_NAME);
    for entry in files.list(topics).unwrap_or_default() {
        let dir = topics.join(&entry.name);
        if options.partition.as_ref().is_none_or(|only| *only == entry.name)
            && let Ok(survey) = survey_all(files, &dir)
            && !survey.replacements.is_empty()
        {
            let quarantine = Path::new(QUARANTINE_NAME);
            if files.entry(quarantine).map_err(at(files, quarantine))?.is_none() {
                files.create_dir(quarantine).map_err(at(files, quarantine))?;
            }
            force_replacements(files, &dir, &survey.replacements, options.now).map_err(at(files, &dir))?;
        }
    }
    Ok(())
}

/// Whoever only looks makes no `LOCK`.
fn take_lock<F: Files>(files: &F, may_write: bool) -> Result<Option<F::File>, RepairError> {
    let io = |source| RepairError::Io { path: files.root().join(LOCK_NAME), source };
    let held = if may_write {
        let file = files.open(Path::new(LOCK_NAME), OpenMode::Create).map_err(io)?;
        hold(files, file).map_err(io)?.map(Some)
    } else {
        hold_if_there(files).map_err(io)?
    };
    held.map_err(|holder: Holder| {
        VerifyError::Locked { dir: files.root().to_owned(), holder: Box::new(holder) }.into()
    })
}

fn at<'p, F: Files>(files: &'p F, path: &'p Path) -> impl Fn(io::Error) -> RepairError + 'p {
    move |source| RepairError::Io { path: files.root().join(path), source }
}

impl Step {
    fn new(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), what: what.to_string(), offsets: None, bytes: None }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)?;
        if let Some(offsets) = self.offsets {
            write!(f, "; gives up {offsets}")?;
        }
        match self.bytes {
            Some(1) => f.write_str(", 1 byte"),
            Some(bytes) => write!(f, ", {bytes} bytes"),
            None => Ok(()),
        }
    }
}
