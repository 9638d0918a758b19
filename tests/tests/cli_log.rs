//! `folio log`, as a person and a script use it: what stands in a data directory, what is damaged, and what mends it.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::process::{Command, Stdio};

use folio_tests::daemon::Daemon;
use folio_tests::terminal::text;

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/access.log");

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden/v1");

#[test]
fn a_data_directory_is_told_without_a_broker() {
    let folio = |arguments: &[&str]| {
        let output = Command::new(folio_tests::binary("folio")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let dump = folio(&["log", "dump", GOLDEN, "--partition", "plain-0", "--records", "--output", "json"]);
    let items: Vec<serde_json::Value> =
        dump.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offsets = items.iter().filter(|item| item["item"] == "record").map(|item| item["offset"].as_u64());
    assert!(offsets.eq((0..items.iter().filter(|item| item["item"] == "record").count() as u64).map(Some)));
    let all = folio(&["log", "dump", GOLDEN, "--output", "json"]);
    let says = |line: &str| {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        item["item"] == "metadata" && item["about"] == "topic" && item["name"] == "plain"
    };
    assert!(all.lines().any(says), "the metadata log is told field by field");
    assert!(folio(&["log", "dump", GOLDEN]).lines().any(|line| line.starts_with("batch ")));
}

#[test]
fn damage_is_found_named_and_mended_and_a_directory_that_a_daemon_has_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let folio = |arguments: &[&str]| {
        Command::new(folio_tests::binary("folio")).args(arguments).arg(&data).output().unwrap()
    };
    let daemon = Daemon::on(dir.path(), &[]);
    let address = daemon.address().to_owned();
    let mut produce = Command::new(folio_tests::binary("folio"));
    produce.args(["--broker", &address, "produce", "t", "--create", "-p", "0", LOG]);
    let produced = produce.output().unwrap();
    assert!(produced.status.success(), "{}", text(&produced.stderr));

    let holder = format!("is in use by process {}", daemon.pid());
    let refused = folio(&["log", "verify"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(&holder), "{}", text(&refused.stderr));
    for arguments in [&["log", "repair", "--yes"][..], &["log", "repair", "--metadata"], &["log", "repair"]] {
        let refused = folio(arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(text(&refused.stderr).contains(&holder), "{arguments:?}: {}", text(&refused.stderr));
    }
    // Also while it is written to there is nothing broken in it.
    let mut append = Command::new(folio_tests::binary("folio"));
    append.args(["--broker", &address, "produce", "other", "--create", LOG]).stderr(Stdio::null());
    let mut appending = append.spawn().unwrap();
    for _ in 0..5 {
        let shown = folio(&["log", "dump"]);
        assert!(text(&shown.stderr).contains(&holder), "{}", text(&shown.stderr));
        assert!(shown.status.success(), "{}", text(&shown.stderr));
        assert!(text(&shown.stdout).contains("batch "));
    }
    assert!(appending.wait().unwrap().success());
    assert_eq!(daemon.stop().code(), Some(0));

    let clean = folio(&["log", "verify"]);
    assert_eq!((clean.status.code(), text(&clean.stdout)), (Some(0), String::new()));
    assert!(text(&clean.stderr).contains("no damage"), "{}", text(&clean.stderr));
    let log = data.join("topics/t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&log, &bytes).unwrap();
    let damaged = folio(&["log", "verify", "--output", "json"]);
    assert_eq!(damaged.status.code(), Some(1));
    let lines = text(&damaged.stdout);
    let finding: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&finding["item"], &finding["severity"]), (&"finding".into(), &"damage".into()));
    let first = finding["offsets"]["from"].as_u64().unwrap();
    let position = finding["position"].as_u64().unwrap();
    assert!(first > 0 && position > 0 && position <= middle as u64, "{finding}");
    assert_eq!(finding["file"], "topics/t-0/00000000000000000000.log");
    let summary: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["item"], &summary["damage"]), (&"summary".into(), &1.into()), "{summary}");

    // What would go is shown, and nothing goes.
    let shown = folio(&["log", "repair", "--partition", "t-0"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(
        text(&shown.stdout).contains(&format!("gives up offsets {first} to 9999")),
        "{}",
        text(&shown.stdout)
    );
    assert!(text(&shown.stderr).contains("nothing was changed: this is what it takes; --yes does it"));
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
    let done = folio(&["log", "repair", "--partition", "t-0", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(folio(&["log", "verify"]).status.code(), Some(0));

    // What stands before the damage is served again.
    let daemon = Daemon::on(dir.path(), &[]);
    let mut consume = Command::new(folio_tests::binary("folio"));
    consume.args(["--broker", daemon.address(), "consume", "t", "-p", "0", "--until", "end"]);
    let consumed = consume.output().unwrap().stdout;
    assert_eq!(consumed.iter().filter(|byte| **byte == b'\n').count() as u64, first);
    assert!(std::fs::read(LOG).unwrap().starts_with(&consumed));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn damage_ends_with_1_also_when_nobody_reads_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(Command::new("cp").args(["-r", GOLDEN]).arg(&data).status().unwrap().success());
    let folio = |arguments: &[&str]| {
        let mut folio = Command::new(folio_tests::binary("folio"));
        let folio = folio.args(arguments).arg(&data).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut folio = folio.spawn().unwrap();
        drop(folio.stdout.take());
        let output = folio.wait_with_output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(folio(&["log", "verify", "--output", "json"]).0, Some(0));
    let log = data.join("topics/plain-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[70] ^= 4;
    std::fs::write(&log, &bytes).unwrap();
    for output in ["text", "json"] {
        for (verb, end) in [("verify", "damage"), ("repair", "nothing was changed")] {
            let (code, said) = folio(&["log", verb, "--output", output]);
            assert_eq!(code, Some(1), "{verb} {output}: {said}");
            assert!(said.contains(end), "{verb} {output}: {said}");
        }
    }
}
