//! A directory with a file of every kind that there is, and what a consumer reads in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use folio_record::{Offset, Timestamp};
use folio_storage::compacted::Compacted;
use folio_storage::data_dir::NewTopic;
use folio_storage::epochs::Epochs;
use folio_storage::files::SimFiles;
use folio_storage::footer::{FOOTER_SIZE, Footer};
use folio_storage::index::SegmentUid;
use folio_storage::partition::PartitionMeta;
use folio_storage::partition_files::{PartitionFile, SegmentFile};
use folio_storage::producers::{Producers, SNAPSHOT_PRODUCERS_MAX};
use folio_storage::verify::{Finding, Severity};
use folio_storage::{DataDir, Log, Sealed};
use uuid::Uuid;

use crate::compacted::{Rows, compact, fill, intent, rows};
use crate::rig::{End, NOW, RECORDS, Snapshot, append, findings, is_log, open, options, restore, topic};

/// A directory, what is read in its compacted log, and what `verify` says of it.
pub(crate) struct Whole {
    pub(crate) files: Snapshot,
    pub(crate) compacted: Rows,
    pub(crate) said: Vec<Finding>,
}

/// Partitions that it has: two of the topic `t`, and one that is compacted.
pub(crate) const PARTITIONS: usize = 3;
/// The topic whose one log is compacted.
pub(crate) const COMPACTED: &str = "kept";

/// As a run has left it, in whichever way.
pub(crate) fn whole(end: End) -> &'static Whole {
    static CLEAN: LazyLock<Whole> = LazyLock::new(|| write(true));
    static UNCLEAN: LazyLock<Whole> = LazyLock::new(|| write(false));
    if let End::Clean = end { &CLEAN } else { &UNCLEAN }
}

/// Three lives: a write that was interrupted is cut off by the second; in the third everything is sealed, a topic is
/// deleted, and one is compacted twice. A run that is killed dies while segments are replaced.
fn write(is_clean: bool) -> Whole {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone())).unwrap();
    let logs = dir.create_topic(topic(9), &options(), NOW).unwrap();
    dir.create_topic(topic(2), &options(), NOW).unwrap();
    let one = NewTopic {
        name: COMPACTED.to_owned(),
        uuid: Uuid::from_u128(7),
        partitions: 1,
        settings: Vec::new(),
    };
    dir.create_topic(one, &options(), NOW).unwrap();
    logs.iter().for_each(|log| append(log, 0..20));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    drop((dir, logs));
    files.kill();
    let torn = files.snapshot().into_keys().rfind(|path| is_log(path) && path.starts_with("topics/t-1"));
    files.tamper(&torn.unwrap(), |bytes| bytes.extend_from_slice(&[7; 40]));

    let (dir, logs) = life(&files);
    logs.iter().take(2).for_each(|log| append(log, 20..40));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    drop((dir, logs));
    files.kill();

    let (dir, logs) = life(&files);
    logs.iter().take(2).for_each(|log| append(log, 40..RECORDS));
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    // Of the first log every closed segment is sealed, of the second the first one.
    while let Sealed::Segment(..) = logs[0].seal_next(NOW).unwrap() {}
    logs[1].seal_next(NOW).unwrap();
    logs.iter().take(2).for_each(|log| log.take_snapshot().unwrap());
    dir.delete_topic("t2", NOW).unwrap();
    fill(&dir, &logs[2]);
    compact(&dir, &logs[2]);
    fill(&dir, &logs[2]);
    dir.flush(&logs, NOW, Instant::now()).unwrap();
    if is_clean {
        compact(&dir, &logs[2]);
        drop(logs);
        dir.close_clean(NOW, Instant::now()).unwrap();
        return Whole::of(files.snapshot());
    }
    drop((dir, logs));
    files.kill();
    Whole::of(killed_while_replacing(&files.snapshot()))
}

/// Opens the directory, and has it write down the epochs that this begins. Its logs, in the order of their directories
/// but for the compacted one, which is the last.
fn life(files: &SimFiles) -> (DataDir<SimFiles>, Vec<Arc<Log<SimFiles>>>) {
    let (dir, report) = open(&Arc::new(files.clone())).unwrap();
    assert!(report.partitions.iter().all(|partition| partition.state.is_ok()));
    dir.save_epochs(usize::MAX >> 1).unwrap();
    let mut logs = dir.logs();
    logs.retain(|log| log.id().topic != Uuid::from_u128(2));
    logs.sort_by_key(|log| (log.id().topic != Uuid::from_u128(9), log.id().partition));
    (dir, logs)
}

/// The first moment of a compaction at which the intent to replace segments is there.
fn killed_while_replacing(before: &Snapshot) -> Snapshot {
    for at in 0..500 {
        let files = restore(before);
        let (dir, logs) = life(&files);
        let log = logs.into_iter().next_back().unwrap();
        crate::compacted::set_compaction(&log);
        files.cut_power_at(files.operations() + at);
        compact(&dir, &log);
        drop((dir, log));
        files.kill();
        let snapshot = files.snapshot();
        if intent(&snapshot).is_some() {
            return snapshot;
        }
    }
    panic!("no segment was ever replaced");
}

