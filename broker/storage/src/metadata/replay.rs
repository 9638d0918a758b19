//! Reading the metadata log from its beginning.

use std::collections::BTreeMap;
use std::io;

use folio_record::{Batch, BatchHeader, DecompressLimit, HEADER_SIZE, LeaderEpoch, Offset, UnverifiedBatch};
use thiserror::Error;
use uuid::Uuid;

use super::record::{Key, RecordError, Topic, Value};
use super::state::{Operation, Revision, State};
#[cfg(test)]
use crate::controls::{Protection, is_taken};
use crate::files::FileHandle;
use crate::scan::{Rules, Scan, Step, next_intact};
use crate::verdict::Fault;

/// What a log adds up to.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) state: State,
    pub(super) next_offset: Offset,
    /// End of the last whole transaction.
    pub(super) len: u64,
    pub(super) torn: Option<TornTransaction>,
}

/// The last transaction was interrupted; nobody was told that it had succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTransaction {
    /// Where it begins in the file.
    pub at: u64,
    /// What is there of it, in bytes.
    pub bytes: u64,
    /// How it shows.
    pub fault: Fault,
    /// The offset that it would have had.
    pub offset: Offset,
}

/// Why a metadata log is not read.
#[derive(Debug, Error)]
pub enum MetadataDamage {
    /// Bytes are not what was written, and an interrupted write does not explain it.
    #[error("at byte {at} (offset {offset}): {fault}, and that is no interrupted write")]
    Damaged {
        /// Where.
        at: u64,
        /// The offset that is due there.
        offset: Offset,
        /// What is wrong.
        fault: Fault,
    },
    /// Intact, but not a record that this build understands.
    #[error("at byte {at} (offset {offset}): {record} is not known to this build; {}", written_by(.build))]
    Unknown {
        /// Where its transaction begins.
        at: u64,
        /// The transaction's offset.
        offset: Offset,
        /// What was not understood.
        record: RecordError,
        /// The build that wrote it, if the log names one.
        build: Option<String>,
    },
    /// A durable point vouches for what is not what was written, or not there any more.
    #[error("at byte {at} (offset {offset}): {}", of_flushed(.fault, .durable))]
    Flushed {
        /// Where.
        at: u64,
        /// The offset that is due there.
        offset: Offset,
        /// What is wrong; `None`: the log ends there.
        fault: Option<Fault>,
        /// Every offset below was on stable storage.
        durable: Offset,
    },
    /// The file is not there, although the directory is in use.
    #[error("the file is missing")]
    Missing,
}

impl MetadataDamage {
    /// Where it is, and the offset that is due there.
    pub(crate) fn place(&self) -> Option<(u64, Offset)> {
        match *self {
            Self::Damaged { at, offset, .. }
            | Self::Unknown { at, offset, .. }
            | Self::Flushed { at, offset, .. } => Some((at, offset)),
            Self::Missing => None,
        }
    }

    /// What can be done about it, to be said behind it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Damaged { .. } | Self::Flushed { .. } | Self::Missing => {
                "; `folio log repair --metadata` makes it anew from the partitions"
            }
            // A build that knows it.
            Self::Unknown { .. } => "",
        }
    }
}

/// What stops a replay.
#[derive(Debug, Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Damage(#[from] MetadataDamage),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ReplayError {
    /// Where the log is damaged, and the offset that is due there.
    pub(crate) fn place(&self) -> Option<(u64, Offset)> {
        if let Self::Damage(damage) = self { damage.place() } else { None }
    }
}

/// The largest transaction, as the bytes of its batch.
pub(super) const TRANSACTION_SIZE_MAX: usize = 4 * 1024 * 1024;
/// The only epoch: the metadata of one node has no other leader.
pub(super) const EPOCH: LeaderEpoch = LeaderEpoch::new(0);

/// Rewriting leaves gaps between transactions.
const RULES: Rules = Rules {
    batch_size_max: TRANSACTION_SIZE_MAX as u64,
    gaps_upto: Some(Offset::new(i64::MAX)),
    epoch_max: EPOCH,
};

/// What is known of a log beside itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Vouched {
    /// It was closed: every transaction of it was on stable storage.
    pub(crate) was_closed: bool,
    /// Every offset below was on stable storage, at some time.
    pub(crate) durable: Option<Offset>,
}

impl Replayed {
    /// What looks like an interrupted transaction is none, if it was on stable storage before, and is not cut off; and
    /// what was there has to be there. A rewritten log ends with the offset that the one before it had, or a later one.
    pub(super) fn check(&self, vouched: Vouched) -> Result<(), MetadataDamage> {
        #[cfg(test)]
        let vouched = Vouched {
            durable: vouched.durable.filter(|_| !is_taken(Protection::MetadataIsVouchedFor)),
            ..vouched
        };
        let fault = self.torn.map(|torn| torn.fault);
        let (at, offset) = (self.len, self.next_offset);
        match (vouched.durable, fault) {
            (Some(durable), fault) if offset < durable => {
                Err(MetadataDamage::Flushed { at, offset, fault, durable })
            }
            (_, Some(fault)) if vouched.was_closed => Err(MetadataDamage::Damaged { at, offset, fault }),
            _ => Ok(()),
        }
    }
}

