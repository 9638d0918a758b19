//! Claims about maps, appenders and slices, over real files and over memory.
//!
//! What maps a file is out of Miri's reach and says so; `publication` runs there over memory.

#![expect(clippy::unwrap_used, reason = "all of it is tests")]

mod again;
mod frames;
mod full_disk;
mod guard;
mod living_files;
mod model;
mod publication;
mod residency;
mod truncation;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use folio_mapped::SegmentMap;

const MIB: u64 = 1 << 20;

/// A directory on the disk that the sources are on: `/tmp` is memory on many machines.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A new, empty file, mapped up to `capacity`.
fn new_map(path: &Path, capacity: u64) -> Arc<SegmentMap> {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    SegmentMap::open(file, capacity, 0).unwrap()
}

/// All that is published, by way of the mapping.
fn published(map: &Arc<SegmentMap>) -> Vec<u8> {
    let all = map.slice(0..map.end()).unwrap();
    let mut bytes = vec![0; all.len()];
    all.copy_to(0, &mut bytes).unwrap();
    bytes
}
