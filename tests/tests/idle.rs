//! What a daemon costs that has nothing to do: its start, the memory it keeps, and what it looks after meanwhile.
//!
//! `FOLIO_IDLE_PARTITIONS=10000 cargo test -p folio-tests --test idle partitions -- --nocapture` for the long run.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::{Duration, Instant};

use folio_tests::campaign;
use folio_tests::daemon::Daemon;
use folio_tests::kafka::groups::Member;
use folio_tests::kafka::{self, KafkaPeer};
use folio_tests::native::{Peer, batch};
use folio_wire::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use folio_wire::kafka::{ApiKey, KafkaError};
use folio_wire::native::ErrorCode;
use folio_wire::native::produce::Acks;

const START_MS_MAX: f64 = 10.0;
const IDLE_BYTES_MAX: u64 = 8000 * 1024;
const IDLE_PARTITION_BYTES_MAX: f64 = 16384.0;
const IDLE_PARTITION_MICROS_MAX: f64 = 60.0;

#[test]
fn an_empty_daemon_starts_in_10_ms_beside_its_syncs_and_keeps_less_than_8_mb() {
    // Other tests run at the same time: the quickest of some starts is what the start itself takes.
    let mut quickest = f64::MAX;
    let mut most = 0;
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::on(dir.path(), &[]);
        let (took, syncs) = times(&daemon.start_line());
        quickest = quickest.min(took - syncs);
        most = most.max(daemon.anonymous_bytes());
        assert!(daemon.stop().success());
        if quickest < START_MS_MAX {
            break;
        }
    }
    println!("started in {quickest:.1} ms beside its syncs, {most} bytes of anonymous memory");
    assert!(quickest < START_MS_MAX, "{quickest} ms");
    assert!(most < IDLE_BYTES_MAX, "{most} bytes");
}

#[test]
fn a_hundred_consumers_that_wait_at_the_tail_cost_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let mut native: Vec<Peer> = (0..100).map(|_| Peer::connect(daemon.address())).collect();
    let mut kafka: Vec<KafkaPeer> = (0..100).map(|_| KafkaPeer::connect(daemon.address())).collect();
    native[0].create("t", 1, &[]);
    let wait = Duration::from_millis(500);
    let natives = || {
        let sent: Vec<_> = native.iter_mut().map(|peer| peer.submit_fetch(&[("t", 0, 0)], 1, wait)).collect();
        for (peer, sent) in native.iter_mut().zip(sent) {
            assert!(peer.fetched(sent)[0].1.is_empty());
        }
    };
    let kafkas = || {
        for peer in &mut kafka {
            peer.submit(12, &kafka::fetch("t", 0, 0, wait));
        }
        for peer in &mut kafka {
            let answer = peer.answer(ApiKey::Fetch, 12);
            assert_eq!(answer.message::<FetchResponse<'_>>().responses.len(), 1);
        }
    };
    let (native, kafka) = (share(&daemon, natives), share(&daemon, kafkas));
    println!("of a core: {:.2} % natively, {:.2} % as Kafka's clients", 100.0 * native, 100.0 * kafka);
    // Built without optimisation it is several times what the release costs.
    let most = if cfg!(debug_assertions) { 0.05 } else { 0.01 };
    assert!(native < most && kafka < most);
}

/// How much of a core the daemon takes while this is done again and again.
fn share(daemon: &Daemon, mut poll: impl FnMut()) -> f64 {
    poll();
    let (begun, before) = (Instant::now(), daemon.cpu());
    (0..8).for_each(|_| poll());
    (daemon.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64()
}

#[test]
fn a_session_in_which_nothing_moves_costs_what_moves_and_not_what_it_holds() {
    const PARTITIONS: i32 = 200;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    Peer::connect(daemon.address()).create("t", PARTITIONS.unsigned_abs(), &[]);
    let cost = |partitions: i32, is_kept: bool| {
        let mut peer = KafkaPeer::connect(daemon.address());
        let asked = |partition| FetchPartition { partition, ..FetchPartition::default() };
        let topic = FetchTopic {
            topic: "t",
            partitions: (0..partitions).map(asked).collect(),
            ..FetchTopic::default()
        };
        let full = FetchRequest { topics: vec![topic], session_epoch: 0, ..FetchRequest::default() };
        let session_id = peer.call(11, &full).message::<FetchResponse<'_>>().session_id;
        let mut poll = |rounds| {
            for session_epoch in rounds {
                let kept = FetchRequest { session_id, session_epoch, ..FetchRequest::default() };
                let asked = if is_kept { &kept } else { &full };
                let answer = peer.call(11, asked);
                let told: FetchResponse<'_> = answer.message();
                assert_eq!(told.responses.is_empty(), is_kept, "{:?}", told.error_code);
            }
        };
        poll(1..10);
        let before = daemon.cpu();
        poll(10..1010);
        daemon.cpu() - before
    };
    let (one, many, full) = (cost(1, true), cost(PARTITIONS, true), cost(PARTITIONS, false));
    println!("a thousand polls: {one:?} of one partition, {many:?} of {PARTITIONS}, {full:?} of all in full");
    assert!(many < 2 * one + Duration::from_millis(100));
    assert!(many < full);
}

#[test]
fn a_heartbeat_wakes_no_thread_but_the_loop_that_it_comes_to() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "group.initial.rebalance.delay.ms=0"]);
    let mut member = Member::connect(daemon.address(), "g");
    member.join_alone();
    let before = wakes(&daemon, "folio-groups");
    for _ in 0..200 {
        assert_eq!(member.heartbeat(), KafkaError::NONE);
    }
    let woken = wakes(&daemon, "folio-groups") - before;
    assert!(woken < 20, "{woken} times");
}

