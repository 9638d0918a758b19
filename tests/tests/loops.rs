//! What event loops do with files: append to topics that are not flushed, and nothing else; so a disk that hangs holds
//! nobody up who needs nothing of it. And where a loop is held up all the same, that is counted.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use folio_tests::cache::{closed_logs, cool, is_sealed};
use folio_tests::daemon::Daemon;
use folio_tests::native::{Peer, batch};
use folio_tests::rig::until;
use folio_tests::strace::Strace;
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use folio_wire::native::topics::TopicDeleteRequestV1;

const NOW: Duration = Duration::ZERO;

/// Whatever has to do with files, and how they are mapped.
const CALLS: &str = "open,openat,openat2,creat,close,read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,\
    pwritev2,fsync,fdatasync,sync,syncfs,sync_file_range,msync,fallocate,truncate,ftruncate,unlink,unlinkat,rename,\
    renameat,renameat2,mkdir,mkdirat,rmdir,stat,lstat,fstat,newfstatat,statx,statfs,fstatfs,access,faccessat2,\
    getdents64,fadvise64,readahead,mmap,mremap,munmap,madvise,fcntl,flock,ioctl,sendfile,copy_file_range,splice";

/// One system call, or the half of one.
#[derive(Debug)]
struct Call<'a> {
    thread: u32,
    name: &'a str,
    text: &'a str,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (thread, text) = line.trim_start().split_once(' ')?;
        let text = text.trim_start();
        let name = match text.strip_prefix("<... ") {
            Some(resumed) => resumed.split(' ').next()?,
            None => text.split('(').next()?,
        };
        Some(Self { thread: thread.parse().ok()?, name, text })
    }

    /// What the call gave, if it is an address.
    fn address(&self) -> Option<&'a str> {
        self.text.rsplit_once("= ").map(|(_, result)| result.trim()).filter(|result| result.starts_with("0x"))
    }

    fn first_argument(&self) -> &'a str {
        let arguments = self.text.split_once('(').map_or("", |(_, arguments)| arguments);
        arguments.split([',', ')', ' ']).next().unwrap_or_default()
    }
}

/// The calls of these threads that have to do with files below `data`, other than appends to topics that are not
/// flushed; and their unmapping.
fn impure<'a>(
    record: &'a str,
    data: &Path,
    threads: &HashSet<u32>,
    mapped: &HashSet<String>,
) -> Vec<&'a str> {
    let data = data.to_string_lossy();
    let mut mapped = mapped.clone();
    let mut mapping = HashMap::new();
    let mut found = Vec::new();
    for (line, call) in record.lines().filter_map(|line| Some((line, Call::parse(line)?))) {
        let is_of_file = call.text.contains(&*data);
        if call.name == "mmap" && (is_of_file || mapping.remove(&call.thread).is_some()) {
            match call.address() {
                Some(address) => drop(mapped.insert(address.to_owned())),
                None => drop(mapping.insert(call.thread, ())),
            }
        }
        if !threads.contains(&call.thread) {
            continue;
        }
        let is_inline = matches!(call.name, "pwrite64" | "pwritev" | "pwritev2")
            && (call.text.contains("/topics/os-") || call.text.contains("/topics/interval-"));
        let is_unmapping = call.name == "munmap" && mapped.contains(call.first_argument());
        if is_of_file && !is_inline || is_unmapping || call.name == "sync" {
            found.push(line);
        }
    }
    found
}

fn threads(daemon: &Daemon, name: &str) -> HashSet<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let is_named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name))
    };
    let number = |task: std::fs::DirEntry| task.file_name().to_string_lossy().parse::<u32>().ok();
    tasks.filter(is_named).filter_map(number).collect()
}

/// Where files below `data` are mapped now.
fn mapped(daemon: &Daemon, data: &Path) -> HashSet<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", daemon.pid())).unwrap();
    let of_data = maps.lines().filter(|line| line.contains(&*data.to_string_lossy()));
    of_data
        .filter_map(|line| Some(format!("0x{}", line.split_once('-')?.0.trim_start_matches('0'))))
        .collect()
}

fn produce(peer: &mut Peer, topic: &str, batches: usize) {
    for _ in 0..batches {
        let produced = peer.produce(topic, 0, Acks::All, &batch(&[7; 10_000]));
        assert_eq!(produced.error, ErrorCode::NONE, "{topic}: {:?}", produced.message);
    }
}

/// Reads a topic from its start to its end.
fn read_through(peer: &mut Peer, topic: &str) -> usize {
    let (mut bytes, end) = (0, peer.describe(topic).high_watermark);
    let mut offset = peer.describe(topic).log_start;
    while offset < end {
        let (entry, records) = peer.fetch_now(topic, offset);
        if entry.error == ErrorCode::OFFSET_OUT_OF_RANGE {
            offset = peer.describe(topic).log_start;
            continue;
        }
        assert_eq!(entry.error, ErrorCode::NONE, "{topic} at {offset}: {:?}", entry.message);
        // One record a batch.
        let size = batch(&[7; 10_000]).len();
        assert!(!records.is_empty() && records.len() % size == 0);
        bytes += records.len();
        offset += i64::try_from(records.len() / size).unwrap();
    }
    bytes
}

