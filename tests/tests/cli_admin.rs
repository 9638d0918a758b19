//! What the command line does for whoever runs a broker: topics changed, settings told and set, records deleted.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use folio_tests::kafka::KafkaPeer;
use folio_tests::kafka::groups::stored;
use folio_tests::terminal::{Terminal, text};

#[test]
fn a_topic_is_changed_and_told_with_its_offsets_and_what_it_sets_itself() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t", "--config", "segment.ms=5000"]);
    assert!(terminal.feed(&["produce", "t"], b"a\nb\n").status.success());
    let altered = terminal.run(&[
        "topic",
        "alter",
        "t",
        "-p",
        "3",
        "--config",
        "retention.ms=77000000",
        "--config",
        "preallocate=true",
        "--delete-config",
        "segment.ms",
    ]);
    assert!(altered.status.success(), "{}", text(&altered.stderr));
    assert!(
        text(&altered.stderr).contains("preallocate is kept and does nothing: "),
        "{}",
        text(&altered.stderr)
    );
    let described: serde_json::Value =
        serde_json::from_slice(&terminal.done(&["topic", "describe", "t", "--output", "json"])).unwrap();
    let partitions = described["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    let first = &partitions[0];
    assert_eq!(
        (&first["leader"], &first["replicas"], &first["isr"]),
        (&1.into(), &vec![1].into(), &vec![1].into())
    );
    for (name, offset) in [("log_start", 0), ("durable", 2), ("high_watermark", 2), ("log_end", 2)] {
        assert_eq!(first[name], offset, "{name}");
    }
    let settings = described["settings"].as_array().unwrap();
    let setting = |name: &str| settings.iter().find(|one| one["key"] == name).unwrap();
    assert_eq!(
        (&setting("retention.ms")["value"], &setting("retention.ms")["source"]),
        (&"77000000".into(), &"topic".into())
    );
    assert_eq!(setting("segment.ms")["is_own"], false);
    let told = text(&terminal.done(&["topic", "describe", "t"]));
    for part in ["3 partitions, 1 replica each", "HIGH WATERMARK", "ISR", "retention.ms", "does nothing: "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("cleanup.policy"), "{told}");
    // Nothing is changed when one thing is refused.
    let both = ["topic", "alter", "t", "-p", "5", "--config", "retention.ms=soon"];
    let refused = terminal.run(&both);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("Not a number of type LONG"), "{}", text(&refused.stderr));
    let few = ["topic", "alter", "t", "-p", "2", "--config", "retention.ms=5"];
    assert_eq!(terminal.run(&few).status.code(), Some(1));
    assert_eq!(text(&terminal.done(&["config", "get", "retention.ms", "--topic", "t"])), "77000000\n");
}

