//! The command line, as a person and a script use it, against a broker in this process.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::io::Write;
use std::process::{Command, Stdio};

use folio_tests::daemon::Daemon;
use folio_tests::strace::Strace;
use folio_tests::terminal::{Terminal, text};

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/access.log");

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden/v1");

#[test]
fn a_file_goes_in_and_comes_out_byte_for_byte() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "access", "-p", "3"]);
    let log = std::fs::read(LOG).unwrap();
    let fed = terminal.feed(&["produce", "access", "-p", "0"], &log);
    assert!(fed.status.success() && fed.stdout.is_empty());
    assert!(text(&fed.stderr).starts_with("10000 records, "), "{}", text(&fed.stderr));
    let out = terminal.done(&["consume", "access", "-p", "0", "--from", "earliest", "--until", "end"]);
    assert!(out == log);
    // The files of the command line are read as standard input is.
    terminal.done(&["produce", "access", "-p", "1", LOG]);
    assert!(terminal.done(&["consume", "access", "-p", "1", "--until", "end"]) == log);
}

#[test]
fn every_codec_and_level_goes_in_and_comes_out_byte_for_byte_and_the_dump_names_it() {
    let terminal = Terminal::new();
    let log = std::fs::read(LOG).unwrap();
    let data = terminal.rig().dir().join("data");
    let data = data.to_str().unwrap();
    let end = log.iter().take(300_000).rposition(|byte| *byte == b'\n').unwrap();
    let (log, file) = (&log[..=end], terminal.rig().dir().join("lines"));
    std::fs::write(&file, log).unwrap();
    let file = file.to_str().unwrap();
    for codec in ["gzip", "gzip:1", "snappy", "lz4", "lz4:17", "zstd", "zstd:-5"] {
        let topic = codec.replace(':', ".");
        terminal.done(&["topic", "create", &topic]);
        terminal.done(&["produce", &topic, "--compression", codec, file]);
        assert!(terminal.done(&["consume", &topic, "--until", "end"]) == log, "{codec}");
        let partition = format!("{topic}-0");
        let dump = text(&terminal.done(&["log", "dump", data, "--partition", &partition]));
        let batch = format!(" compression={} ", codec.split(':').next().unwrap());
        let batches: Vec<_> = dump.lines().filter(|line| line.starts_with("batch ")).collect();
        assert!(!batches.is_empty() && batches.iter().all(|line| line.contains(&batch)), "{dump}");
    }
    for (codec, why) in [
        ("bzip2", "there is no such codec: none, gzip, snappy, lz4 and zstd are"),
        ("gzip:10", "gzip compression has no level 10, only 1 to 9"),
        ("snappy:1", "snappy compression has no levels"),
        ("zstd:fast", "a level is a whole number"),
    ] {
        let refused = terminal.run(&["produce", "t", "--compression", codec, file]);
        assert_eq!(refused.status.code(), Some(2), "{codec}");
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
}

#[test]
fn a_large_input_comes_out_byte_for_byte_through_many_segments() {
    let terminal = Terminal::new();
    terminal.done(&[
        "topic",
        "create",
        "t",
        "--config",
        "segment.bytes=4194304",
        "--config",
        "durability=os",
    ]);
    let log = std::fs::read(LOG).unwrap();
    let input = log.repeat((64 << 20) / log.len() + 1);
    let fed = terminal.feed(&["produce", "t"], &input);
    assert!(fed.status.success(), "{}", text(&fed.stderr));
    assert!(terminal.done(&["consume", "t", "--until", "end"]) == input);
}

#[test]
fn keys_headers_and_formats_come_out_as_they_went_in() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let produce = ["produce", "t", "--key-separator", ":", "--header", "h=1", "--header", "h=2"];
    assert!(terminal.feed(&produce, b"k:v\nplain\n:empty key\n").status.success());
    let format = "%t %p %o [%k] %K [%s] %S %h\\n";
    let out = terminal.done(&["consume", "t", "--until", "end", "--format", format]);
    let expected =
        "t 0 0 [k] 1 [v] 1 h=1,h=2\nt 0 1 [] -1 [plain] 5 h=1,h=2\nt 0 2 [] 0 [empty key] 9 h=1,h=2\n";
    assert_eq!(text(&out), expected);
    let out = terminal.done(&["consume", "t", "--until", "end", "--output", "json"]);
    let lines: Vec<serde_json::Value> =
        text(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["key"], &lines[1]["key"]), (&"k".into(), &serde_json::Value::Null));
    assert_eq!(lines[0]["headers"][1]["value"], "2");
}

