//! Whose a footer is: one of another segment is believed by nobody, whatever else it is like, and what lies before a
//! footer that is believed is found out by whoever uses it.

use super::compact::{check_lookups, compacting, found, keyed, settle};
use super::seal::{reopened, seal_all};
use super::*;
use crate::footer::FOOTER_SIZE;
use crate::index::INDEX_HEADER_SIZE;
use crate::log::compact::Compacting;
use crate::partition_files::SegmentFile;

const DAY: i64 = 24 * 60 * 60 * 1000;
/// The records of one partition are too old, those of the other are not.
const FIRST_TIMES: [i64; 2] = [NOW.get() - 100 * DAY, NOW.get() - DAY];

/// What of the first index of partition 1 is that of partition 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    Nothing,
    Footer,
    /// All of it, and its time index.
    Index,
}

/// Which edition the footer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edition {
    First,
    Second,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Harm {
    foreign: Foreign,
    edition: Edition,
}

const CASES: [Harm; 6] = [
    Harm { foreign: Foreign::Nothing, edition: Edition::Second },
    Harm { foreign: Foreign::Nothing, edition: Edition::First },
    Harm { foreign: Foreign::Footer, edition: Edition::Second },
    CONTROL,
    Harm { foreign: Foreign::Index, edition: Edition::Second },
    Harm { foreign: Foreign::Index, edition: Edition::First },
];
/// Nothing there says whose the footer is.
const CONTROL: Harm = Harm { foreign: Foreign::Footer, edition: Edition::First };

type Twins = (DataDir<SimFiles>, Arc<Log<SimFiles>>);

fn options() -> LogOptions {
    LogOptions { retention_ms: Some(30 * DAY as u64), ..compacting() }
}

/// Two partitions that are alike in all but whose they are and when their records are from, sealed.
fn twins(files: &SimFiles) -> DataDir<SimFiles> {
    let (dir, _) = reopened(files, &options());
    let topic =
        NewTopic { name: "t".to_owned(), uuid: Uuid::from_u128(9), partitions: 2, settings: Vec::new() };
    let logs = dir.create_topic(topic, &options(), NOW).unwrap();
    for (log, first) in logs.iter().zip(FIRST_TIMES) {
        for number in 0..60 {
            let record = (&*format!("key {}", number % 7), Some(&*"x".repeat(300)));
            let batch = keyed(Compression::None, None, &[record], first + number);
            log.writer().append(&mut [batch], Mode::MayBlock, NOW).unwrap();
        }
        settle(&dir, log);
        assert!(log.segment_count() > 4);
    }
    dir
}

/// The same after a kill, and both indexes of partition 1 as they are.
fn killed() -> (SimFiles, [Vec<u8>; 2]) {
    let files = SimFiles::new();
    drop(twins(&files));
    files.kill();
    let good = indexes(&files);
    (files, good)
}

/// Starts, and gives partition 1.
fn started(files: &SimFiles) -> Twins {
    let (dir, report) = reopened(files, &options());
    (dir, Arc::clone(&report.partitions[1].state.as_ref().unwrap().0))
}

fn index(partition: u32) -> PathBuf {
    SegmentFile::OffsetIndex.path(Path::new(&format!("topics/t-{partition}")), Offset::ZERO)
}

/// Puts what is foreign into the place of what is not.
fn make(files: &SimFiles, Harm { foreign, edition }: Harm) {
    let other = files.snapshot();
    files.tamper(&index(1), |bytes| {
        let footer = bytes.len() - FOOTER_SIZE;
        assert_eq!(bytes.len(), other[&index(0)].len());
        let from = match foreign {
            Foreign::Nothing => bytes.len(),
            Foreign::Footer => footer,
            Foreign::Index => 0,
        };
        bytes[from..].copy_from_slice(&other[&index(0)][from..]);
        if edition == Edition::First {
            bytes[footer..footer + 4].copy_from_slice(b"LFT1");
            let crc = crc32fast::hash(&bytes[footer..footer + 92]);
            bytes[footer + 92..].copy_from_slice(&crc.to_be_bytes());
        }
    });
    if foreign == Foreign::Index {
        let [to, from] = [1, 0].map(|partition| index(partition).with_extension("timeindex"));
        files.tamper(&to, |bytes| bytes.copy_from_slice(&other[&from]));
    }
}