#[test]
fn partitions_that_nobody_uses_cost_next_to_nothing() {
    let partitions = campaign::length("FOLIO_IDLE_PARTITIONS", 300);
    let dir = tempfile::tempdir().unwrap();
    // Whatever is reserved is given back, file by file.
    let patient = ["--set", "shutdown.timeout.ms=60000"];
    let daemon = Daemon::on(dir.path(), &patient);
    let none = Cost::of("no partition", &daemon);
    let mut peer = Peer::connect(daemon.address());
    for number in (0..partitions).step_by(100) {
        let topic = format!("t-{number}");
        peer.create(&topic, 100, &[]);
        let submit = |partition| peer.submit_produce(&topic, partition, Acks::All, &batch(b"one"));
        let sent: Vec<_> = (0..100).map(submit).collect();
        for sent in sent {
            assert_eq!(peer.produced(sent).error, ErrorCode::NONE);
        }
    }
    drop(peer);
    let awake = Cost::of("each with a record", &daemon);
    assert!(daemon.stop().success());
    let daemon = Daemon::on(dir.path(), &patient);
    assert!(daemon.start_line().contains("(clean stop, "), "{}", daemon.start_line());
    let dormant = Cost::of("the same after a start", &daemon);
    assert!(daemon.stop().success());
    for cost in [&awake, &dormant] {
        let of_one = |part: fn(&Cost) -> f64| (part(cost) - part(&none)) / f64::from(partitions);
        let (micros, bytes) = (of_one(|cost| cost.core) * 1e6, of_one(|cost| cost.anonymous as f64));
        println!("of one, {}: {micros:.1} us of CPU time a second, {bytes:.0} bytes of memory", cost.what);
        assert!(bytes < IDLE_PARTITION_BYTES_MAX, "{bytes} bytes");
        assert!(micros < IDLE_PARTITION_MICROS_MAX, "{micros} us a second");
    }
}

/// What a daemon takes while nobody asks for anything.
struct Cost {
    what: &'static str,
    /// Of a core.
    core: f64,
    anonymous: u64,
}

impl Cost {
    fn of(what: &'static str, daemon: &Daemon) -> Self {
        // What follows a start or a produce by itself is over then.
        std::thread::sleep(Duration::from_secs(2));
        let (begun, before) = (Instant::now(), daemon.cpu());
        std::thread::sleep(Duration::from_secs(if cfg!(debug_assertions) { 3 } else { 10 }));
        let core = (daemon.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let process = format!("/proc/{}", daemon.pid());
        let count = |what| std::fs::read_dir(format!("{process}/{what}")).unwrap().count();
        let maps = std::fs::read_to_string(format!("{process}/maps")).unwrap().lines().count();
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let anonymous = daemon.anonymous_bytes();
        println!(
            "{what}: {:.2} % of a core, {} KiB of anonymous memory, {resident}, {} descriptors, {maps} mappings",
            100.0 * core,
            anonymous / 1024,
            count("fd"),
        );
        Self { what, core, anonymous }
    }
}

/// How often a thread of the daemon has gone to sleep.
fn wakes(daemon: &Daemon, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let mut paths = tasks.map(|task| task.unwrap().path());
    let path =
        paths.find(|path| std::fs::read_to_string(path.join("comm")).unwrap().trim() == thread).unwrap();
    let status = std::fs::read_to_string(path.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// "foliod 0.1.0 started in 3.1 ms (7 syncs: 1.2 ms), ...": how long the start took, and the syncs in it.
fn times(start_line: &str) -> (f64, f64) {
    let between = |text: &'static str| start_line.split_once(text).unwrap().1.split_once(" ms").unwrap().0;
    let syncs: u64 = between(" ms (").split_once(' ').unwrap().0.parse().unwrap();
    assert!(syncs > 0, "{start_line}");
    (between("started in ").parse().unwrap(), between("syncs: ").parse().unwrap())
}