/// Adds a log up.
pub(super) fn replay(file: &impl FileHandle) -> Result<Replayed, ReplayError> {
    let mut scan = Scan::new(file, 0, Offset::ZERO, EPOCH, RULES)?;
    let mut state = State::default();
    loop {
        let (at, offset) = (scan.at(), scan.expected());
        let fault = match scan.next()? {
            Step::End => break,
            Step::Fault(fault) => fault,
            Step::Batch { batch, .. } => {
                let header = *batch.header();
                let operations = operations(&batch).map_err(|record| MetadataDamage::Unknown {
                    at,
                    offset: header.base_offset,
                    record,
                    build: build(&state),
                })?;
                state.apply(revision(&header), operations);
                continue;
            }
        };
        if !is_torn(file, at, scan.file_len(), fault)? {
            return Err(MetadataDamage::Damaged { at, offset, fault }.into());
        }
        let torn = TornTransaction { at, bytes: scan.file_len() - at, fault, offset };
        return Ok(Replayed { state, next_offset: offset, len: at, torn: Some(torn) });
    }
    Ok(Replayed { state, next_offset: scan.expected(), len: scan.at(), torn: None })
}

/// What somebody who only looks finds in a log.
pub(crate) struct ReadTopics {
    /// The topics that it adds up to, deleted ones included.
    pub(crate) topics: BTreeMap<Uuid, Topic>,
    /// A last transaction that looks interrupted.
    pub(crate) torn: Option<TornTransaction>,
    /// Why a start would not cut that off, or go on without what is missing.
    pub(crate) damage: Option<MetadataDamage>,
}

/// Reads a log; or says what is wrong with it.
pub(crate) fn read_topics(file: &impl FileHandle, vouched: Vouched) -> Result<ReadTopics, ReplayError> {
    let replayed = replay(file)?;
    let damage = replayed.check(vouched).err();
    Ok(ReadTopics { topics: replayed.state.topics().collect(), torn: replayed.torn, damage })
}

/// What can still be read of a damaged log: every transaction that is intact, in order.
pub(crate) fn salvage(file: &impl FileHandle) -> io::Result<State> {
    let mut state = State::default();
    let mut scan = Scan::new(file, 0, Offset::ZERO, EPOCH, RULES)?;
    loop {
        let (at, due) = (scan.at(), scan.expected());
        match scan.next()? {
            Step::End => return Ok(state),
            Step::Batch { batch, .. } => {
                // One that this build does not understand says nothing to it.
                if let Ok(operations) = operations(&batch) {
                    state.apply(revision(batch.header()), operations);
                }
            }
            Step::Fault(_) => match next_intact(file, at, due..Offset::new(i64::MAX))? {
                Some((at, offset)) => scan.resume(at, offset),
                None => return Ok(state),
            },
        }
    }
}

/// The revision of the transaction with this header.
pub(super) fn revision(header: &BatchHeader) -> Revision {
    // The scan has refused negative offsets: they are below the one that was due.
    Revision::new(header.base_offset.get() as u64 + 1)
}

/// The build that wrote the latest part of the log.
pub(super) fn build(state: &State) -> Option<String> {
    match state.get(&Key::Build)?.value {
        Value::Build(build) => Some(build),
        _ => None,
    }
}

fn operations(batch: &Batch<'_>) -> Result<Vec<Operation>, RecordError> {
    let records =
        batch.records(DecompressLimit::new(TRANSACTION_SIZE_MAX)).map_err(|_| RecordError::NotABatch)?;
    let mut operations = Vec::new();
    for record in &records {
        let record = record.map_err(|_| RecordError::NotABatch)?;
        let key = Key::decode(record.key.ok_or(RecordError::NoKey)?)?;
        operations.push(match record.value {
            Some(value) => Operation::Put(key.clone(), Value::decode(&key, value)?),
            None => Operation::Delete(key),
        });
    }
    Ok(operations)
}

/// Whether a fault is the last transaction, interrupted.
///
/// No transaction is begun before the one ahead of it is on stable storage. So nothing intact may lie behind a
/// torn one, and it is not longer than a transaction can be.
fn is_torn(file: &impl FileHandle, at: u64, len: u64, fault: Fault) -> io::Result<bool> {
    let bears_the_marks = match fault {
        Fault::CutHeader { .. } | Fault::CutBatch { .. } => true,
        Fault::UnusableHeader { zero_chunk }
        | Fault::BadBatch { zero_chunk }
        | Fault::Discontinuous { zero_chunk, .. } => zero_chunk,
        _ => false,
    };
    if !bears_the_marks || len - at > TRANSACTION_SIZE_MAX as u64 {
        return Ok(false);
    }
    let mut rest = vec![0; (len - at) as usize];
    let read = file.read_at(&mut rest, at)?;
    rest.truncate(read);
    Ok(!holds_a_batch(rest.get(1..).unwrap_or_default()))
}

/// Whether an intact batch begins anywhere in `bytes`.
fn holds_a_batch(bytes: &[u8]) -> bool {
    (0..bytes.len().saturating_sub(HEADER_SIZE))
        .any(|at| UnverifiedBatch::split_first(&bytes[at..]).is_ok_and(|(batch, _)| batch.verify().is_ok()))
}

fn of_flushed(fault: &Option<Fault>, durable: &Offset) -> String {
    let what = fault.map_or_else(|| "the log ends".to_owned(), |fault| fault.to_string());
    format!("{what}, and that is no interrupted write: offsets below {durable} were flushed")
}

fn written_by(build: &Option<String>) -> String {
    match build {
        Some(build) => format!("the log was written by {build}: start that build or a later one"),
        None => "the log does not say which build wrote it".to_owned(),
    }
}
