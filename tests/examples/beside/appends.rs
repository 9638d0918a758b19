//! Appends beside flushes of the same log, at the storage engine itself: what a loop's inline append waits for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use folio_record::Timestamp;
use folio_storage::data_dir::NewTopic;
use folio_storage::files::OsFiles;
use folio_storage::{DataDir, LogOptions, Mode};
use folio_tests::native::batch;
use uuid::Uuid;

use crate::{Extent, Outcome, Times, tell};

const PACE: Duration = Duration::from_micros(50);
const FILE_SIZE: u64 = 1 << 30;

pub(crate) fn measure(path: &Path, extent: Extent) -> Outcome<()> {
    let now = Timestamp::new(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
    let config = folio_broker::Config::new(path.join("appends"));
    let files = Arc::new(OsFiles::open_or_create(&config.data_dir)?);
    let options = folio_broker::data_dir_options(&config);
    let (dir, _) = DataDir::open(files, &options, |_| LogOptions::default(), now)?;
    let topic =
        NewTopic { name: "log".to_owned(), uuid: Uuid::new_v4(), partitions: 1, settings: Vec::new() };
    let logs = dir.create_topic(topic, &LogOptions::default(), now)?;
    let batch = batch(&[b'x'; 1024]);
    let append = || -> Outcome<()> {
        logs[0].writer().append(&mut [BytesMut::from(&batch[..])], Mode::MayBlock, now)?;
        Ok(())
    };
    let flush = || -> Outcome<()> {
        dir.flush(&logs, now, Instant::now())?;
        Ok(())
    };

    let file = File::create_new(path.join("bare"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, FILE_SIZE)?;
    let mut at = 0;
    let mut write = || -> Outcome<()> {
        file.write_all_at(&batch, at)?;
        at += batch.len() as u64;
        Ok(())
    };
    let sync = || -> Outcome<()> { Ok(file.sync_data()?) };

    let [mut ours, mut ours_beside, mut bare, mut bare_beside] = std::array::from_fn(|_| Times::default());
    for _ in 0..extent.rounds {
        ours.extend(paced(extent.round, append, None::<&fn() -> Outcome<()>>)?);
        ours_beside.extend(paced(extent.round, append, Some(&flush))?);
        bare.extend(paced(extent.round, &mut write, None::<&fn() -> Outcome<()>>)?);
        bare_beside.extend(paced(extent.round, &mut write, Some(&sync))?);
    }
    tell("an append of 1 KiB, beside flushes back to back:", &ours, &ours_beside);
    tell("a bare pwrite of 1 KiB, beside fdatasync back to back:", &bare, &bare_beside);
    println!("  beside either, p99.9: {:.2}x the bare one", ours_beside.us(0.999) / bare_beside.us(0.999));
    Ok(())
}

/// How long each call of `work` takes that is made at a pace, while another thread does `beside` again and again.
fn paced(
    round: Duration,
    mut work: impl FnMut() -> Outcome<()>,
    beside: Option<&(impl Fn() -> Outcome<()> + Sync)>,
) -> Outcome<Vec<Duration>> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| -> Result<(), String> {
            while let Some(beside) = beside
                && !is_over.load(Ordering::Relaxed)
            {
                beside().map_err(|error| error.to_string())?;
            }
            Ok(())
        });
        let (begun, mut times, mut next) = (Instant::now(), Vec::new(), Instant::now());
        let mut outcome = Ok(());
        while begun.elapsed() < round && outcome.is_ok() {
            // Awake all the time, as a busy loop is.
            while Instant::now() < next {
                std::hint::spin_loop();
            }
            let began = Instant::now();
            outcome = work();
            times.push(began.elapsed());
            next = (next + PACE).max(began);
        }
        is_over.store(true, Ordering::Relaxed);
        other.join().map_err(|_| "the other thread panicked")??;
        outcome.map(|()| times)
    })
}
