//! The README's first minute, as it stands there, and the client crate's examples.

#![allow(clippy::unwrap_used, reason = "the helpers of these claims are tests too")]

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::Duration;

use folio_tests::daemon::Daemon;
use folio_tests::{binary, example, root};

/// The first command builds before it runs.
const BUILD_LIMIT: Duration = Duration::from_secs(900);
const START_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_commands_of_the_first_minute_do_what_the_readme_says() {
    let blocks = blocks_of("A minute");
    let (daemon, rest): (Vec<&String>, Vec<&String>) =
        blocks.iter().partition(|block| block.contains("--bin foliod"));
    let [daemon] = daemon[..] else { panic!("one block starts the daemon: {blocks:?}") };
    // What runs the tests is left out, or this would run itself.
    let rest: Vec<&&String> = rest.iter().filter(|block| !block.starts_with("tests/run")).collect();
    let [commands] = rest[..] else { panic!("one block is for the other terminal: {rest:?}") };

    let data = tempfile::tempdir().unwrap();
    let mut shell = shell(daemon);
    shell.env("FOLIOD_LISTEN", "127.0.0.1:0").env("FOLIOD_DATA_DIR", data.path().join("data"));
    let daemon = Daemon::start(&mut shell, BUILD_LIMIT);
    assert!(daemon.start_line().contains("new directory"), "{}", daemon.start_line());

    let output = self::shell(commands).env("FOLIO_BROKER", daemon.address()).output().unwrap();
    assert!(output.status.success(), "{commands}\n{}", said(&output));
    // Git ignores it, where the README's commands leave it.
    let out = std::fs::read(root().join("out.log")).unwrap();
    assert!(
        out == std::fs::read(root().join("tests/data/access.log")).unwrap(),
        "what comes out is what went in"
    );
    std::fs::remove_file(root().join("out.log")).unwrap();
    assert!(daemon.stop().success());
}

#[test]
fn the_commands_about_groups_let_a_third_take_over() {
    let [commands] = &blocks_of("Groups")[..] else { panic!("one block is about groups") };
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::on(dir.path(), &[]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let built = binary("folio").parent().unwrap().to_owned();
    let paths = std::env::join_paths(std::iter::once(built).chain(std::env::split_paths(&path))).unwrap();
    let run = |commands: &str| {
        // It takes some ten seconds; a loaded machine may take twelve times as long.
        let mut shell = Command::new("timeout");
        shell.args(["120", "bash", "-euo", "pipefail", "-c", commands]).current_dir(dir.path());
        let output = shell.env("PATH", &paths).env("FOLIO_BROKER", daemon.address()).output().unwrap();
        assert!(output.status.success(), "{commands}\n{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let (first_killed, third) = (commands.find("kill %1").unwrap(), commands.find("> three.log").unwrap());
    assert!(first_killed < third, "the third comes when the first has gone: {commands}");
    run(commands);

    let mut printed = String::new();
    for log in ["one.log", "two.log", "three.log"] {
        let part = std::fs::read_to_string(dir.path().join(log)).unwrap();
        assert!(part.lines().all(|line| line.starts_with("click ")) && !part.is_empty(), "{log}");
        printed.push_str(&part);
    }
    // The last two were killed while clicks came: whoever comes next goes on behind what they printed.
    let described: serde_json::Value =
        serde_json::from_str(&run("folio group describe readers --output json")).unwrap();
    let left: u64 =
        described["offsets"].as_array().unwrap().iter().map(|one| one["lag"].as_u64().unwrap()).sum();
    if left > 0 {
        printed.push_str(&run(&format!("folio consume clicks --group readers --count {left}")));
    }
    let (printed, clicks) = (counted(&printed), counted(&run("folio consume clicks --until end")));
    assert!(!clicks.is_empty());
    for (click, times) in clicks {
        let seen = printed.get(click.as_str()).copied().unwrap_or_default();
        assert!(seen >= times, "{click} was sent {times} times and printed {seen} times");
    }
    assert!(daemon.stop().success());
}

/// How often each line is there.
fn counted(lines: &str) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for line in lines.lines() {
        *counted.entry(line.to_owned()).or_default() += 1;
    }
    counted
}

#[test]
fn the_examples_of_the_client_run_against_a_daemon() {
    let data = tempfile::tempdir().unwrap();
    let mut foliod = Command::new(binary("foliod"));
    foliod.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path().join("data"));
    let daemon = Daemon::start(&mut foliod, START_LIMIT);
    for (name, says) in [
        ("produce", &["example-"][..]),
        ("consume", &["value 0", "value 9"]),
        ("group", &["3 partitions more, 3 in all", "value 0", "value 9", "3 partitions fewer"]),
        ("async", &["example-async-0", "hello"]),
        ("admin", &["example-async-0 holds 0 to 1", "example-2 holds 0 to "]),
    ] {
        let output = Command::new(example(name)).env("FOLIO_BROKER", daemon.address()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", said(&output));
        for words in says {
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains(words), "{name} says {words:?}: {printed}");
        }
    }
    let listed = std::fs::read_dir(root().join("client/examples")).unwrap().count();
    assert_eq!(listed, 5, "an example that no test runs");
    assert!(daemon.stop().success());
}

#[test]
fn the_clients_of_the_readme_are_those_that_the_tests_install() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let pins = [
        "python/requirements.txt",
        "node/package.json",
        "java/kafka-4.4.xml",
        "java/kafka-3.9.xml",
        "go/go.mod",
        "rust/Cargo.toml",
    ];
    let mut pinned: String = pins.iter().map(|pin| read(&format!("tests/clients/{pin}"))).collect();
    // kcat is Debian's, which nobody pins.
    pinned += "1.7.1";
    let detailed = read("tests/clients/README.md");
    let readme = read("README.md");
    let table = readme.split("| client | version |").nth(1).expect("a table of clients");
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for version in cells[2].split(", ") {
            assert!(pinned.contains(version), "{} {version} is what the tests install", cells[1]);
            assert!(detailed.contains(version), "{} {version} stands in tests/clients/README.md", cells[1]);
        }
        rows += 1;
    }
    assert_eq!(rows, 10);
}

/// The `sh` blocks of one section of the README.
fn blocks_of(section: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let heading = format!("## {section}\n");
    let (_, rest) = readme.split_once(&heading).unwrap_or_else(|| panic!("the README has no {heading:?}"));
    let section = rest.split("\n## ").next().unwrap();
    let fenced = section.split("```sh\n").skip(1);
    fenced.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// A shell at the top of the repository, which stops at the first command that fails.
fn shell(commands: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", commands]).current_dir(root());
    // Where the build puts its programs is the README's `target/`, unless whoever runs the tests has moved it.
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let built = root().join(target).join("release");
        let paths = std::iter::once(built).chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(paths).unwrap());
    }
    shell
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
