//! Groups after the death of the daemon, a stop, damage, and a disk that fails.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use folio_client::{Client, ClientConfig};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::disk::TinyDisk;
use folio_tests::intents::killed_with_an_intent;
use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{Member, Stored, codes, commit, commit_codes, delete, state, stored};
use folio_tests::rig::until;
use folio_tests::strace::{Strace, calls};
use folio_wire::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use folio_wire::kafka::{ApiKey, KafkaError};

const GROUP: &str = "readers";
const ONE_PARTITION: [&str; 4] =
    ["--set", "group.initial.rebalance.delay.ms=0", "--set", "offsets.topic.num.partitions=1"];

/// Every sync hangs until it is let go.
const HANGS: &str = "inject=fdatasync,fsync,syncfs:delay_enter=120000000";
/// What does not hang is over by then.
const WHILE: Duration = Duration::from_millis(300);

fn daemon(dir: &Path) -> Daemon {
    Daemon::on(dir, &["--set", "group.initial.rebalance.delay.ms=0"])
}

fn peer(daemon: &Daemon) -> KafkaPeer {
    KafkaPeer::connect(daemon.address())
}

/// Waits until groups are loaded: until then everybody is told to wait.
fn loaded(peer: &mut KafkaPeer, group: &str) {
    until("groups are loaded", || {
        stored(peer, group, "t", &[0])[0].error != KafkaError::COORDINATOR_LOAD_IN_PROGRESS
    });
}

#[test]
fn members_and_offsets_survive_the_death_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let first = daemon(dir.path());
    let mut admin = peer(&first);
    admin.metadata("t");
    let mut member = Member::connect(first.address(), GROUP);
    member.join_alone();
    for offset in 1..=50 {
        assert_eq!(member.commit("t", 0, offset), KafkaError::NONE);
    }
    assert_eq!(commit_codes(&mut admin, 9, &commit("other", "t", &[(0, 7)])), [KafkaError::NONE]);
    assert_eq!(commit_codes(&mut admin, 9, &commit("gone", "t", &[(0, 8)])), [KafkaError::NONE]);
    assert_eq!(delete(&mut admin, "gone"), KafkaError::NONE);
    signal(&first.pid().to_string(), "KILL");

    let second = first.restart_after_death();
    let mut admin = peer(&second);
    for group in [GROUP, "other", "gone"] {
        loaded(&mut admin, group);
    }
    assert_eq!(stored(&mut admin, GROUP, "t", &[0]), [Stored::at(50)]);
    assert_eq!(stored(&mut admin, "other", "t", &[0]), [Stored::at(7)]);
    assert_eq!(stored(&mut admin, "gone", "t", &[0]), [Stored::at(-1)]);
    assert_eq!(state(&mut admin, "gone").0, KafkaError::GROUP_ID_NOT_FOUND);
    assert_eq!(state(&mut admin, GROUP), (KafkaError::NONE, "Stable".to_owned(), vec![member.id.clone()]));
    // The member comes back on another connection, and nothing has happened.
    member.peer = peer(&second);
    assert_eq!(member.heartbeat(), KafkaError::NONE);
    assert_eq!(member.sync(&[]), Ok(b"all".to_vec()));
    assert_eq!(member.commit("t", 0, 51), KafkaError::NONE);
    assert!(second.said().contains("groups are loaded"), "{}", second.said());
    assert_eq!(second.stop().code(), Some(0));

    let third = daemon(dir.path());
    assert!(third.said().contains("clean stop"), "{}", third.said());
    let mut admin = peer(&third);
    loaded(&mut admin, GROUP);
    assert_eq!(stored(&mut admin, GROUP, "t", &[0]), [Stored::at(51)]);
    third.stop();
}

#[test]
fn ten_deaths_in_the_midst_of_commits_take_no_offset_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(dir.path());
    peer(&daemon).metadata("t");
    let mut acknowledged = 0;
    for kill in 0..10 {
        let victim = daemon.pid();
        let (committed, first) = channel();
        let killer = std::thread::spawn(move || {
            first.recv().unwrap();
            std::thread::sleep(Duration::from_millis(20 + 7 * kill));
            signal(&victim.to_string(), "KILL");
        });
        let mut admin = peer(&daemon);
        let mut sent = acknowledged;
        loop {
            sent += 1;
            let Some(answer) = admin.try_call(9, &commit(GROUP, "t", &[(0, sent)])) else { break };
            assert_eq!(codes(&answer), [KafkaError::NONE]);
            acknowledged = sent;
            let _ = committed.send(());
        }
        killer.join().unwrap();
        daemon = daemon.restart_after_death();
        let mut admin = peer(&daemon);
        loaded(&mut admin, GROUP);
        let offset = stored(&mut admin, GROUP, "t", &[0])[0].offset;
        assert!(
            (acknowledged..=sent).contains(&offset.max(0)),
            "kill {kill}: {offset}, acknowledged {acknowledged}"
        );
    }
    assert!(acknowledged >= 10, "{acknowledged}");
    daemon.stop();
}