#[test]
fn settings_are_listed_got_set_and_unset_of_topics_and_of_the_broker() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let get = |arguments: &[&str]| text(&terminal.done(&[&["config", "get"], arguments].concat()));
    let of_topic = ["retention.ms", "--topic", "t"];
    assert_eq!(get(&of_topic), "604800000\n");
    terminal.done(&["config", "set", "topic.retention.ms=9000"]);
    assert_eq!((get(&of_topic), get(&["log.retention.ms"])), ("9000\n".to_owned(), "9000\n".to_owned()));
    terminal.done(&["config", "set", "log.retention.ms=8000", "--all-brokers"]);
    assert_eq!(get(&of_topic), "9000\n");
    terminal.done(&["config", "unset", "topic.retention.ms"]);
    assert_eq!(get(&of_topic), "8000\n");
    terminal.done(&["config", "set", "retention.ms=7000", "segment.ms=6000", "-t", "t"]);
    let changed = text(&terminal.done(&["config", "list", "--topic", "t", "--changed"]));
    let words: Vec<&str> = changed.split_whitespace().collect();
    let expected = "SETTING VALUE FROM NOTE retention.ms 7000 topic segment.ms 6000 topic";
    assert_eq!(words.join(" "), expected);
    let listed = terminal.done(&["config", "list", "--topic", "t", "--output", "json"]);
    let lines: Vec<serde_json::Value> =
        text(&listed).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let retention = lines.iter().find(|line| line["key"] == "retention.ms").unwrap();
    assert_eq!(retention["synonyms"][1]["name"], "log.retention.ms");
    assert_eq!(retention["synonyms"][1]["source"], "all brokers");
    assert_eq!((&retention["kind"], retention["doc"].is_string()), (&"long".into(), true));
    terminal.done(&["config", "unset", "retention.ms", "segment.ms", "--topic", "t"]);
    assert_eq!(get(&of_topic), "8000\n");
    let set: serde_json::Value = serde_json::from_slice(&terminal.done(&[
        "config",
        "set",
        "flush.ms=5",
        "-t",
        "t",
        "--output",
        "json",
    ]))
    .unwrap();
    assert_eq!((&set["of"], &set["set"]["flush.ms"]), (&"topic t".into(), &"5".into()));
    for (arguments, code, says) in [
        (&["config", "get", "no.such"][..], 1, "the broker has no setting no.such"),
        (&["config", "get", "no.such", "-t", "t"], 1, "topic t has no setting no.such"),
        (&["config", "get", "retention.ms", "-t", "nosuch"], 4, "`folio topic create nosuch` makes it"),
        (&["config", "set", "retention.ms=5", "-t", "nosuch"], 4, "`folio topic create nosuch` makes it"),
        (&["config", "set", "retention.mss=5", "-t", "t"], 1, "did you mean retention.ms?"),
        (&["config", "set", "data.dir=/x"], 1, "Cannot update these configs dynamically: [data.dir]"),
        (&["config", "set", "a"], 2, "expected KEY=VALUE"),
        (&["config", "set"], 2, "KEY=VALUE"),
        (&["config", "list", "-t", "t", "--all-brokers"], 2, "cannot be used with"),
        (&["topic", "alter", "t"], 2, "nothing to change"),
        (&["topic", "alter", "nosuch", "-p", "3"], 4, "`folio topic create nosuch` makes it"),
        (&["records", "delete", "t", "--before", "end"], 2, "--partition"),
        (&["records", "delete", "t", "-p", "7", "--before", "end"], 4, "not 7"),
        (
            &["records", "delete", "nosuch", "-p", "0", "--before", "5"],
            4,
            "`folio topic create nosuch` makes it",
        ),
        (&["records", "delete", "t", "-p", "0", "--before", "5"], 1, "offset out of range"),
        (&["records", "delete", "t", "-p", "0", "--before", "soon"], 2, "expected end, an offset or @TIME"),
    ] {
        let output = terminal.run(arguments);
        let said = text(&output.stderr);
        assert!(
            output.status.code() == Some(code) && said.contains(says),
            "{arguments:?}: {:?} {said}",
            output.status
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn records_are_deleted_before_an_offset_a_time_or_the_end() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t", "-p", "2"]);
    assert!(terminal.feed(&["produce", "t", "-p", "0"], b"a\nb\nc\nd\n").status.success());
    let left = || text(&terminal.done(&["consume", "t", "-p", "0", "--until", "end"]));
    let delete = |partitions: &str, before: &str| {
        let arguments = ["records", "delete", "t", "-p", partitions, "--before", before, "--output", "json"];
        let out = text(&terminal.done(&arguments));
        let starts = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        starts.map(|line| line["log_start"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((delete("0", "1"), left()), (vec![1], "b\nc\nd\n".to_owned()));
    assert_eq!(delete("0", "@1970-01-02"), [1], "none is so old");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    assert!(terminal.feed(&["produce", "t", "-p", "0"], b"e\n").status.success());
    assert_eq!((delete("0", &format!("@{now}")), left()), (vec![4], "e\n".to_owned()));
    assert_eq!((delete("0,1", "end"), left()), (vec![5, 0], String::new()));
    assert_eq!(delete("0", "@2100-01-01"), [5]);
}

#[test]
fn topics_of_the_brokers_own_are_listed_for_who_asks_and_described_to_everybody() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let mut peer = KafkaPeer::connect(terminal.rig().address());
    assert_eq!(stored(&mut peer, "g", "t", &[0])[0].offset, -1);
    let listed = text(&terminal.done(&["topic", "list"]));
    assert!(listed.contains("t ") && !listed.contains("__consumer_offsets"), "{listed}");
    let listed = text(&terminal.done(&["topic", "list", "--internal"]));
    assert!(listed.contains("t ") && listed.contains("__consumer_offsets"), "{listed}");
    let described = text(&terminal.done(&["topic", "describe", "__consumer_offsets"]));
    assert!(described.contains("8 partitions"), "{described}");
    let refused = terminal.run(&["topic", "delete", "__consumer_offsets"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("internal topic"), "{}", text(&refused.stderr));
    assert!(!terminal.feed(&["produce", "__consumer_offsets"], b"a\n").status.success());
}
