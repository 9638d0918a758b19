//! The house: which room may import which, where unsafe code may live, and what stands at the top level.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Who may import whom. What is absent matters most: a crate below never learns of the one above.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("protocol/record", &[]),
    ("protocol/mapped", &[]),
    ("protocol/wire", &["folio-record", "folio-wire-derive"]),
    ("protocol/wire/derive", &[]),
    ("protocol/channel", &["folio-mapped"]),
    ("broker/storage", &["folio-record", "folio-mapped"]),
    ("client", &["folio-record", "folio-wire", "folio-channel"]),
    ("client/cli", &["folio-record", "folio-client", "folio-storage"]),
    ("broker", &["folio-record", "folio-wire", "folio-mapped", "folio-channel", "folio-storage"]),
    (
        "tests",
        &[
            "folio-record",
            "folio-wire",
            "folio-mapped",
            "folio-channel",
            "folio-storage",
            "folio-broker",
            "folio-client",
            "folio-cli",
        ],
    ),
];

/// The top level, besides dotfiles and what git ignores.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "broker",
    "client",
    "config",
    "protocol",
    "tests",
];

/// Built or written by running things; ignored by git.
const TOP_LEVEL_IGNORED: &[&str] = &["target", "folio-data"];

#[test]
fn rooms_import_only_what_the_table_allows() {
    let members = manifest("").get("workspace").and_then(|w| w.get("members")).cloned();
    let members: BTreeSet<String> = members
        .and_then(|m| m.as_array().cloned())
        .expect("the root manifest lists its members")
        .iter()
        .map(|m| m.as_str().expect("a member is a path").to_owned())
        .collect();
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    assert_eq!(
        members,
        table.keys().map(|&room| room.to_owned()).collect(),
        "every room stands in the table"
    );

    for (room, allowed) in table {
        let manifest = manifest(room);
        let imports = ["dependencies", "build-dependencies"]
            .iter()
            .filter_map(|section| manifest.get(*section).and_then(toml::Value::as_table))
            .flat_map(|section| section.keys())
            .filter(|name| name.starts_with("folio-"));
        for import in imports {
            assert!(allowed.contains(&import.as_str()), "{room} must not import {import}");
        }
    }
}

#[test]
fn unsafe_code_lives_in_the_mapped_island_alone() {
    for file in rust_files(&root()) {
        let inside = file.strip_prefix(root()).expect("a file of the house");
        if inside.starts_with("protocol/mapped") || inside.starts_with("tests/fuzz") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file is text");
        for (number, line) in text.lines().enumerate() {
            // The workspace denies unsafe code; only an attribute can lift that.
            let lifts = line.trim_start().starts_with('#') && line.contains("unsafe_code");
            assert!(!lifts, "{}:{}: {line}", inside.display(), number + 1);
        }
    }
}