#[test]
fn loops_append_to_topics_that_are_not_flushed_and_touch_no_file_otherwise() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let settings = ["topic.segment.bytes=131072", "maintenance.interval.ms=50"];
    let daemon = Daemon::on(dir.path(), &["--set", settings[0], "--set", settings[1]]);
    let data = dir.path().join("data");
    let mut peer = Peer::connect(daemon.address());
    for topic in ["fsync", "os", "interval", "cold"] {
        let durability = if topic == "cold" { "fsync" } else { topic };
        peer.create(topic, 1, &[("durability", durability)]);
    }
    peer.create("short", 1, &[("durability", "fsync"), ("retention.bytes", "200000")]);
    produce(&mut peer, "cold", 60);
    let cold = closed_logs(&data, "cold");
    assert!(cold.len() > 2, "{cold:?}");
    // Whoever seals them reads them once more.
    until("they are sealed", || cold.iter().all(|log| is_sealed(log)));

    let record = dir.path().join("record");
    let (loops, others) = (threads(&daemon, "folio-loop-"), mapped(&daemon, &data));
    assert!(!loops.is_empty());
    let strace = Strace::record(daemon.pid(), CALLS, &record);
    cold.iter().for_each(|path| cool(path));
    // Retention removes what this one still has on its way.
    let mut slow = Peer::connect(daemon.address());
    for _ in 0..6 {
        for topic in ["fsync", "os", "interval", "short"] {
            produce(&mut peer, topic, 8);
        }
        slow.send_fetch("short", peer.describe("short").log_start, 1 << 20, NOW);
    }
    assert!(read_through(&mut Peer::connect(daemon.address()), "cold") >= 600_000);
    for topic in ["fsync", "os", "interval", "short"] {
        read_through(&mut Peer::connect(daemon.address()), topic);
    }
    until("retention has removed something", || peer.describe("short").log_start > 0);
    peer.create("gone", 1, &[]);
    produce(&mut peer, "gone", 1);
    peer.call(&TopicDeleteRequestV1 { name: "gone" }, &[]);
    drop(slow);
    until("the cold reads have been seen", || {
        std::fs::read_to_string(&record)
            .is_ok_and(|text| text.contains("unlinkat(") || text.contains("unlink("))
    });
    drop(strace);

    let record = std::fs::read_to_string(&record).unwrap();
    let found = impure(&record, &data, &loops, &others);
    assert!(found.is_empty(), "loops {loops:?}: {found:#?}");

    // The control: it was there to be found. Others have done all of it, and loops have appended.
    let readers = threads(&daemon, "folio-read-");
    let rest: HashSet<u32> = record.lines().filter_map(Call::parse).map(|call| call.thread).collect();
    let rest: HashSet<u32> = rest.difference(&loops).copied().collect();
    let of_others = impure(&record, &data, &rest, &others).join("\n");
    for call in ["openat(", "pwrite", "fdatasync(", "fallocate(", "munmap(", "unlink"] {
        assert!(of_others.contains(call), "nobody called {call}");
    }
    let by = |threads: &HashSet<u32>, name: &str| {
        let calls = record.lines().filter_map(Call::parse);
        calls.filter(|call| threads.contains(&call.thread) && call.name.starts_with(name)).count()
    };
    assert!(by(&readers, "madvise") > 0, "something was cold");
    assert!(by(&loops, "pwrite") > 0, "loops have appended");
}

#[test]
fn while_no_flush_comes_to_its_end_loops_answer_what_needs_nothing_of_it() {
    loops_answer_while(|daemon| {
        let inject = format!("inject=fdatasync,fsync,syncfs:delay_enter={}", HANG.as_micros());
        Strace::attach(daemon.pid(), &inject)
    });
}

#[test]
fn while_a_lane_hangs_in_a_write_loops_answer_what_needs_nothing_of_it() {
    loops_answer_while(|daemon| {
        let inject = format!("inject=pwrite64,pwritev,pwritev2:delay_enter={}", HANG.as_micros());
        let lane = threads(daemon, "folio-lane-").into_iter().next().unwrap();
        Strace::watch(lane, false, &[inject], Path::new("/dev/null"))
    });
}

/// Long enough for nobody to believe that it was waited for.
const HANG: Duration = Duration::from_secs(60);

fn loops_answer_while(hangs: impl Fn(&Daemon) -> Strace) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "lane.threads=1"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("fsync", 1, &[("durability", "fsync")]);
    peer.create("os", 1, &[("durability", "os")]);
    produce(&mut peer, "fsync", 5);
    produce(&mut peer, "os", 5);

    let strace = hangs(&daemon);
    let begun = Instant::now();
    let mut waiting = Peer::connect(daemon.address());
    let waits = waiting.submit_produce("fsync", 0, Acks::All, &batch(b"not yet"));
    for _ in 0..20 {
        let mut peer = Peer::connect(daemon.address());
        assert_eq!(read_through(&mut peer, "fsync"), 5 * batch(&[7; 10_000]).len());
        // Little enough for the space that is reserved: the next comes from a lane.
        assert_eq!(peer.produce("os", 0, Acks::All, &batch(b"little")).error, ErrorCode::NONE);
        assert!(peer.counter("appends") > 0);
    }
    assert!(begun.elapsed() < HANG / 2, "{:?}", begun.elapsed());
    assert_eq!(waiting.describe("fsync").high_watermark, 5, "and nobody sees what is not flushed");
    assert!(!waiting.has_answer_to(waits));
    drop(strace);
}

#[test]
fn a_turn_that_held_all_channels_up_is_counted_by_the_time_that_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("os", 1, &[("durability", "os")]);
    produce(&mut peer, "os", 1);
    let before = peer.turns_of(200_000);
    let strace = Strace::attach(daemon.pid(), "inject=pwrite64,pwritev,pwritev2:delay_enter=200000");
    produce(&mut peer, "os", 3);
    drop(strace);
    until("the turns are counted", || peer.turns_of(200_000) >= before + 3);
}