#[test]
fn a_log_of_groups_that_was_compacted_says_the_same() {
    let soon = ["maintenance.interval.ms=20", "topic.min.cleanable.dirty.ratio=0", "topic.segment.ms=50"];
    let soon = soon.iter().chain(&["topic.delete.retention.ms=0", "group.initial.rebalance.delay.ms=0"]);
    let arguments: Vec<&str> = soon.flat_map(|setting| ["--set", setting]).collect();
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::on(dir.path(), &arguments);
    let mut admin = peer(&first);
    admin.metadata("t");
    let mut member = Member::connect(first.address(), GROUP);
    member.join_alone();
    assert_eq!(commit_codes(&mut admin, 9, &commit("gone", "t", &[(0, 8)])), [KafkaError::NONE]);
    assert_eq!(delete(&mut admin, "gone"), KafkaError::NONE);
    let client = Client::connect(ClientConfig::new(first.address())).unwrap();
    let compactions = || {
        let counters = client.admin().status(true).wait().unwrap().counters;
        counters.into_iter().find(|(name, _)| name == "compactions").unwrap().1
    };
    let mut offset = 0;
    until("the log is compacted again and again", || {
        for _ in 0..20 {
            offset += 1;
            assert_eq!(member.commit("t", 0, offset), KafkaError::NONE);
        }
        compactions() >= 3
    });
    drop(client);
    signal(&first.pid().to_string(), "KILL");

    let second = first.restart_after_death();
    let mut admin = peer(&second);
    loaded(&mut admin, GROUP);
    loaded(&mut admin, "gone");
    assert_eq!(stored(&mut admin, GROUP, "t", &[0]), [Stored::at(offset)]);
    assert_eq!(state(&mut admin, GROUP).2, [member.id.clone()]);
    assert_eq!(state(&mut admin, "gone").0, KafkaError::GROUP_ID_NOT_FOUND);
    let said = second.said();
    let line = said.lines().find(|line| line.contains("groups are loaded")).unwrap();
    let records = line.split("records=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(records.parse::<i64>().unwrap() < offset, "{line}, of more than {offset}");
    second.stop();
}

#[test]
fn whoever_asks_while_groups_are_loaded_is_told_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let notes = ["--set", "offset.metadata.max.bytes=32000"];
    let arguments = [&ONE_PARTITION[..], &notes].concat();
    let daemon = Daemon::on(dir.path(), &arguments);
    let mut admin = peer(&daemon);
    admin.metadata("t");
    // Some MiB: nobody is kept waiting for an answer by more than one of them.
    let note = "x".repeat(32_000);
    let mut request = commit(GROUP, "t", &[(0, 5)]);
    request.topics[0].partitions[0].committed_metadata = Some(&note);
    for _ in 0..200 {
        assert_eq!(commit_codes(&mut admin, 9, &request), [KafkaError::NONE]);
    }
    assert_eq!(daemon.stop().code(), Some(0));

    // Every read of a file takes its time, from the very start.
    let slow = ["strace", "-f", "-o", "/dev/null", "-e", "inject=pread64:delay_enter=20000"];
    let daemon = Daemon::under(&slow, dir.path(), &arguments);
    let mut admin = peer(&daemon);
    let loading = KafkaError::COORDINATOR_LOAD_IN_PROGRESS;
    assert_eq!(stored(&mut admin, GROUP, "t", &[0])[0].error, loading);
    let mut member = Member::connect(daemon.address(), GROUP);
    member.submit_join(3);
    assert_eq!(member.joined(3).error, loading);
    assert_eq!(commit_codes(&mut admin, 9, &commit(GROUP, "t", &[(0, 6)])), [loading]);
    loaded(&mut admin, GROUP);
    assert_eq!(stored(&mut admin, GROUP, "t", &[0])[0].offset, 5);
}

