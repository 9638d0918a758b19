//! Consumer groups from the command line: looked at, explained, sent elsewhere, taken back, removed.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::time::Duration;

use folio_client::{
    CallError, Client, ClientConfig, Consumer, ConsumerConfig, ErrorCode, GroupConfig, NewTopic, Offset,
    ProducerConfig, ProducerRecord, ResetTo, Timestamp, TopicPartition,
};
use folio_tests::daemon::{Daemon, signal};
use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::{commit, commit_codes, delete};
use folio_tests::rig::until;
use folio_tests::terminal::{Terminal, text};
use folio_wire::kafka::KafkaError;
use serde_json::{Value, json};

const GROUP: &str = "shop";

/// The time of the first record.
const FIRST: i64 = 1_700_000_000_000;

/// A topic of two partitions with ten records in each, a second apart.
fn terminal() -> Terminal {
    let terminal = Terminal::with(&[("group.initial.rebalance.delay.ms", "0")]);
    fill(&client(&terminal));
    terminal
}

fn client(terminal: &Terminal) -> Client {
    Client::connect(ClientConfig::new(terminal.rig().address())).unwrap()
}

fn fill(client: &Client) {
    let topic = NewTopic::new("t", 2).setting("retention.ms", "-1");
    client.admin().create_topic(topic).wait().unwrap();
    let producer = client.producer(ProducerConfig::new()).unwrap();
    for number in 0..10 {
        for partition in 0..2 {
            let time = Timestamp::new(FIRST + 1000 * number);
            let record = ProducerRecord::to("t").partition(partition).value("x").timestamp(time);
            producer.send(record).unwrap().wait().unwrap();
        }
    }
}

fn commit_at(terminal: &Terminal, offsets: &[(i32, i64)]) {
    let mut peer = KafkaPeer::connect(terminal.rig().address());
    let codes = commit_codes(&mut peer, 9, &commit(GROUP, "t", offsets));
    assert!(codes.iter().all(|code| *code == KafkaError::NONE), "{codes:?}");
}

