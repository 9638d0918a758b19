//! Something in a directory is not what it should be.

use super::*;
use crate::slots::HEADER_SIZE;

#[test]
fn a_missing_directory_takes_its_partition_offline_and_no_other() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    let missing = partition_dir("t1", 0);
    crate::trash::remove(&*files, &missing, crate::files::EntryKind::Directory).unwrap();
    let (_, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-1"]));
    let damage = report.partitions[0].state.as_ref().unwrap_err();
    assert_eq!(*damage, Damage::DirectoryMissing { dir: missing });
}

#[test]
fn every_flipped_bit_of_a_partition_meta_takes_that_partition_offline() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    drop(dir);
    let path = partition_dir("t1", 0).join("partition.meta");
    let bits = files.snapshot()[&path].len() * 8;
    for bit in 0..bits {
        files.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let (dir, report) = open(&Arc::new(files.clone()));
        assert_eq!(online(&report), set(&["t1-1"]), "bit {bit}");
        assert!(matches!(report.partitions[0].state, Err(Damage::Meta { .. })));
        drop(dir);
        files.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

#[test]
fn a_partition_whose_meta_was_damaged_for_a_while_has_its_slot_when_it_can_be_read_again() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    drop(dir);
    let path = partition_dir("t1", 0).join("partition.meta");
    files.tamper(&path, |bytes| bytes[30] ^= 1);
    let (dir, report) = open(&Arc::new(files.clone()));
    assert_eq!(online(&report), set(&["t1-1"]));
    create(&dir, 2).unwrap();
    drop((dir, report));
    files.tamper(&path, |bytes| bytes[30] ^= 1);
    let (_dir, report) = open(&Arc::new(files));
    assert_eq!(online(&report), set(&["t1-0", "t1-1", "t2-0", "t2-1"]));
}