#[test]
fn consuming_begins_and_stops_where_it_is_told() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    assert!(terminal.feed(&["produce", "t"], b"a\nb\nc\nd\ne").status.success());
    for (arguments, expected) in [
        (&["--until", "end"][..], "a\nb\nc\nd\ne\n"),
        (&["--from", "-2", "--until", "end"], "d\ne\n"),
        (&["--from", "-9", "--until", "end"], "a\nb\nc\nd\ne\n"),
        (&["--from", "1", "--until", "3"], "b\nc\n"),
        (&["--from", "latest", "--until", "end"], ""),
        (&["--from", "@0", "--count", "2"], "a\nb\n"),
        (&["--from", "@2100-01-01", "--until", "end"], ""),
        (&["--until", "@1970-01-02"], ""),
        (&["--count", "0"], ""),
    ] {
        let out = terminal.done(&[&["consume", "t"], arguments].concat());
        assert_eq!(text(&out), expected, "{arguments:?}");
    }
}

#[test]
fn topics_are_listed_described_and_deleted_for_people_and_for_programs() {
    let terminal = Terminal::new();
    assert!(terminal.done(&["topic", "list"]).is_empty(), "an empty broker prints nothing");
    terminal.done(&["topic", "create", "b", "-p", "2", "--config", "retention.ms=1000"]);
    terminal.done(&["topic", "create", "a"]);
    let list = text(&terminal.done(&["topic", "list"]));
    assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["TOPIC", "PARTITIONS", "a", "1", "b", "2"]);
    let described = text(&terminal.done(&["topic", "describe", "b", "--output", "json"]));
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["partitions"].as_array().unwrap().len(), 2);
    let settings = described["settings"].as_array().unwrap();
    let retention = settings.iter().find(|setting| setting["key"] == "retention.ms").unwrap();
    assert_eq!((&retention["value"], &retention["is_own"]), (&"1000".into(), &true.into()));
    terminal.done(&["topic", "delete", "b"]);
    assert_eq!(terminal.run(&["topic", "describe", "b"]).status.code(), Some(4));
    let status: serde_json::Value =
        serde_json::from_slice(&terminal.done(&["status", "--output", "json"])).unwrap();
    assert_eq!((&status["topics"], &status["partitions"]), (&1.into(), &1.into()));
}

#[test]
fn mistakes_end_with_their_code_and_say_what_to_do() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    for (arguments, code, says) in [
        (&["consume", "nosuch"][..], 4, "`folio topic create nosuch` makes it"),
        (&["produce", "nosuch"], 4, "`folio topic create nosuch` makes it"),
        (&["topic", "delete", "nosuch"], 4, "there is no topic \"nosuch\""),
        (&["consume", "t", "-p", "7"], 4, "topic \"t\" has no partition 7"),
        (&["produce", "t", "-p", "7"], 4, "topic \"t\" has no partition 7"),
        (&["topic", "create", "t"], 1, "exists"),
        (&["topic", "create", "a/b"], 1, "Topic name is invalid: 'a/b'"),
        (&["topic", "create", "x", "--config", "retention.mss=1"], 1, "did you mean retention.ms?"),
        (&["topic", "create", "x", "-p", "0"], 2, "0 is not in 1.."),
        (&["produce", "t", "/nowhere"], 1, "cannot read /nowhere"),
        (&["produce", "t", "--partitoin", "1"], 2, "--partition"),
        (&["consume", "t", "--from", "yesterday"], 2, "expected earliest, latest, an offset, -N or @TIME"),
        (&["consume", "t", "--from", "5", "--until", "end", "--format", "%x"], 2, "%x means nothing"),
        (&["--broker", "127.0.0.1:1", "topic", "list"], 3, "is foliod running there?"),
        (&["consume", "t", "--from", "5"], 1, "offset 5 is out of range"),
        (&["consume", "t", "--from", "5", "--until", "end"], 1, "offset 5 is out of range"),
        (&["log", "dump", "/nowhere"], 1, "cannot read /nowhere"),
        (&["log", "dump", GOLDEN, "--partition", "plain-7"], 4, "has no partition plain-7"),
        (&["log", "verify", "/nowhere"], 1, "cannot read /nowhere"),
        (&["log", "verify", "/usr"], 1, "/usr is no data directory"),
        (&["log", "verify", GOLDEN, "--partition", "plain-7"], 4, "has no partition plain-7"),
        (&["log", "repair", "/usr"], 1, "/usr is no data directory"),
        (&["log", "repair", GOLDEN, "--accept-loss-from", "5"], 2, "--partition"),
    ] {
        let output = terminal.run(arguments);
        let (code_got, said) = (output.status.code(), text(&output.stderr));
        assert!(code_got == Some(code) && said.contains(says), "{arguments:?}: {code_got:?} {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_line_that_is_too_long_is_named_and_what_stands_before_it_is_stored() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let mut input = b"first\n".to_vec();
    input.resize(input.len() + 1_100_000, b'x');
    input.extend_from_slice(b"\nnever\n");
    let output = terminal.feed(&["produce", "t"], &input);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("line 2: longer than"), "{}", text(&output.stderr));
    assert_eq!(text(&terminal.done(&["consume", "t", "--until", "end"])), "first\n");
}

