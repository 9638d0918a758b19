//! Claims about what no recovery does: take away what was durable, or anything without a copy; change a partition that
//! goes offline; come to something else when it is run again.

use std::collections::BTreeMap;

use super::*;

/// Something done to one file of a partition: which one, where (in parts of 65,536 of its length), and what.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip(u16, u8),
    Cut(u16),
    Zero(u16, u16),
    Grow(u16, u8),
    Remove,
}

impl Harm {
    fn to(self, bytes: &mut Vec<u8>) {
        let at = |place: u16| usize::from(place) * bytes.len() / 0x1_0000;
        match self {
            Self::Flip(place, bit) if !bytes.is_empty() => {
                let at = at(place);
                bytes[at] ^= 1 << (bit % 8);
            }
            Self::Cut(place) => {
                let at = at(place);
                bytes.truncate(at);
            }
            Self::Zero(place, len) => {
                let from = at(place);
                let to = bytes.len().min(from + usize::from(len));
                bytes[from..to].fill(0);
            }
            Self::Grow(len, byte) => bytes.resize(bytes.len() + usize::from(len), byte),
            Self::Flip(..) | Self::Remove => {}
        }
    }
}

fn harms() -> impl Strategy<Value = Vec<(prop::sample::Index, Harm)>> {
    let harm = prop_oneof![
        3 => (any::<u16>(), any::<u8>()).prop_map(|(place, bit)| Harm::Flip(place, bit)),
        3 => any::<u16>().prop_map(Harm::Cut),
        3 => (any::<u16>(), 1_u16..1500).prop_map(|(place, len)| Harm::Zero(place, len)),
        1 => (1_u16..700, any::<u8>()).prop_map(|(len, byte)| Harm::Grow(len, byte)),
        1 => Just(Harm::Remove),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), harm), 1..4)
}

/// The logs of the partition, by their bases.
fn logs(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(PathBuf, Vec<u8>)> {
    let is_log = |path: &PathBuf| path.extension() == Some("log".as_ref());
    files.iter().filter(|(path, _)| is_log(path)).map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever was done to the files of a partition, and wherever its durable point lies: it goes offline and not a
    /// byte of it is changed, or what is gone lay above the durable point and is in quarantine, and the second time
    /// nothing happens.
    #[test]
    fn whatever_was_done_to_a_partition_nothing_durable_goes_and_nothing_goes_without_a_copy(
        harms in harms(),
        durable in (0_usize..3, 0_usize..10),
        has_slot in prop::bool::weighted(0.8),
        power_was_lost in prop::bool::weighted(0.7),
    ) {
        let mut written = Written::with_segments();
        let (pos, next) = written.batch(durable.0, durable.1);
        let base = written.segments[durable.0].base;
        written.slot = has_slot.then(|| written.slot_at(base, pos, next));
        if power_was_lost {
            written.power_was_lost();
        }
        let paths: Vec<PathBuf> = partition_files(&written.files).into_keys().collect();
        for (which, harm) in harms {
            let path = which.get(&paths);
            match harm {
                Harm::Remove => drop(written.files.remove_file(path)),
                harm if written.files.snapshot().contains_key(path) => {
                    written.files.tamper(path, |bytes| harm.to(bytes));
                }
                _ => {}
            }
        }
        let before = written.files.snapshot();
        let report = match written.recover() {
            Err(RecoveryError::Offline(_)) => {
                prop_assert!(written.files.snapshot() == before, "something was changed");
                return Ok(());
            }
            Err(RecoveryError::Io { path, source }) => {
                return Err(TestCaseError::fail(format!("{}: {source}", path.display())));
            }
            Ok((recovered, report)) => {
                prop_assert!(!has_slot || recovered.log_end >= next, "it ends at {}", recovered.log_end);
                report
            }
        };
        let (after, kept) = (partition_files(&written.files), quarantined(&written.files));
        for (path, bytes) in logs(&before.into_iter().filter(|(path, _)| path.starts_with(DIR)).collect()) {
            let left = after.get(&path);
            let gone = &bytes[left.map_or(0, Vec::len)..];
            prop_assert!(left.is_none_or(|left| bytes.starts_with(left)), "{} is another", path.display());
            prop_assert!(gone.is_empty() || kept.iter().any(|kept| kept == gone), "{} is gone", path.display());
            let is_below = path < log(base) || path == log(base) && (bytes.len() - gone.len()) < pos as usize;
            prop_assert!(!has_slot || gone.is_empty() || !is_below, "{} was durable", path.display());
            prop_assert!(gone.is_empty() || report.cut.is_some(), "nothing is said of a cut");
        }
        let (_, again) = written.recover().map_err(|error| TestCaseError::fail(format!("again: {error:?}")))?;
        prop_assert_eq!((again.cut, again.indexes_mended), (None, 0));
        prop_assert!(partition_files(&written.files) == after, "the second time something was changed");
    }
}