impl Whole {
    fn of(files: Snapshot) -> Self {
        let said = findings(&restore(&files)).0;
        let (_dir, report) = open(&Arc::new(restore(&files))).unwrap();
        let kept = report.partitions.iter().find(|partition| partition.topic == COMPACTED).unwrap();
        let compacted = rows(&kept.state.as_ref().unwrap().0).unwrap();
        Self { files, compacted, said }
    }
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Lock,
    Node,
    Slots,
    Clean,
    Metadata,
    Identity,
    Epochs,
    Compacted,
    Log,
    OffsetIndex,
    TimeIndex,
    Snapshot,
    Intent,
    Unfinished,
    Trash,
    Quarantined,
    Note,
}

impl Kind {
    const ALL: [Self; 17] = [
        Self::Lock,
        Self::Node,
        Self::Slots,
        Self::Clean,
        Self::Metadata,
        Self::Identity,
        Self::Epochs,
        Self::Compacted,
        Self::Log,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::Snapshot,
        Self::Intent,
        Self::Unfinished,
        Self::Trash,
        Self::Quarantined,
        Self::Note,
    ];

    /// What kind of file lies at `path` of a data directory.
    pub(crate) fn of(path: &Path) -> Self {
        let text = path.to_str().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        match text.split_once('/') {
            None => match name {
                "LOCK" => Self::Lock,
                "node.meta" => Self::Node,
                "slots" => Self::Slots,
                "clean" => Self::Clean,
                _ => panic!("{text}: no such file"),
            },
            Some(("metadata", _)) => Self::Metadata,
            Some(("trash", _)) => Self::Trash,
            Some(("quarantine", _)) if text.ends_with(".json") => Self::Note,
            Some(("quarantine", _)) => Self::Quarantined,
            Some(_) => match PartitionFile::parse(name).unwrap_or_else(|| panic!("{text}: no such file")) {
                PartitionFile::Meta => Self::Identity,
                PartitionFile::Epochs => Self::Epochs,
                PartitionFile::Compacted => Self::Compacted,
                PartitionFile::Segment(_, SegmentFile::Log) => Self::Log,
                PartitionFile::Segment(_, SegmentFile::OffsetIndex) => Self::OffsetIndex,
                PartitionFile::Segment(_, SegmentFile::TimeIndex) => Self::TimeIndex,
                PartitionFile::Snapshot(_) => Self::Snapshot,
                PartitionFile::Replacement(_) => Self::Intent,
                PartitionFile::Unfinished => Self::Unfinished,
            },
        }
    }
}

/// The offset that a file in a partition's directory is named by.
pub(crate) fn base(path: &Path) -> Offset {
    Offset::new(path.file_stem().unwrap().to_str().unwrap().split('.').next().unwrap().parse().unwrap())
}

/// What an offset index says of its segment, if that is sealed.
pub(crate) fn footer(files: &Snapshot, index: &Path) -> Option<Footer> {
    let last = files.get(index)?.last_chunk::<FOOTER_SIZE>()?;
    let meta = PartitionMeta::decode(&files[&index.with_file_name("partition.meta")]).unwrap();
    Footer::decode(last, SegmentUid::new(meta.id, base(index)))
}

#[test]
fn a_file_of_every_kind_is_among_those_that_are_changed_and_has_something_in_it() {
    let (clean, killed) = (whole(End::Clean), whole(End::Killed));
    let kinds: BTreeSet<Kind> =
        clean.files.keys().chain(killed.files.keys()).map(|path| Kind::of(path)).collect();
    assert_eq!(kinds, Kind::ALL.into());
    let is_damage = |finding: &&Finding| finding.severity == Severity::Damage;
    assert_eq!(clean.said.iter().chain(&killed.said).find(is_damage), None);
    for whole in [clean, killed] {
        let of = |kind: Kind| whole.files.iter().filter(move |(path, _)| Kind::of(path) == kind);
        let is_producer = |(path, bytes): (&PathBuf, &Vec<u8>)| {
            let producers = Producers::decode(bytes, base(path), SNAPSHOT_PRODUCERS_MAX, Timestamp::NONE);
            !producers.unwrap().is_empty()
        };
        let with_producers = of(Kind::Snapshot).filter(|one| is_producer(*one));
        let dirs: BTreeSet<_> = with_producers.map(|(path, _)| path.parent().unwrap().to_owned()).collect();
        assert_eq!(dirs.len(), PARTITIONS, "each remembers producers: {dirs:?}");
        let rows = |(_, bytes): (&PathBuf, &Vec<u8>)| Epochs::decode(bytes).unwrap().rows().len();
        let rows: Vec<_> = of(Kind::Epochs).map(rows).collect();
        assert!(rows.iter().filter(|rows| **rows >= 3).count() >= 2, "{rows:?}");
        let upto = of(Kind::Compacted).map(|(_, bytes)| Compacted::decode(bytes).unwrap().upto);
        assert!(upto.max() > Some(Offset::ZERO));
        let footers = of(Kind::OffsetIndex).filter_map(|(path, _)| footer(&whole.files, path));
        let gaps: BTreeSet<bool> = footers.map(|footer| footer.has_gaps).collect();
        assert_eq!(gaps, [false, true].into(), "sealed, and sealed after it was compacted");
    }
}