/// What `folio --output json` prints, which succeeds: a value a line.
fn told(terminal: &Terminal, arguments: &[&str]) -> Vec<Value> {
    let out = terminal.done(&[&["--output", "json"], arguments].concat());
    text(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn refused(terminal: &Terminal, arguments: &[&str]) -> (Option<i32>, String) {
    let output = terminal.run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code(), text(&output.stderr))
}

/// Where the group is, by partition.
fn offsets(terminal: &Terminal) -> Vec<(u64, i64)> {
    let described = told(terminal, &["group", "describe", GROUP]).remove(0);
    let offsets = described["offsets"].as_array().unwrap().iter();
    offsets.map(|one| (one["partition"].as_u64().unwrap(), one["offset"].as_i64().unwrap_or(-1))).collect()
}

/// A member that has its partitions and has committed what it read of them.
fn consumer(client: &Client) -> Consumer {
    let config = ConsumerConfig::new().group(GroupConfig::new(GROUP));
    let mut consumer = client.consumer(config).unwrap();
    consumer.subscribe(["t"]).unwrap();
    until("it has read everything", || {
        let _ = consumer.poll(Duration::from_millis(50));
        let read = |one: &TopicPartition| consumer.position(one) == Some(Offset::new(10));
        consumer.assignment().len() == 2 && consumer.assignment().iter().all(read)
    });
    consumer.commit().wait().unwrap();
    consumer
}

#[test]
fn a_group_is_told_with_its_lag_in_records_and_in_time() {
    let terminal = terminal();
    assert!(told(&terminal, &["group", "list"]).is_empty());
    assert_eq!(refused(&terminal, &["group", "describe", GROUP]).0, Some(1));
    commit_at(&terminal, &[(0, 4), (1, 10)]);
    let listed = json!({
        "group": GROUP, "state": "Empty", "protocol_type": "", "members": 0, "partitions": 2, "lag": 6,
        "partitions_above_end": 0,
    });
    assert_eq!(told(&terminal, &["group", "list"]), [listed]);
    assert!(told(&terminal, &["group", "list", "--state", "Stable"]).is_empty());
    let described = told(&terminal, &["group", "describe", GROUP]).remove(0);
    let offsets = described["offsets"].as_array().unwrap();
    let of = |one: &Value| {
        ["offset", "log_start", "log_end", "lag", "lag_ms"].map(|name| one[name].as_i64().unwrap())
    };
    assert_eq!(of(&offsets[0]), [4, 0, 10, 6, 5000]);
    assert_eq!(of(&offsets[1]), [10, 0, 10, 0, 0]);
    let shown = text(&terminal.done(&["group", "describe", GROUP]));
    for part in ["group shop, state Empty", "LAG", "BEHIND", "5.0 s"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn an_offset_above_the_end_is_marked_and_one_below_the_start_is_explained() {
    let terminal = terminal();
    commit_at(&terminal, &[(0, 400), (1, 2)]);
    terminal.done(&["records", "delete", "t", "-p", "1", "--before", "7"]);
    let listed = text(&terminal.done(&["group", "list"]));
    assert!(listed.contains("offset above the end in 1 partition"), "{listed}");
    // The five that are gone unread are not to be read any more, wherever that is told.
    let counts = |one: &Value| one["lag"].as_u64().unwrap();
    let described = told(&terminal, &["group", "describe", GROUP]).remove(0);
    let of_partitions: Vec<u64> = described["offsets"].as_array().unwrap().iter().map(counts).collect();
    assert_eq!(of_partitions, [0, 3]);
    assert_eq!(counts(&told(&terminal, &["group", "list"])[0]), 3);
    let described = text(&terminal.done(&["group", "describe", GROUP]));
    assert!(described.contains("above the end") && described.contains("below the start"), "{described}");
    let explained = text(&terminal.done(&["group", "explain", GROUP]));
    for part in [
        "! nobody is in the group",
        "its offsets go when nobody has joined for 7 days",
        "! t-0: the log ends at 10, before the committed offset 400",
        "! t-1: the log begins at 7, behind the committed offset 2: 5 records are gone unread",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

#[test]
fn a_reset_is_shown_first_and_done_when_it_is_meant() {
    let terminal = terminal();
    commit_at(&terminal, &[(0, 4), (1, 6)]);
    let dry = terminal.run(&["group", "reset", GROUP, "--to", "earliest"]);
    assert!(dry.status.success() && text(&dry.stderr).contains("--yes does it"), "{}", text(&dry.stderr));
    assert!(text(&dry.stdout).contains("FROM"), "{}", text(&dry.stdout));
    assert_eq!(offsets(&terminal), [(0, 4), (1, 6)]);

    let file = terminal.rig().dir().join("offsets.csv");
    std::fs::write(&file, "# where they were on Monday\nt,0,3\n\nt, 1, 8\n").unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], [i64; 2]); 9] = [
        (&["--to", "earliest"], [0, 0]),
        (&["--to", "latest"], [10, 10]),
        (&["--shift-by", "-4"], [6, 6]),
        (&["--shift-by", "100", "-t", "t:1"], [6, 10]),
        (&["--to", "5", "-t", "t"], [5, 5]),
        (&["--to", "-1"], [9, 9]),
        (&["--to", "@1700000002500"], [3, 3]),
        (&["--to", "@2030-01-01T00:00:00Z", "-t", "t:0"], [10, 3]),
        (&["--from-file", file], [3, 8]),
    ];
    for (options, expected) in cases {
        let done = told(&terminal, &[&["group", "reset", GROUP, "--yes"], options].concat()).remove(0);
        assert_eq!(done["done"], true);
        assert_eq!(offsets(&terminal), [(0, expected[0]), (1, expected[1])], "{options:?}");
    }
    for options in [&["--to", "5", "-t", "nosuch"][..], &["--to", "5", "-t", "t:7"]] {
        let (code, said) = refused(&terminal, &[&["group", "reset", GROUP, "--yes"], options].concat());
        assert_eq!(code, Some(4), "{said}");
    }
    let (code, said) = refused(&terminal, &["group", "reset", "new", "--to", "latest"]);
    assert!(code == Some(1) && said.contains("unknown group"), "{said}");
    assert_eq!(refused(&terminal, &["group", "reset", GROUP]).0, Some(2));
    assert_eq!(offsets(&terminal), [(0, 3), (1, 8)]);
}

#[test]
fn what_was_done_to_a_group_is_taken_back_step_by_step() {
    let terminal = terminal();
    let (code, said) = refused(&terminal, &["group", "undo", GROUP]);
    assert!(code == Some(1) && said.contains("nothing is known"), "{said}");
    terminal.done(&["group", "reset", GROUP, "-t", "t:0", "--to", "2", "--yes"]);
    terminal.done(&["group", "reset", GROUP, "-t", "t", "--to", "7", "--yes"]);
    terminal.done(&["group", "delete", GROUP]);
    assert_eq!(offsets(&terminal), [(0, 7), (1, 7)], "only shown");
    terminal.done(&["group", "delete", GROUP, "--yes"]);
    assert!(told(&terminal, &["group", "list"]).is_empty());
    let explained = text(&terminal.done(&["group", "explain", GROUP]));
    for part in ["state Dead", "! there is no such group any more", "delete at 2", "@", " from 127.0.0.1"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    let dry = terminal.run(&["group", "undo", GROUP]);
    assert!(text(&dry.stderr).contains("the delete of 2"), "{}", text(&dry.stderr));
    assert!(told(&terminal, &["group", "list"]).is_empty(), "only shown");
    for expected in [&[(0, 7), (1, 7)][..], &[(0, 2)]] {
        let undone = told(&terminal, &["group", "undo", GROUP, "--yes"]).remove(0);
        assert!(undone["change"]["who"].as_str().unwrap().contains('@'), "{undone}");
        assert_eq!(offsets(&terminal), expected);
    }
    terminal.done(&["group", "undo", GROUP, "--yes"]);
    assert!(told(&terminal, &["group", "list"]).is_empty(), "there was no group before");
    assert_eq!(refused(&terminal, &["group", "undo", GROUP, "--yes"]).0, Some(1));
}

#[test]
fn a_group_that_a_kafka_client_deletes_comes_back() {
    let terminal = terminal();
    commit_at(&terminal, &[(0, 4)]);
    let mut peer = KafkaPeer::connect(terminal.rig().address());
    assert_eq!(delete(&mut peer, GROUP), KafkaError::NONE);
    assert_eq!(delete(&mut peer, GROUP), KafkaError::GROUP_ID_NOT_FOUND);
    assert!(told(&terminal, &["group", "list"]).is_empty());
    terminal.done(&["group", "undo", GROUP, "--yes"]);
    assert_eq!(offsets(&terminal), [(0, 4)]);
}

#[test]
fn a_topic_that_was_made_anew_is_left_alone_by_an_undo() {
    let terminal = terminal();
    terminal.done(&["topic", "create", "u"]);
    commit_at(&terminal, &[(0, 4)]);
    terminal.done(&["group", "reset", GROUP, "-t", "t:0", "-t", "u", "--to", "latest", "--yes"]);
    terminal.done(&["topic", "delete", "t"]);
    terminal.done(&["topic", "create", "t"]);
    let undone = told(&terminal, &["group", "undo", GROUP, "--yes"]).remove(0);
    let trouble = undone["offsets"][0]["trouble"].as_str().unwrap();
    assert!(trouble.contains("another one"), "{trouble}");
    assert!(
        told(&terminal, &["group", "list"]).is_empty(),
        "what was new is gone, what is another's stays away"
    );
}

#[test]
fn a_group_with_members_is_shown_and_not_touched() {
    let terminal = terminal();
    let client = client(&terminal);
    let mut first = consumer(&client);
    let described = told(&terminal, &["group", "describe", GROUP]).remove(0);
    assert_eq!((&described["state"], &described["protocol_type"]), (&json!("Stable"), &json!("consumer")));
    let members = told(&terminal, &["group", "members", GROUP]);
    assert_eq!(members.len(), 1);
    let expected = json!([{ "topic": "t", "partition": 0 }, { "topic": "t", "partition": 1 }]);
    assert_eq!((&members[0]["partitions"], &members[0]["topics"]), (&expected, &json!(["t"])));
    assert!(described["offsets"].as_array().unwrap().iter().all(|one| one["member"] == members[0]["member"]));
    let shown = text(&terminal.done(&["group", "members", GROUP]));
    assert!(shown.contains("t-0 t-1"), "{shown}");
    for arguments in [
        &["group", "reset", GROUP, "--to", "earliest", "--yes"][..],
        &["group", "delete", GROUP, "--yes"],
        &["group", "undo", GROUP, "--yes"],
    ] {
        let (code, said) = refused(&terminal, arguments);
        assert!(code == Some(1) && said.contains("has a member; stop it first"), "{said}");
    }
    let explained = text(&terminal.done(&["group", "explain", GROUP]));
    for part in
        ["1 member, generation", "divided at", "joined", "everything is read; the newest record is of 2023-"]
    {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    assert!(!explained.contains('!'), "{explained}");

    let third = client.consumer(ConsumerConfig::new().group(GroupConfig::new(GROUP))).unwrap();
    let mut third = third;
    third.subscribe(["t", "missing"]).unwrap();
    until("both are in", || {
        let _ = (first.poll(Duration::from_millis(20)), third.poll(Duration::from_millis(20)));
        let described = client.admin().describe_group(GROUP).wait().unwrap();
        described.state == "Stable" && described.members.len() == 2
    });
    let explained = text(&terminal.done(&["group", "explain", GROUP]));
    assert!(explained.contains("! members want topic \"missing\", and there is none"), "{explained}");
    drop((first, third));
    until("they have left", || client.admin().describe_group(GROUP).wait().unwrap().members.is_empty());
    terminal.done(&["group", "reset", GROUP, "--to", "earliest", "--yes"]);
    assert_eq!(offsets(&terminal), [(0, 0), (1, 0)]);
}

#[test]
fn what_was_replaced_survives_the_death_of_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let connect = |daemon: &Daemon| Client::connect(ClientConfig::new(daemon.address())).unwrap();
    fill(&connect(&daemon));
    let places = || [0, 1].map(|partition| TopicPartition::new("t", partition));
    let admin = connect(&daemon).admin();
    for offset in [3, 9] {
        let to = places().map(|place| (place, ResetTo::Offset(Offset::new(offset))));
        admin.reset_group(GROUP, "me", to, false).wait().unwrap();
    }
    for expected in [Some(3), None] {
        signal(&daemon.pid().to_string(), "KILL");
        daemon = daemon.restart_after_death();
        let admin = connect(&daemon).admin();
        let mut undone = admin.undo_group(GROUP, false).wait();
        until("the groups are loaded", || {
            if undone.as_ref().is_err_and(CallError::is_retriable) {
                undone = admin.undo_group(GROUP, false).wait();
            }
            undone.is_ok()
        });
        let described = admin.describe_group(GROUP).wait();
        match expected {
            Some(offset) => {
                let offsets = described.unwrap().offsets;
                let committed: Vec<_> =
                    offsets.iter().filter_map(|one| Some(one.committed.as_ref()?.offset.get())).collect();
                assert_eq!(committed, [offset, offset]);
            }
            None => assert_eq!(described.unwrap_err().code(), Some(ErrorCode::UNKNOWN_GROUP)),
        }
    }
    daemon.stop();
}