/// Both indexes of partition 1.
fn indexes(files: &SimFiles) -> [Vec<u8>; 2] {
    ["index", "timeindex"].map(|extension| files.snapshot()[&index(1).with_extension(extension)].clone())
}

#[test]
fn a_start_believes_no_footer_of_another_segment_and_one_that_does_not_say_whose_it_is_only_in_its_own_index()
{
    for case in CASES {
        let (files, good) = killed();
        make(&files, case);
        let is_own = case.foreign == Foreign::Nothing;
        let found = found(&files);
        assert_eq!(found.is_empty(), is_own, "{case:?}: {found:?}");
        assert!(found.iter().all(|found| found.contains("topics/t-1/")), "{case:?}: {found:?}");

        let (_dir, log) = started(&files);
        // With the times of the other one it would be too old.
        assert_eq!(log.expired(NOW).is_some(), case == CONTROL, "{case:?}");
        let is_believed = is_own || case == CONTROL;
        assert_eq!(seal_all(&log), if is_believed { &[][..] } else { &[0] }, "{case:?}");
        if case != CONTROL {
            check_lookups(&log);
            assert_eq!(log.mend_indexes().unwrap(), 0, "{case:?}: nothing is left to mend");
        }
        if !is_believed {
            assert_eq!(indexes(&files), good, "{case:?}");
        }
    }
}

#[test]
fn lookups_and_compaction_believe_no_footer_of_another_segment_either() {
    for case in CASES {
        let (files, good) = killed();
        let (_dir, log) = started(&files);
        make(&files, case);
        check_lookups(&log);
        let is_wrong = case.foreign != Foreign::Nothing && case != CONTROL;
        let mended = log.mend_indexes().unwrap();
        assert_eq!((mended, seal_all(&log)), if is_wrong { (1, vec![0]) } else { (0, vec![]) }, "{case:?}");
        assert_eq!(indexes(&files) == good, case.edition == Edition::Second || is_wrong, "{case:?}");

        let (files, _) = killed();
        let (dir, log) = started(&files);
        make(&files, case);
        let mut pass = log.compact([7, 9], 1 << 20, NOW).unwrap();
        let state = loop {
            match pass.step(&dir, 1 << 20).unwrap().state {
                Compacting::Working => {}
                state => break state,
            }
        };
        let is_refused = matches!(state, Compacting::Rotten(_));
        assert_eq!(is_refused, case == CONTROL, "{case:?}: {state:?}");
    }
}

#[test]
fn a_header_that_is_damaged_under_a_good_footer_is_found_by_verify_and_made_anew_once_it_is_used() {
    for at in 0..INDEX_HEADER_SIZE {
        let (files, good) = killed();
        files.tamper(&index(1), |bytes| bytes[at] ^= 0x10);
        let found = found(&files);
        assert_eq!(found.len(), 1, "byte {at}: {found:?}");
        assert!(found[0].contains("as an index, its header is damaged"), "{found:?}");

        let (_dir, log) = started(&files);
        assert_ne!(indexes(&files), good, "byte {at}: a start does not look there");
        assert_eq!(log.seal_next(NOW).unwrap(), Sealed::Nothing, "byte {at}");
        check_lookups(&log);
        assert_eq!((log.mend_indexes().unwrap(), seal_all(&log)), (1, vec![0]), "byte {at}");
        assert_eq!(indexes(&files), good, "byte {at}");
        check_lookups(&log);
        assert!(!log.wants_mend(), "byte {at}");
    }
}
