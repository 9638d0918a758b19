//! Which thread of the daemon makes which system call, in which order, and what is mapped: seen from outside.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use folio_tests::cache::{closed_logs, cool};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::native::{Peer, batch, keyed};
use folio_tests::rig::until;
use folio_tests::strace::{Call, Strace, calls};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;
use folio_wire::native::subscribe::SubscribeFrom;
use folio_wire::native::topics::TopicDeleteRequestV1;

const LIMIT: Duration = Duration::from_secs(60);

/// Seconds in which a thread that is watched call by call sees that another one has failed.
const MOMENT: f64 = 3.0;

/// What strace wrote.
fn told(trace: &Path) -> Vec<Call> {
    calls(&std::fs::read_to_string(trace).unwrap())
}

/// The lines of a process's memory map that are files below `dir`.
fn maps(pid: u32, dir: &Path) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let dir = dir.display().to_string();
    maps.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// A topic of each durability class, in small segments, with so many batches in each.
fn fill(peer: &mut Peer, batches: usize) {
    let value = batch(&[7; 16_000]);
    for durability in ["fsync", "interval", "os"] {
        peer.create(durability, 1, &[("durability", durability), ("internal.segment.bytes", "300000")]);
        for _ in 0..batches {
            peer.produce(durability, 0, Acks::All, &value);
        }
    }
}

/// A topic of which a segment is compacted.
fn compact(peer: &mut Peer) {
    let small = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("internal.segment.bytes", "20000"),
    ];
    peer.create("compacted", 1, &small);
    for number in 0..50 {
        peer.produce("compacted", 0, Acks::All, &keyed(b"one", &[number; 1000]));
    }
    until("it is compacted", || peer.counter("compactions") > 0);
}

#[test]
fn no_mapping_of_a_data_file_is_writable() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    fill(&mut peer, 50);
    for topic in ["fsync", "interval", "os"] {
        assert!(!peer.fetch_now(topic, 0).1.is_empty());
    }
    let maps = maps(daemon.pid(), dir.path());
    assert!(maps.len() >= 9, "a log and two indexes of each topic: {maps:#?}");
    let is_read_only = |line: &String| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("r--"));
    assert!(maps.iter().all(is_read_only), "{maps:#?}");
    drop(peer);
    daemon.stop();
}

/// Retention takes segments, and somebody deletes a topic, of which an answer is under way to a peer that takes its
/// time.
fn lose_what_is_being_sent(peer: &mut Peer, daemon: &Daemon) -> Peer {
    let value = batch(&[7; 16_000]);
    let retained = [("internal.segment.bytes", "300000"), ("retention.bytes", "300000")];
    peer.create("short", 1, &retained);
    peer.create("gone", 1, &[]);
    peer.produce("gone", 0, Acks::All, &value);
    let mut slow = Peer::connect(daemon.address());
    for _ in 0..60 {
        peer.produce("short", 0, Acks::All, &value);
        slow.submit_fetch(&[("short", 0, 0), ("gone", 0, 0)], 1, Duration::ZERO);
    }
    until("retention has removed something", || peer.describe("short").log_start > 0);
    peer.call(&TopicDeleteRequestV1 { name: "gone" }, &[]);
    slow
}

#[test]
fn event_loops_make_no_call_that_waits_for_a_disk_but_appends_to_topics_that_trust_the_page_cache() {
    const CALLS: &str = "openat,pread64,preadv,preadv2,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,\
                         sync_file_range,fallocate,ftruncate,unlink,unlinkat,rename,renameat,renameat2,mkdir,\
                         mkdirat,mmap,munmap,madvise,getdents64,newfstatat,statx";
    // Some keep /tmp in memory, where nothing is ever cold.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "maintenance.interval.ms=20"]);
    let mut peer = Peer::connect(daemon.address());
    let trace = dir.path().join("trace");
    let strace = Strace::watch(daemon.pid(), true, &[format!("trace={CALLS}")], &trace);
    fill(&mut peer, 50);
    compact(&mut peer);
    let slow = lose_what_is_being_sent(&mut peer, &daemon);
    closed_logs(&dir.path().join("data"), "fsync").iter().for_each(|log| cool(log));
    for topic in ["fsync", "interval", "os"] {
        // Closed segments too, which nobody has read.
        for offset in [0, 20, 45] {
            assert!(!peer.fetch_now(topic, offset).1.is_empty());
        }
    }
    let threads: BTreeMap<u32, String> = std::fs::read_dir(format!("/proc/{}/task", daemon.pid()))
        .unwrap()
        .map(|task| task.unwrap().path())
        .map(|task| {
            let name = std::fs::read_to_string(task.join("comm")).unwrap().trim().to_owned();
            (task.file_name().unwrap().to_string_lossy().parse().unwrap(), name)
        })
        .collect();
    // A process that ends has its maps dropped by whoever is the last.
    drop(slow);
    until("what was deleted is unmapped", || {
        !maps(daemon.pid(), dir.path()).iter().any(|line| line.contains("(deleted)"))
    });
    drop(peer);
    daemon.stop();
    drop(strace);

    let is_loop = |call: &&Call| threads.get(&call.thread).is_some_and(|name| name.starts_with("folio-loop"));
    let data = dir.path().join("data").display().to_string();
    let calls = told(&trace);
    // The ranges of memory that are files.
    let mapped: BTreeSet<&str> = calls
        .iter()
        .filter(|call| call.name == "mmap" && call.line.contains(&data))
        .filter_map(|call| call.line.rsplit_once("= ").map(|(_, address)| address.trim()))
        .collect();
    assert!(mapped.len() >= 9, "{mapped:?}");
    let is_append = |call: &&Call| {
        let is_of_topic = |topic: &&str| call.line.contains(&format!("{data}/topics/{topic}-0/"));
        call.name.starts_with("pwrite") && ["interval", "os"].iter().any(is_of_topic)
    };
    let of_loops: Vec<&Call> = calls.iter().filter(is_loop).collect();
    let inline = of_loops.iter().filter(|call| is_append(call)).count();
    assert!(inline >= 80, "{inline} inline appends of {} calls by {threads:?}", of_loops.len());
    let waits = |call: &&&Call| {
        let is_unmap =
            call.name == "munmap" && mapped.iter().any(|at| call.line.contains(&format!("({at},")));
        let populates = call.name == "madvise" && call.line.contains("POPULATE");
        is_unmap || populates || call.line.contains(&data) && !is_append(call)
    };
    let waiting: Vec<&&Call> = of_loops.iter().filter(waits).collect();
    assert!(waiting.is_empty(), "{waiting:#?}");
    // The claim would see them: other threads make them.
    for name in ["openat", "fallocate", "mmap", "pwrite", "unlink", "rename"] {
        let mut others = calls.iter().filter(|call| !is_loop(call) && call.line.contains(&data));
        assert!(others.any(|call| call.name.starts_with(name)), "nobody calls {name}");
    }
}