#[test]
fn a_line_that_cannot_be_sent_is_found_in_its_file() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t", "--config", "max.message.bytes=1000"]);
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    std::fs::write(&one, "a\nb").unwrap();
    std::fs::write(&two, format!("c\n{}\nd\n", "x".repeat(1000))).unwrap();
    let output = terminal.run(&["produce", "t", one.to_str().unwrap(), two.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("{}, line 2: longer than", two.display())), "{said}");
    assert!(said.starts_with("3 records, 3 B to t "), "{said}");
    assert_eq!(text(&terminal.done(&["consume", "t", "--until", "end"])), "a\nb\nc\n");
}

#[test]
fn a_topic_that_takes_large_records_gets_large_lines() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t", "--config", "max.message.bytes=8000000"]);
    let line = [vec![b'x'; 7_999_000], b"\n".to_vec()].concat();
    let produced = terminal.feed(&["produce", "t"], &line);
    assert!(produced.status.success(), "{}", text(&produced.stderr));
    assert!(terminal.done(&["consume", "t", "--until", "end"]) == line);
}

#[test]
fn a_missing_topic_is_made_on_demand_with_the_partition_that_is_asked_for() {
    let terminal = Terminal::new();
    let produced = terminal.feed(&["produce", "t", "--create", "-p", "2", "--output", "json"], b"a\n");
    let summary: serde_json::Value = serde_json::from_slice(&produced.stdout).unwrap();
    assert_eq!((&summary["records"], &summary["bytes"]), (&1.into(), &1.into()));
    assert_eq!(text(&terminal.done(&["consume", "t", "--until", "end", "--format", "%p %s"])), "2 a");
    // It is there now, and stays as it is.
    assert!(terminal.feed(&["produce", "t", "--create", "-p", "1"], b"b\n").status.success());
    assert_eq!(terminal.feed(&["produce", "t", "--create", "-p", "3"], b"c\n").status.code(), Some(4));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    terminal.done(&["produce", "t", LOG]);
    terminal.done(&["topic", "create", "short"]);
    assert!(terminal.feed(&["produce", "short"], b"a\n").status.success());
    // Of the second one nothing more comes that a write could fail with.
    for topic in ["t", "short"] {
        let output = terminal.shell(&format!("folio consume {topic} | head -1; echo ${{PIPESTATUS[0]}}"));
        let lines = text(&output.stdout);
        assert!(lines.ends_with("\n0\n") && output.stderr.is_empty(), "{lines}{}", text(&output.stderr));
    }
}

#[test]
fn nobody_to_tell_things_to_changes_nothing_about_the_work() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    let output = terminal.shell(
        "echo a | folio produce t 2> /dev/full; echo $?; folio consume nosuch 2> /dev/full; echo $?
         folio topic list > /dev/full; echo $?",
    );
    assert_eq!(text(&output.stdout), "0\n4\n1\n");
    assert!(text(&output.stderr).contains("cannot write: No space left on device"));
}

#[test]
fn an_interrupted_consumer_ends_with_130_and_has_printed_what_came() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    assert!(terminal.feed(&["produce", "t"], b"a\n").status.success());
    let output = terminal.shell(
        "folio consume t > out & until grep -q a out; do sleep 0.02; done; kill -INT -$!; wait $!; echo $?; cat out",
    );
    assert_eq!(text(&output.stdout), "130\na\n", "{}", text(&output.stderr));
}

