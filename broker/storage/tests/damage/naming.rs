//! Whether `verify` names what changed: the file, the place, and of a log the offsets.

use std::ops::Range;
use std::path::Path;

use folio_storage::footer::FOOTER_SIZE;
use folio_storage::index::{INDEX_ENTRY_SIZE, INDEX_HEADER_SIZE};
use folio_storage::slots::{HEADER_SIZE, SLOT_SIZE};
use folio_storage::verify::{Finding, Offsets};
use proptest::prelude::*;

use crate::compacted::{intent, is_moved, is_replaced};
use crate::rig::{Change, End, Snapshot, batches, findings, restore};
use crate::whole::{Kind, base, footer, whole};

/// Holds what `verify` says of `good` after a change of one of its files against that change. `said` is what it says of
/// them as they were.
pub(crate) fn check(
    good: &Snapshot,
    said: &[Finding],
    (path, change): (&Path, Change),
    found: &[Finding],
) -> Result<(), TestCaseError> {
    let told: Vec<&Finding> = found.iter().filter(|finding| !said.contains(finding)).collect();
    let case = format!("{change:?} of {}: {told:#?}", path.display());
    for finding in &told {
        let is_due = finding.file == path || may_not_fit(good, path, &finding.file);
        prop_assert!(is_due, "{} has nothing to do with it: {case}", finding.file.display());
    }
    if is_beyond_telling(good, path, change) {
        return Ok(());
    }
    let of_it: Vec<&&Finding> = told.iter().filter(|finding| finding.file == path).collect();
    prop_assert!(!of_it.is_empty(), "it is not named: {case}");
    let place = Place::of(good, path, change);
    let is_named = of_it.iter().any(|finding| place.is_named_by(finding));
    prop_assert!(is_named, "{place:?} is not named: {case}");
    Ok(())
}

/// What is not as it was.
#[derive(Debug)]
struct Place {
    /// The bytes of the structure that is hit: a batch, an entry, a header, a footer, a slot; or the whole file.
    bytes: Range<u64>,
    /// The byte from which on it is not what it was.
    at: u64,
    is_whole_file: bool,
    is_cut: bool,
    /// Offsets of the batches that are hit, and the one that is due where the first of them is: there may be a gap.
    offsets: Option<(i64, Range<i64>)>,
    /// Nothing but the checksums of blocks tells: what is named is from the block on.
    is_moved: bool,
    /// What comes behind the structure cannot be told without it.
    hides_the_rest: bool,
    /// What is missing may be named by where it was: slots that partitions have.
    may_be_behind: bool,
    /// Transactions may leave gaps: it is the one behind that does not fit, if the number of one rises.
    may_be_next: bool,
}

impl Place {
    fn of(good: &Snapshot, path: &Path, change: Change) -> Self {
        let (bytes, at, kind) = (&good[path], change.byte(), Kind::of(path));
        let is_cut = matches!(change, Change::Cut(_));
        let mut structure = structure(good, path, at);
        if is_cut && kind == Kind::Slots && structure.start > 0 {
            // There is room for more by the extent.
            structure.start = HEADER_SIZE as usize;
        }
        // A new file is held against the intent as a whole.
        let is_summed = is_of_replacement(good, path);
        if is_summed {
            structure = 0..bytes.len();
        }
        let offsets = (kind == Kind::Log && !is_summed).then(|| {
            let (from, hit) = offsets(bytes, at);
            let (_, last) = offsets(bytes, if is_cut { bytes.len() - 1 } else { at });
            (from, hit.start..last.end)
        });
        Self {
            is_whole_file: structure == (0..bytes.len()),
            bytes: structure.start as u64..structure.end as u64,
            at: at as u64,
            is_cut,
            offsets,
            may_be_behind: kind == Kind::Slots,
            may_be_next: kind == Kind::Metadata && is_moved(bytes, change),
            is_moved: kind == Kind::Log && has_gaps(good, path) && is_moved(bytes, change),
            hides_the_rest: kind == Kind::Metadata
                || matches!(kind, Kind::OffsetIndex | Kind::TimeIndex) && at < INDEX_HEADER_SIZE,
        }
    }