#[test]
fn a_turn_that_held_all_channels_up_is_counted_by_the_time_that_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("os", 1, &[("durability", "os")]);
    let value = batch(b"little");
    peer.produce("os", 0, Acks::All, &value);
    let before = peer.turns_of(200_000);
    let strace = Strace::attach(daemon.pid(), "inject=pwrite64,pwritev,pwritev2:delay_enter=200000");
    for _ in 0..3 {
        peer.produce("os", 0, Acks::All, &value);
    }
    drop(strace);
    until("the turns are counted", || peer.turns_of(200_000) >= before + 3);
}

#[test]
fn after_a_kill_a_start_reads_the_disk_and_not_the_cache_and_maps_nothing_before_it_has_read() {
    const CALLS: &str = "openat,pread64,fadvise64,mmap,fdatasync,fsync,syncfs,pwrite64,listen";
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "os")]);
    for _ in 0..20 {
        peer.produce("t", 0, Acks::All, &batch(&[7; 1000]));
    }
    drop(peer);
    signal(&format!("-{}", daemon.pid()), "KILL");
    drop(daemon);

    let trace = dir.path().join("trace");
    let around = Strace::wrapper(&[format!("trace={CALLS}")], &trace);
    let around: Vec<&str> = around.iter().map(String::as_str).collect();
    let daemon = Daemon::under(&around, dir.path(), &[]);
    assert!(daemon.said().contains("unclean stop"), "{}", daemon.said());
    daemon.stop();
    until("strace has told everything", || {
        std::fs::read_to_string(&trace).unwrap().trim_end().ends_with("exited with 0 +++")
    });
    let calls = told(&trace);
    let log = dir.path().join("data/topics/t-0/00000000000000000000.log").display().to_string();
    let first = |name: &str, what: &str| {
        let found = calls.iter().position(|call| call.name == name && call.line.contains(what));
        found.unwrap_or_else(|| panic!("no {name} of {what}"))
    };
    let dropped = first("fadvise64", &log);
    assert!(calls[dropped].line.contains("POSIX_FADV_DONTNEED"), "{:?}", calls[dropped]);
    let synced = calls
        .iter()
        .position(|call| call.name == "syncfs" || call.name.ends_with("sync") && call.line.contains(&log));
    let read = first("pread64", &log);
    assert!(synced.unwrap() < dropped && dropped < read, "{synced:?}, {dropped}, {read}");
    // Whoever reads or appends first maps what it needs.
    let data = dir.path().join("data").display().to_string();
    assert!(!calls.iter().any(|call| call.name == "mmap" && call.line.contains(&data)));
    // The new durable point is on the disk before anybody is let in.
    let slots = first("pwrite64", "/data/slots>");
    let after = calls[slots..]
        .iter()
        .position(|call| call.name.ends_with("sync") && call.line.contains("/data/slots>"));
    assert!(slots + after.unwrap() < first("listen", ""), "slots are synced too late");
}

