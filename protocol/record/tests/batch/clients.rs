//! Batches as other clients made them, `tests/data/clients`, in every codec they have.

use std::collections::BTreeMap;
use std::path::Path;

use folio_record::Compression;

use crate::owned::{LIMIT, OwnedRecord, read, verified};

/// The files by name, `CLIENT_CODEC` or `CLIENT_CODEC_LEVEL`.
fn files() -> BTreeMap<String, Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/clients");
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named
        .filter(|(name, _)| name != "README.md")
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        .collect()
}

/// What they all hold.
fn expected(index: i64) -> OwnedRecord {
    let trace = (b"trace".to_vec(), Some(index.to_string().into_bytes()));
    let value = format!("GET /page/{index} HTTP/1.1 200").into_bytes();
    OwnedRecord {
        timestamp: 1_700_000_000_000 + index,
        key: (index % 4 != 3).then(|| format!("key-{}", index % 7).into_bytes()),
        value: (index % 10 != 9).then_some(value),
        headers: if index % 5 == 0 { vec![trace, (b"none".to_vec(), None)] } else { vec![] },
    }
}

#[test]
fn batches_of_other_clients_are_read_in_every_codec() {
    let files = files();
    assert_eq!(files.len(), 18);
    let expected: Vec<OwnedRecord> = (0..40).map(expected).collect();
    for (name, bytes) in &files {
        let codec: Compression = name.split('_').nth(1).unwrap().parse().unwrap();
        let batch = verified(bytes);
        assert_eq!(batch.header().attributes.compression(), codec, "{name}");
        assert!(batch.header().is_dense(), "{name}");
        let checked = batch.check_records(LIMIT).unwrap();
        assert_eq!(checked.max_timestamp, batch.header().max_timestamp, "{name}");
        assert_eq!(read(&batch), expected, "{name}");
    }
}

#[test]
fn a_batch_of_another_client_can_be_stored_in_every_codec() {
    for (name, bytes) in files() {
        let before = verified(&bytes);
        for codec in Compression::ALL {
            let after = before.records(LIMIT).unwrap().recompressed(codec.into()).unwrap();
            let after = verified(&after);
            assert_eq!(after.header().attributes.compression(), codec, "{name}");
            assert_eq!(read(&after), read(&before), "{name} to {codec}");
        }
    }
}

#[test]
fn the_batches_show_how_clients_differ() {
    let files = files();
    let block = |name: &str| &files[name][61..];
    for client in ["java", "kafka-python"] {
        assert!(block(&format!("{client}_snappy")).starts_with(b"\x82SNAPPY\0"), "{client} frames snappy");
    }
    assert!(!block("librdkafka_snappy").starts_with(b"\x82SNAPPY\0"), "librdkafka does not");
    // No size of the content and no single segment in a frame's descriptor; then the window.
    assert_eq!(block("java_zstd")[4] & 0b1110_0000, 0, "java's zstd frames do not tell their size");
    assert_eq!(block("java_zstd_22")[5] >> 3, 17, "at the highest level they ask for a window of 128 MiB");
    for client in ["java", "kafka-python", "librdkafka"] {
        assert_eq!(
            block(&format!("{client}_lz4"))[4] & 0b0010_0000,
            0b0010_0000,
            "{client} has no linked blocks"
        );
    }
}