#[test]
fn nothing_stands_at_the_top_level_that_is_not_agreed() {
    let found: BTreeSet<String> = fs::read_dir(root())
        .expect("the house can be listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL_IGNORED.contains(&name.as_str()))
        .collect();
    for name in found {
        assert!(TOP_LEVEL.contains(&name.as_str()), "{name} stands at the top level and is not agreed");
    }
}

#[test]
fn the_tests_that_need_a_tool_are_those_that_go_without_it() {
    let needs = fs::read_to_string(root().join("tests/needs")).expect("tests/needs is text");
    let tools = [
        ("strace cannot be installed", "Strace"),
        ("mounting a tmpfs needs root", "TinyDisk"),
        ("network namespaces need root and iproute2", "Networks"),
        ("mounts of their own need root, loop devices and ext4", "Isolated"),
        ("a disk that loses power needs FUSE", "CrashDisk"),
        ("libfaketime cannot be installed", "Faketime"),
        ("control groups that limit memory need root", "MemoryLimit"),
        ("xfsprogs cannot be installed, or the kernel has no XFS", "Xfs"),
        ("btrfs-progs cannot be installed, or the kernel has no btrfs", "Btrfs"),
    ];
    for (reason, tool) in tools {
        let (_, list) = needs.split_once(&format!("without \"{reason}\"")).expect(reason);
        let mut listed = BTreeSet::new();
        for line in list.lines() {
            let (names, goes_on) = line.strip_suffix('\\').map_or((line, false), |names| (names, true));
            listed.extend(names.split_whitespace().map(str::to_owned));
            if !goes_on {
                break;
            }
        }
        let needing: BTreeSet<String> = rust_files(&root().join("tests/tests"))
            .iter()
            .flat_map(|file| tests_that_need(&fs::read_to_string(file).expect("a source file is text"), tool))
            .collect();
        assert_eq!(listed, needing, "{reason}: what tests/needs leaves out, and what needs it");
    }
}

#[test]
fn the_page_of_claims_names_tests_that_are_there() {
    let page = fs::read_to_string(root().join("broker/storage/tests/README.md")).expect("the page is text");
    let tests: BTreeSet<String> = ["broker", "client", "protocol", "tests"]
        .iter()
        .flat_map(|room| rust_files(&root().join(room)))
        .flat_map(|file| tests_of(&fs::read_to_string(file).expect("a source file is text")))
        .collect();
    // What stands in backquotes is a test, unless it is something shorter, a path, or code.
    let is_name =
        |text: &&str| text.len() > 12 && text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 150, "{} names", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "no test has these names: {missing:#?}");
}

/// The names of all tests of a file, also of those that are made of a list: `"key" name`.
fn tests_of(source: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let (mut is_test, mut in_effects) = (false, false);
    for line in source.lines().map(str::trim) {
        is_test |= line == "#[test]";
        if let Some((name, _)) = line.strip_prefix("fn ").and_then(|head| head.split_once('(')) {
            if is_test {
                tests.insert(name.to_owned());
            }
            is_test = false;
        }
        in_effects = (in_effects || line == "effects! {") && line != "}";
        if let (true, [_, name]) = (in_effects, &line.split_whitespace().collect::<Vec<_>>()[..]) {
            tests.insert((*name).to_owned());
        }
    }
    tests
}

/// The tests of a file that use a tool, themselves or through its other functions.
fn tests_that_need(source: &str, tool: &str) -> BTreeSet<String> {
    // Functions at the left margin, with what stands before them and what stands in them.
    let mut functions: Vec<(&str, bool, String)> = Vec::new();
    let (mut attribute, mut inside, mut in_effects) = ("", false, false);
    let mut in_each = BTreeSet::new();
    for line in source.lines() {
        if let Some((name, _)) = line.strip_prefix("fn ").and_then(|head| head.split_once('(')) {
            functions.push((name, attribute == "#[test]", String::new()));
            inside = true;
        } else if let (true, Some((_, _, body))) = (inside, functions.last_mut()) {
            body.push_str(line);
            inside = line != "}";
        }
        // The tests of keys are made of a list: "key" name.
        in_effects = (in_effects || line == "effects! {") && line != "}";
        if let (true, [_, name]) = (in_effects, &line.split_whitespace().collect::<Vec<_>>()[..]) {
            in_each.insert(*name);
        }
        attribute = line;
    }
    let mut needing: BTreeSet<&str> = BTreeSet::new();
    loop {
        let more: Vec<&str> = functions
            .iter()
            .filter(|(_, _, body)| {
                let mut words = body.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                body.contains(&format!("{tool}::")) || words.any(|word| needing.contains(word))
            })
            .map(|(name, ..)| *name)
            .filter(|name| !needing.contains(name))
            .collect();
        if more.is_empty() {
            break;
        }
        needing.extend(more);
    }
    let tests = functions.iter().filter(|(name, is_test, _)| *is_test && needing.contains(name));
    let tests = tests.map(|(name, ..)| (*name).to_owned());
    tests.chain(in_each.intersection(&needing).map(|name| format!("each::{name}"))).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the house").to_owned()
}

fn manifest(room: &str) -> toml::Table {
    let path = root().join(room).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut files = Vec::new();
    for path in list(dir).expect("a directory of the house can be listed") {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files
}