    /// Whether the finding tells this place and no other.
    fn is_named_by(&self, finding: &Finding) -> bool {
        let Some(position) = finding.position else { return self.is_whole_file };
        let Some(bytes) = finding.bytes else { return false };
        let (found, offsets) = (position..position + bytes, finding.offsets);
        let is_place = if self.is_cut {
            // From the structure on that is cut, or from where the file ends.
            let is_behind = self.may_be_behind && found.start >= self.at;
            is_behind || (self.bytes.start..=self.at).contains(&found.start) && found.end >= self.at
        } else if self.is_moved {
            found.start <= self.at && self.at < found.end
        } else if self.hides_the_rest {
            let is_next = self.may_be_next && found.start == self.bytes.end;
            is_next || found.start == self.bytes.start && found.end >= self.bytes.end
        } else {
            found == self.bytes
        };
        let is_told = self.offsets.as_ref().is_none_or(|(due, hit)| {
            offsets.is_some_and(|told| {
                let is_from = (*due..=hit.start).contains(&told.from) || self.is_moved && told.from <= *due;
                is_from && told.to.is_none_or(|to| to >= hit.end)
            })
        });
        is_place && is_told
    }
}

/// The structure that byte `at` lies in.
fn structure(good: &Snapshot, path: &Path, at: usize) -> Range<usize> {
    let (bytes, kind) = (&good[path], Kind::of(path));
    let rows = |from: usize, size: usize| {
        let start = from + (at - from) / size * size;
        start..(start + size).min(bytes.len())
    };
    match kind {
        Kind::Log | Kind::Metadata => batch(bytes, at).1,
        Kind::OffsetIndex | Kind::TimeIndex => {
            let footer = footer(good, path).filter(|_| kind == Kind::OffsetIndex);
            let entries = footer.map_or(bytes.len(), |_| bytes.len() - FOOTER_SIZE);
            match at {
                _ if at < INDEX_HEADER_SIZE => 0..INDEX_HEADER_SIZE,
                _ if at >= entries => entries..bytes.len(),
                _ => rows(INDEX_HEADER_SIZE, INDEX_ENTRY_SIZE),
            }
        }
        Kind::Slots if at < HEADER_SIZE as usize => 0..HEADER_SIZE as usize,
        Kind::Slots => rows(HEADER_SIZE as usize, SLOT_SIZE),
        _ => 0..bytes.len(),
    }
}

/// The batch that byte `at` lies in: its first offset, and its bytes.
fn batch(log: &[u8], at: usize) -> (i64, Range<usize>) {
    let all = batches(log);
    let number = all.iter().rposition(|(start, _)| *start <= at).unwrap();
    let end = all.get(number + 1).map_or(log.len(), |(next, _)| *next);
    (all[number].1, all[number].0..end)
}

/// The offset that is due where the batch begins that byte `at` lies in, and the offsets of the batch.
fn offsets(log: &[u8], at: usize) -> (i64, Range<i64>) {
    let end = |(base, bytes): &(i64, Range<usize>)| {
        let last = log[bytes.start + 23..bytes.start + 27].try_into().unwrap();
        base + i64::from(i32::from_be_bytes(last)) + 1
    };
    let hit = batch(log, at);
    let due = hit.1.start.checked_sub(1).map(|before| end(&batch(log, before)));
    // A compacted segment may begin with any later one.
    (due.unwrap_or(i64::MIN), hit.0..end(&hit))
}

/// Whether a replacement that is under way depends on the file: it is the intent, or a new one, whatever its name is by
/// now.
fn is_of_replacement(good: &Snapshot, path: &Path) -> bool {
    let Some(intent) = intent(good) else { return false };
    let is_there = good.keys().any(|file| Kind::of(file) == Kind::Intent && file.parent() == path.parent());
    match Kind::of(path) {
        Kind::Intent => true,
        Kind::Unfinished => path.extension() == Some("cleaned".as_ref()),
        Kind::Log | Kind::OffsetIndex | Kind::TimeIndex => is_there && base(path) == intent.base,
        _ => false,
    }
}

