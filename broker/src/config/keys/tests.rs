//! What holds of every key, and what is said of values that are none.

use super::*;

#[test]
fn no_name_is_the_prefix_of_another() {
    let names: Vec<String> = names().collect();
    for name in &names {
        let table = format!("{name}.");
        assert!(!names.iter().any(|other| other.starts_with(&table)), "{name} is a value and a table");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '.'), "{name}");
    }
}

#[test]
fn every_default_reads_back_as_itself() {
    let defaults = Config::new("folio-data");
    for name in names() {
        let written = get(&defaults, &name).unwrap();
        let mut config = Config::new("elsewhere");
        assert_eq!(set(&mut config, &name, &written), Ok(()), "{name} = {written}");
        assert_eq!(get(&config, &name), Some(written), "{name}");
    }
}

#[test]
fn every_key_changes_what_it_names_and_nothing_else() {
    let other = |name: &str, was: &str| match (name, was) {
        ("listen", _) => "[::1]:9093,127.0.0.2:0".to_owned(),
        ("advertise", _) => "folio.example:9092,[::1]:9093".to_owned(),
        ("data.dir", _) => "/elsewhere".to_owned(),
        ("sigbus.handler", _) => "off".to_owned(),
        ("read.path", _) => "copy".to_owned(),
        ("topic.durability", _) => "os".to_owned(),
        ("topic.cleanup.policy", _) => "compact".to_owned(),
        ("topic.min.cleanable.dirty.ratio", _) => "0.25".to_owned(),
        ("topic.message.timestamp.type", _) => "LogAppendTime".to_owned(),
        ("topic.compression.type", _) => "zstd".to_owned(),
        (_, "false") => "true".to_owned(),
        (_, "true") => "false".to_owned(),
        (_, "-1") => "7".to_owned(),
        (_, number) => (number.parse::<u64>().unwrap() - 1).max(1).to_string(),
    };
    for name in names() {
        let defaults = Config::new("folio-data");
        let mut config = defaults.clone();
        // A value whose default is 1 has no smaller neighbour.
        let was = get(&defaults, &name).unwrap();
        let value = if was == "1" || was == "0" { "2".to_owned() } else { other(&name, &was) };
        set(&mut config, &name, &value).unwrap();
        for looked_at in names() {
            let expected = if looked_at == name { Some(value.clone()) } else { get(&defaults, &looked_at) };
            assert_eq!(get(&config, &looked_at), expected, "{looked_at} after {name} = {value}");
        }
    }
}

#[test]
fn bad_values_say_what_was_expected() {
    for (name, value, expected) in [
        ("listen", "localhost", "ADDRESS:PORT, more of them separated by commas, as 127.0.0.1:9092"),
        ("listen", "", "ADDRESS:PORT, more of them separated by commas, as 127.0.0.1:9092"),
        (
            "advertise",
            "0.0.0.0:9092",
            "HOST:PORT that clients can connect to, one for each address in listen, separated by commas",
        ),
        ("loop.threads", "0", "a whole number, 1 or more"),
        ("decompress.max.bytes", "134217729", "at most 134217728 bytes"),
        ("sigbus.handler", "true", "on or off"),
        ("read.path", "mmap", "map or copy"),
        ("topic.durability", "always", "fsync, interval or os"),
        ("topic.segment.bytes", "100", "a whole number from 4096 to 2147483647"),
        ("topic.retention.ms", "soon", "a whole number, -1 or more"),
        ("topic.retention.ms", "-2", "a whole number, -1 or more"),
        ("topic.cleanup.policy", "keep", "any of compact and delete, separated by commas"),
        ("data.dir", "", "a text that is not empty"),
        ("allow.incoherent.fs", "yes", "true or false"),
    ] {
        let refused = set(&mut Config::new("folio-data"), name, value);
        assert_eq!(refused, Err(SetError::Value { expected: expected.to_owned() }), "{name} = {value}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let refused = set(&mut Config::new("folio-data"), "topic.retention.mss", "1");
    assert_eq!(refused, Err(SetError::Unknown { nearest: "topic.retention.ms".to_owned() }));
}