#[test]
fn who_follows_is_pushed_what_comes_and_who_stops_somewhere_fetches() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    assert!(terminal.feed(&["produce", "t"], b"a\nb\n").status.success());
    let output = terminal.shell(
        "subscriptions() { folio status --output json | grep -o '\"subscriptions\":[0-9]*'; }
         folio consume t --follow --from -1 > out & until grep -q b out; do sleep 0.02; done; subscriptions
         echo c | folio produce t 2> said; until grep -q c out; do sleep 0.02; done
         kill -INT -$!; wait $!; echo $?; cat out
         until subscriptions | grep -q ':0'; do sleep 0.02; done
         folio consume t --from -1 --count 2 > two & until grep -q c two; do sleep 0.02; done; subscriptions
         folio produce t 2> said <<< d; wait $!; cat two",
    );
    let zero_and_one = ["\"subscriptions\":1", "130", "b", "c", "\"subscriptions\":0", "c", "d"];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), zero_and_one, "{}", text(&output.stderr));
}

#[test]
fn an_interrupted_producer_ends_with_130_and_what_it_says_is_stored_is_stored() {
    let terminal = Terminal::new();
    terminal.done(&["topic", "create", "t"]);
    // The input stays open: it is the interruption that ends the program.
    let output = terminal.shell(
        "mkfifo pipe; folio produce t < pipe 2> said & exec 3> pipe; seq 100000 >&3
         until folio consume t --until end | grep -q .; do sleep 0.02; done
         kill -INT -$!; wait $!; echo $?; cut -d' ' -f1 said; folio consume t --until end | wc -l",
    );
    let lines = text(&output.stdout);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?} {}", text(&output.stderr));
    assert!(lines[0] == "130" && lines[1] == lines[2] && lines[1] != "0", "{lines:?}");
}

#[test]
fn whoever_listens_and_is_no_broker_counts_as_no_broker() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let mut folio = Command::new(folio_tests::binary("folio"));
    let output = folio.args(["status", "--broker", &address]).output().unwrap();
    server.join().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(3) && said.contains("does not speak Folio's protocol"), "{said}");
}

#[test]
fn whoever_closes_at_the_first_bytes_is_told_from_nobody_and_may_be_kafka() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        // As Kafka's brokers do: the first four bytes are a size that cannot be.
        std::io::Read::read_exact(&mut peer, &mut [0; 4]).unwrap();
    });
    let mut folio = Command::new(folio_tests::binary("folio"));
    let output = folio.args(["status", "--broker", &address]).output().unwrap();
    server.join().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.code() == Some(3) && said.contains("a Kafka broker takes Kafka's own tools"),
        "{said}"
    );
}

#[test]
fn a_producer_that_is_refused_for_the_moment_says_why_and_goes_on_trying() {
    let terminal = Terminal::with(&[("disk.min.free", "9000000000000000000")]);
    terminal.done(&["topic", "create", "t"]);
    let output = terminal.shell(
        "folio produce t <<< x 2> said &
         until grep -qs 'still trying' said; do sleep 0.02; done; kill -KILL -$!; cat said",
    );
    let said = text(&output.stdout);
    assert!(said.contains("nothing was stored for 5 s: disk full on "), "{said}");
    assert!(said.contains(" bytes free, need ") && said.contains("with 1 record on the way"), "{said}");
}

#[test]
fn a_broker_whose_disk_has_failed_is_told_from_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::on(dir.path(), &[]);
    let folio = || {
        let mut command = Command::new(folio_tests::binary("folio"));
        command.env("FOLIO_BROKER", daemon.address());
        command
    };
    assert!(folio().args(["topic", "create", "t"]).status().unwrap().success());
    let mut command = folio();
    command.args(["produce", "t"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut produce = command.spawn().unwrap();
    let mut gone = folio();
    gone.args(["topic", "list"]);

    let strace = Strace::attach(daemon.pid(), "inject=fdatasync,fsync,syncfs:error=EIO");
    produce.stdin.take().unwrap().write_all(b"a\n").unwrap();
    let output = produce.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(70) && said.contains("line 1: "), "{:?} {said}", output.status);
    assert!(said.starts_with("0 records, 0 B to t "), "{said}");

    assert_eq!(daemon.wait().code(), Some(70));
    drop(strace);
    assert_eq!(gone.output().unwrap().status.code(), Some(3));
}

#[test]
fn shells_are_given_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::new(folio_tests::binary("folio")).args(["completion", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("key-separator"), "{shell}");
    }
}

#[test]
fn every_bench_measures_something_and_cleans_up() {
    let terminal = Terminal::new();
    for bench in ["produce", "consume", "latency"] {
        let out = terminal.done(&["bench", bench, "--records", "2000", "--size", "100", "--output", "json"]);
        let measured: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(measured["records"].as_u64() >= Some(2000), "{measured}");
        assert!(measured["latency_us"]["max"].as_f64() > Some(0.0), "{measured}");
    }
    assert!(terminal.done(&["topic", "list"]).is_empty());
}