fn has_gaps(good: &Snapshot, log: &Path) -> bool {
    footer(good, &log.with_extension("index")).is_some_and(|footer| footer.has_gaps)
}

/// Changes that do no harm, and that nothing tells.
fn is_beyond_telling(good: &Snapshot, path: &Path, change: Change) -> bool {
    match Kind::of(path) {
        // It names whoever held it last, for a message; what excludes is not in the file.
        Kind::Lock => true,
        // Deleted, and why something was put aside: nothing depends on it.
        Kind::Trash | Kind::Note => true,
        // The next start removes it, whatever is in it.
        Kind::Unfinished => path.extension() == Some("tmp".as_ref()),
        // A start leaves an empty one where it finds no room to take its name away: it vouches for nothing.
        Kind::Clean => matches!(change, Change::Cut(0)),
        // The number of the last transaction, if it rises: there may be gaps. The state is the same.
        Kind::Metadata => {
            let (last, _) = *batches(&good[path]).last().unwrap();
            matches!(change, Change::Flip(bit) if (last..last + 8).contains(&(bit / 8)))
        }
        Kind::Log | Kind::OffsetIndex | Kind::TimeIndex => {
            intent(good).is_some_and(|intent| is_replaced(good, &intent, path))
        }
        _ => false,
    }
}

/// Whether a change of the file at `path` may make this other one the one that does not fit.
fn may_not_fit(good: &Snapshot, path: &Path, other: &Path) -> bool {
    let is_beside = path.parent() == other.parent();
    match Kind::of(path) {
        // A replacement that cannot be finished leaves old files and new ones, which do not fit each other.
        _ if is_of_replacement(good, path) => is_beside,
        // Topics that it does not tell any more have directories nevertheless.
        Kind::Metadata => other.parent() == Some(Path::new("topics")),
        // What a slot tells is missed where it is named, and after a torn one a start reckons with an epoch more.
        Kind::Slots => matches!(Kind::of(other), Kind::Identity | Kind::Epochs),
        // An index covers what no checksum of a batch does, and is about batches that are gone; so are the words about
        // where the log ended.
        Kind::Log => match Kind::of(other) {
            Kind::OffsetIndex | Kind::TimeIndex => is_beside && base(path) == base(other),
            other => matches!(other, Kind::Slots | Kind::Clean),
        },
        // Without the footer nothing tells that offsets may be missing, or whether the log was that long.
        Kind::OffsetIndex => is_beside && Kind::of(other) == Kind::Log && base(path) == base(other),
        _ => false,
    }
}

/// The negative control: of what `verify` says of a flip in a batch nothing can be left out or be another without being
/// missed.
#[test]
fn a_finding_that_is_left_out_or_names_another_file_place_or_offset_is_missed() {
    let whole = whole(End::Clean);
    let path = Path::new("topics/t-1/00000000000000000000.log");
    let change = Change::Flip((batches(&whole.files[path])[3].0 + 70) * 8);
    let files = restore(&whole.files);
    change.make(&files, path);
    let found = findings(&files).0;
    let holds = |found: &[Finding]| check(&whole.files, &whole.said, (path, change), found).is_ok();
    assert!(holds(&found));
    assert!(!holds(&whole.said), "it is not told");
    let other = |change: fn(&mut Finding)| {
        let mut found = found.clone();
        found.iter_mut().filter(|finding| !whole.said.contains(finding)).for_each(change);
        found
    };
    let others: [fn(&mut Finding); 5] = [
        |finding| finding.file = "topics/t-1/epochs".into(),
        |finding| finding.position = None,
        |finding| finding.position = finding.position.map(|at| at + 1),
        |finding| finding.bytes = None,
        |finding| finding.offsets = finding.offsets.map(|told| Offsets { from: told.from + 2, ..told }),
    ];
    for (number, change) in others.into_iter().enumerate() {
        assert!(!holds(&other(change)), "change {number} of what is told");
    }
}