#[test]
fn a_group_whose_partition_is_damaged_is_not_to_be_had_and_the_others_are() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &["--set", "offsets.topic.num.partitions=2"]);
    let mut admin = peer(&daemon);
    admin.metadata("t");
    // "a" and "b" are kept apart: their hashes are 97 and 98.
    for group in ["a", "b"] {
        for offset in [1, 2] {
            assert_eq!(commit_codes(&mut admin, 9, &commit(group, "t", &[(0, offset)])), [KafkaError::NONE]);
        }
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let log = dir.path().join("data/topics/__consumer_offsets-1/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 1]).unwrap();

    let daemon = Daemon::on(dir.path(), &[]);
    assert!(daemon.said().contains("1 offline"), "{}", daemon.said());
    let mut admin = peer(&daemon);
    loaded(&mut admin, "b");
    let gone = KafkaError::COORDINATOR_NOT_AVAILABLE;
    assert_eq!(stored(&mut admin, "b", "t", &[0]), [Stored::at(2)]);
    let request = FindCoordinatorRequest { key: "", key_type: 0, coordinator_keys: vec!["a", "b"] };
    let answer = admin.call(4, &request);
    let found: FindCoordinatorResponse<'_> = answer.message();
    let codes: Vec<_> = found.coordinators.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [gone, KafkaError::NONE]);
    assert_eq!(commit_codes(&mut admin, 9, &commit("a", "t", &[(0, 3)])), [gone]);
    assert_eq!(state(&mut admin, "a").0, gone);
    let mut member = Member::connect(daemon.address(), "a");
    member.submit_join(3);
    assert_eq!(member.joined(3).error, gone);
    assert_eq!(commit_codes(&mut admin, 9, &commit("b", "t", &[(0, 3)])), [KafkaError::NONE]);
    daemon.stop();
}

#[test]
fn a_commit_waits_for_the_disk_and_heartbeats_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path());
    let mut admin = peer(&daemon);
    admin.metadata("t");
    let mut member = Member::connect(daemon.address(), GROUP);
    member.join_alone();
    let strace = Strace::attach(daemon.pid(), HANGS);
    admin.submit(9, &commit("other", "t", &[(0, 5)]));
    assert!(admin.answer_within(ApiKey::OffsetCommit, 9, WHILE).is_none(), "it waits");
    assert_eq!(member.heartbeat(), KafkaError::NONE);
    assert_eq!(stored(&mut member.peer, "other", "t", &[0])[0].offset, -1, "what is not safe is not seen");
    drop(strace);
    admin.answer(ApiKey::OffsetCommit, 9);
    assert_eq!(stored(&mut member.peer, "other", "t", &[0])[0].offset, 5);
    daemon.stop();
}

#[test]
fn a_commit_whose_log_is_taken_away_before_it_is_on_the_disk_is_refused_and_not_left_without_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [&ONE_PARTITION[..], &["--set", "maintenance.interval.ms=50"]].concat();
    let daemon = Daemon::on(dir.path(), &settings);
    let mut admin = peer(&daemon);
    admin.metadata("t");
    assert_eq!(commit_codes(&mut admin, 9, &commit(GROUP, "t", &[(0, 5)])), [KafkaError::NONE]);
    let strace = Strace::attach(daemon.pid(), HANGS);
    admin.submit(9, &commit(GROUP, "t", &[(0, 6)]));
    assert!(admin.answer_within(ApiKey::OffsetCommit, 9, WHILE).is_none(), "it waits");
    let log = dir.path().join("data/topics/__consumer_offsets-0");
    until("it is removed", || {
        let _ = std::fs::remove_dir_all(&log);
        !log.exists()
    });
    drop(strace);
    let answer = admin.answer(ApiKey::OffsetCommit, 9);
    assert_eq!(codes(&answer), [KafkaError::COORDINATOR_NOT_AVAILABLE]);
    assert!(daemon.said().contains("was taken away"), "{}", daemon.said());
    assert_eq!(stored(&mut admin, GROUP, "t", &[0])[0].offset, 5);
    daemon.stop();
}