#[test]
fn every_flipped_bit_of_node_meta_refuses_to_start() {
    let files = SimFiles::new();
    drop(open(&Arc::new(files.clone())));
    let path = Path::new(NODE_META_NAME);
    for bit in 0..files.snapshot()[path].len() * 8 {
        files.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert!(matches!(try_open(&Arc::new(files.clone())), Err(OpenError::Node { .. })), "bit {bit}");
        files.tamper(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
}

#[test]
fn a_damaged_metadata_log_refuses_to_start_and_names_the_place() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    drop(dir);
    files.tamper(Path::new(METADATA_LOG_NAME), |bytes| bytes[30] ^= 1);
    let error = try_open(&Arc::new(files)).unwrap_err().to_string();
    assert!(error.contains(METADATA_LOG_NAME) && error.contains("at byte 0 (offset 0)"), "{error}");
}

#[test]
fn a_directory_that_metadata_never_knew_is_moved_aside_with_a_note() {
    let other = Arc::new(SimFiles::new());
    let (dir, _) = open(&other);
    create(&dir, 9).unwrap();
    let foreign = other.snapshot()[&partition_dir("t9", 0).join("partition.meta")].clone();

    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    files.create_dir(&partition_dir("t9", 0)).unwrap();
    let meta = files.open(&partition_dir("t9", 0).join("partition.meta"), OpenMode::CreateNew).unwrap();
    meta.write_at(&foreign, 0).unwrap();
    files.create_dir(&partition_dir("junk", 5)).unwrap();
    let (_, report) = open(&files);
    assert_eq!(online(&report), set(&["t1-0", "t1-1"]));
    assert_eq!(report.quarantined.len(), 2);
    assert_eq!(dirs(&*files, TOPICS_NAME), set(&["t1-0", "t1-1"]));
    assert_eq!(dirs(&*files, QUARANTINE_NAME).len(), 4, "each with its note");
}

#[test]
fn a_renamed_directory_is_refused_with_the_name_it_should_have() {
    let files = Arc::new(SimFiles::new());
    let (dir, _) = open(&files);
    create(&dir, 1).unwrap();
    drop(dir);
    files.rename(&partition_dir("t1", 0), &partition_dir("other", 0)).unwrap();
    let (_, report) = open(&files);
    let damage = report.partitions[0].state.as_ref().unwrap_err();
    assert!(
        matches!(damage, Damage::Misplaced { belongs, .. } if *belongs == partition_dir("t1", 0)),
        "{damage}"
    );
    assert!(dirs(&*files, TOPICS_NAME).contains("other-0"), "it stays where it is");
}

#[test]
fn what_is_mounted_below_a_data_directory_is_refused_and_nothing_written() {
    for (mount, is_refused) in [("topics", true), ("topics/t1-0", true), ("slots", true), ("backups", false)]
    {
        let files = SimFiles::new();
        files.mount(Path::new(mount));
        let opened = try_open(&Arc::new(files.clone()));
        assert_eq!(matches!(opened, Err(OpenError::MountBelow { .. })), is_refused, "{mount}");
        assert_eq!(files.snapshot().contains_key(Path::new(NODE_META_NAME)), !is_refused);
        if let Err(error) = opened {
            assert!(error.to_string().contains(mount), "{error}");
        }
    }
}

#[test]
fn slots_of_another_directory_are_refused() {
    let files = SimFiles::new();
    drop(open(&Arc::new(files.clone())));
    let foreign = Arc::new(SimFiles::new());
    let other = DataDirOptions { new_dir: Uuid::from_u128(77), ..options(7) };
    drop(DataDir::open(Arc::clone(&foreign), &other, |_| LogOptions::default(), NOW).unwrap());
    let bytes = foreign.snapshot()[Path::new(SLOTS_NAME)].clone();
    files.tamper(Path::new(SLOTS_NAME), |slots| *slots = bytes);
    assert!(matches!(try_open(&Arc::new(files)), Err(OpenError::Slots { .. })));
}

#[test]
fn a_clean_marker_of_another_directory_or_of_other_files_vouches_for_nothing() {
    let of_other: fn(CleanMarker) -> CleanMarker =
        |marker| CleanMarker { dir: Uuid::from_u128(77), ..marker };
    let of_longer: fn(CleanMarker) -> CleanMarker = |mut marker| {
        marker.partitions.iter_mut().for_each(|row| row.log_len += 1);
        marker
    };
    let of_nobody: fn(CleanMarker) -> CleanMarker = |marker| CleanMarker { partitions: Vec::new(), ..marker };
    let itself: fn(CleanMarker) -> CleanMarker = |marker| marker;
    for (change, is_believed) in [(itself, true), (of_other, false), (of_longer, false), (of_nobody, false)] {
        let files = SimFiles::new();
        let (dir, _) = open(&Arc::new(files.clone()));
        create(&dir, 1).unwrap();
        for log in dir.logs() {
            let mut batch = [one_record()];
            log.writer().append(&mut batch, Mode::MayBlock, NOW).unwrap();
        }
        dir.close_clean(NOW, Instant::now()).unwrap();
        files.tamper(Path::new(CLEAN_NAME), |bytes| {
            *bytes = change(CleanMarker::decode(bytes).unwrap()).encode();
        });
        let (_, report) = open(&Arc::new(files.clone()));
        for partition in &report.partitions {
            let (log, report) = partition.state.as_ref().unwrap();
            assert_eq!(report.was_clean, is_believed);
            assert_eq!(log.leader_epoch().get(), i32::from(!is_believed));
            assert_eq!(log.log_end(), Offset::new(1), "and nothing is lost by it");
        }
        assert!(!files.snapshot().contains_key(Path::new(CLEAN_NAME)));
    }
}

#[test]
fn a_clean_marker_whose_durable_points_are_lost_vouches_for_nothing() {
    let files = SimFiles::new();
    let (dir, _) = open(&Arc::new(files.clone()));
    create(&dir, 1).unwrap();
    for log in dir.logs() {
        log.writer().append(&mut [one_record()], Mode::MayBlock, NOW).unwrap();
    }
    dir.close_clean(NOW, Instant::now()).unwrap();
    files.tamper(Path::new(SLOTS_NAME), |bytes| bytes[HEADER_SIZE as usize..].fill(0));
    let (_, report) = open(&Arc::new(files));
    for partition in &report.partitions {
        let (log, report) = partition.state.as_ref().unwrap();
        assert!(!report.was_clean && report.slot_missing && report.bytes_scanned > 0, "{report:?}");
        assert_eq!(log.log_end(), Offset::new(1));
    }
}

fn one_record() -> bytes::BytesMut {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
    builder.append(&NewRecord { timestamp: NOW, key: None, value: Some(b"v"), headers: &[] }).unwrap();
    bytes::BytesMut::from(builder.build().unwrap().as_slice())
}