#[test]
fn after_a_flush_that_failed_not_a_byte_of_the_directory_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[]);
    peer.create("others", 1, &[("durability", "os")]);
    let value = batch(&[7; 1000]);
    // So that no append has to make a file: what has begun when the flush fails cannot be called back.
    for topic in ["t", "others"] {
        peer.produce(topic, 0, Acks::All, &value);
    }
    let trace = dir.path().join("trace");
    let strace =
        Strace::watch(daemon.pid(), true, &["inject=fdatasync,fsync,syncfs:error=EIO".to_owned()], &trace);
    // Both wait for nobody, and come in whatever order they like.
    for topic in ["t", "others", "t", "others"] {
        peer.submit_produce(topic, 0, Acks::All, &value);
    }
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    drop(strace);
    let calls = told(&trace);
    let failed = calls.iter().position(|call| call.is_injected).unwrap();
    let data = dir.path().join("data").display().to_string();
    let changes = "pwrite64 pwritev pwritev2 write writev ftruncate fallocate rename renameat renameat2 unlink unlinkat \
                   mkdir mkdirat rmdir";
    let is_of_data = |call: &Call| {
        let is_named = call.name != "write" && call.line.contains(&format!("\"{data}"));
        is_named || call.line.contains(&format!("<{data}"))
    };
    let is_change = |call: &&Call| {
        let makes = call.name == "openat" && call.line.contains("O_CREAT");
        is_of_data(call) && (makes || changes.split_whitespace().any(|name| name == call.name))
    };
    // An append that another thread had begun when the flush failed cannot be called back: of each of the two
    // partitions its log and an index. That not a call comes behind them, whoever tries, is what the simulator says of
    // the engine.
    let (begun, late): (Vec<&Call>, Vec<&Call>) =
        calls[failed..].iter().filter(is_change).partition(|call| call.at < calls[failed].at + MOMENT);
    assert!(begun.len() <= 4 && begun.iter().all(|call| call.name.starts_with("pwrite")), "{begun:#?}");
    assert!(late.is_empty(), "{late:#?}");
    let again =
        calls[failed + 1..].iter().filter(|call| call.name.ends_with("sync") && call.line.contains(&data));
    assert_eq!(again.count(), 0, "a sync was tried again");
    assert!(!dir.path().join("data/clean").exists());
}

#[test]
fn what_was_deleted_while_somebody_read_it_is_given_back_once_nobody_does() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", 1, &[("durability", "os"), ("internal.segment.bytes", "1000000")]);
    let value = batch(&[7; 100_000]);
    for _ in 0..200 {
        peer.produce("t", 0, Acks::All, &value);
    }
    let mut slow: Vec<Peer> = (0..5).map(|_| Peer::connect(daemon.address())).collect();
    for peer in &mut slow {
        peer.subscribe(1, "t", SubscribeFrom::Earliest, u64::MAX);
    }
    until("the readers are served as much as they take", || peer.counter("subscriptions") == 5);
    let deleted = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
        let fds = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        let fds = fds.map(|path| path.display().to_string());
        let data = dir.path().join("data");
        let is_deleted =
            |line: &String| line.contains("(deleted)") && line.contains(&data.display().to_string());
        maps(daemon.pid(), &data).into_iter().chain(fds).filter(is_deleted).collect::<Vec<_>>()
    };
    assert!(peer.call(&TopicDeleteRequestV1 { name: "t" }, &[]).0.error.is_none());
    until("what nobody reads is unlinked", || {
        std::fs::read_dir(dir.path().join("data/trash")).unwrap().next().is_none()
    });
    assert!(!deleted().is_empty(), "nobody reads, and the claim is about who does");
    drop(slow);
    let deadline = Instant::now() + LIMIT;
    while !deleted().is_empty() {
        assert!(Instant::now() < deadline, "nobody reads these any more: {:#?}", deleted());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(peer);
    daemon.stop();
}

#[test]
fn partitions_that_rest_are_looked_for_in_a_round_of_several_and_what_is_taken_away_is_found_all_the_same() {
    const PARTITIONS: u32 = 32;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "maintenance.interval.ms=20"]);
    let mut peer = Peer::connect(daemon.address());
    peer.create("t", PARTITIONS, &[("durability", "os")]);
    for partition in 0..PARTITIONS {
        assert_eq!(peer.produce("t", partition, Acks::All, &batch(b"one")).error, ErrorCode::NONE);
    }
    let rounds = peer.counter("maintenance.rounds");
    until("all of them were looked for", || peer.counter("maintenance.rounds") > rounds + 1);
    let trace = dir.path().join("trace");
    let strace = Strace::watch(daemon.pid(), true, &["trace=statx,newfstatat,lstat".to_owned()], &trace);
    let begun = peer.counter("maintenance.rounds");
    until("some rounds have passed", || peer.counter("maintenance.rounds") > begun + 40);
    let rounds = peer.counter("maintenance.rounds") - begun;
    drop(strace);
    let looks = told(&trace).iter().filter(|call| call.line.contains("00000000.log")).count() as u64;
    let all = u64::from(PARTITIONS) * rounds;
    assert!(
        looks > all / 20 && looks < all / 2,
        "{looks} looks for {PARTITIONS} partitions in {rounds} rounds"
    );

    // Nobody appends or reads there.
    std::fs::remove_file(dir.path().join("data/topics/t-7/00000000000000000000.log")).unwrap();
    until("it is missed", || daemon.said().contains("t-7/00000000000000000000.log was taken away"));
}