#[test]
fn a_full_disk_takes_no_commit_and_takes_them_again_when_there_is_room() {
    let mount = TinyDisk::mount(12);
    let daemon = Daemon::on(mount.path(), &["--set", "offset.metadata.max.bytes=32000"]);
    let mut admin = peer(&daemon);
    admin.metadata("t");
    let note = "x".repeat(32_000);
    let commit_at = |admin: &mut KafkaPeer, offset| {
        let mut request = commit(GROUP, "t", &[(0, offset)]);
        request.topics[0].partitions[0].committed_metadata = Some(&note);
        commit_codes(admin, 9, &request)[0]
    };
    let ballast = mount.path().join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    let refused = (1..1000).find_map(|offset| match commit_at(&mut admin, offset) {
        KafkaError::NONE => None,
        error => Some((offset, error)),
    });
    let (offset, error) = refused.expect("the disk fills");
    assert_eq!(error, KafkaError::COORDINATOR_NOT_AVAILABLE);
    assert!(error.is_retriable() && offset > 20, "{offset}");
    assert_eq!(stored(&mut admin, GROUP, "t", &[0])[0].offset, offset - 1, "what was stored is told");

    std::fs::remove_file(&ballast).unwrap();
    until("it resumes", || commit_at(&mut admin, offset + 1) == KafkaError::NONE);
    assert_eq!(stored(&mut admin, GROUP, "t", &[0])[0].offset, offset + 1);
    drop(admin);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_disk_that_fails_acknowledges_no_commit_and_ends_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(dir.path());
    let mut admin = peer(&daemon);
    admin.metadata("t");
    assert_eq!(commit_codes(&mut admin, 9, &commit(GROUP, "t", &[(0, 5)])), [KafkaError::NONE]);
    let strace = Strace::attach(daemon.pid(), "inject=fdatasync,fsync,syncfs:error=EIO");
    if let Some(answer) = admin.try_call(9, &commit(GROUP, "t", &[(0, 6)])) {
        assert_eq!(codes(&answer), [KafkaError::COORDINATOR_NOT_AVAILABLE]);
    }
    assert_eq!(daemon.wait().code(), Some(70), "{}", daemon.said());
    drop(strace);
}

#[test]
fn groups_that_a_start_had_no_room_to_open_the_log_of_are_back_once_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let soon = ["maintenance.interval.ms=20", "topic.segment.ms=50", "topic.min.cleanable.dirty.ratio=0"];
    let soon = soon.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ONE_PARTITION.into_iter().chain(soon).collect();
    let daemon = Daemon::on(dir.path(), &arguments);
    let mut admin = peer(&daemon);
    admin.metadata("t");
    let mut last = 0;
    let mut commit_next = |admin: &mut KafkaPeer| {
        last += 1;
        assert_eq!(commit_codes(admin, 9, &commit(GROUP, "t", &[(0, last)])), [KafkaError::NONE]);
        last
    };
    commit_next(&mut admin);
    let partition = dir.path().join("data/topics/__consumer_offsets-0");
    let wrapper = killed_with_an_intent(daemon, &partition, || {
        commit_next(&mut admin);
    });
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();

    let daemon = Daemon::under(&wrapper, dir.path(), &arguments);
    assert!(daemon.said().contains("1 offline"), "{}", daemon.said());
    let mut admin = peer(&daemon);
    until("they are back", || stored(&mut admin, GROUP, "t", &[0])[0].error == KafkaError::NONE);
    let before = stored(&mut admin, GROUP, "t", &[0]);
    let next = commit_next(&mut admin);
    let after = stored(&mut admin, GROUP, "t", &[0]);
    assert_eq!((before, after), (vec![Stored::at(next - 1)], vec![Stored::at(next)]));
    assert!(daemon.said().contains("a partition is back"), "{}", daemon.said());
    assert_eq!(daemon.stop().code(), Some(0));
}

/// What cannot be mapped now can be in a moment, and nobody asks for it all the time.
#[test]
fn groups_whose_log_finds_no_room_in_memory_are_loaded_later_and_asked_for_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let first = Daemon::on(dir.path(), &ONE_PARTITION);
    let mut admin = peer(&first);
    admin.metadata("t");
    assert_eq!(commit_codes(&mut admin, 9, &commit(GROUP, "t", &[(0, 7)])), [KafkaError::NONE]);
    assert_eq!(first.stop().code(), Some(0));

    let log = dir.path().join("data/topics/__consumer_offsets-0/00000000000000000000.log");
    let told = dir.path().join("told");
    // Of this one file, which no start maps.
    let expressions = ["trace=mmap", "inject=mmap:error=ENOMEM:when=1..10"].map(str::to_owned);
    let mut wrapper = Strace::wrapper(&expressions, &told);
    wrapper.extend(["-P".to_owned(), log.display().to_string()]);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let second = Daemon::under(&wrapper, dir.path(), &ONE_PARTITION);
    let mut admin = peer(&second);
    until("they are loaded", || stored(&mut admin, GROUP, "t", &[0]) == [Stored::at(7)]);
    let refused: Vec<f64> = calls(&std::fs::read_to_string(&told).unwrap())
        .iter()
        .filter(|call| call.is_injected)
        .map(|call| call.at)
        .collect();
    let (times, took) = (refused.len(), refused.last().unwrap() - refused[0]);
    assert!(times == 10 && took > 0.15, "{times} times within {took} s");
    second.stop();
}
