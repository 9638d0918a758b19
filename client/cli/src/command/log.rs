//! `folio log`: data directories, without a broker.

mod repair;
mod verify;

use std::io::{self, Write};
use std::path::Path;

use folio_record::{Offset, Timestamp};
use folio_storage::dump::{DumpOptions, Item, dump};
use folio_storage::files::OsFiles;
use folio_storage::lock::holder;
use folio_storage::repair::RepairOptions;
use folio_storage::verify::VerifyError;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::arguments::{LogCommand, Output};
use crate::bytes_as_text::json_bytes;
use crate::exit::Failure;
use crate::output::{human_bytes, say, stdout};
use crate::progress::Progress;

pub(crate) fn run(output: Output, command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Dump { dir, partition, records } => show(output, dir, partition.as_deref(), *records),
        LogCommand::Verify { dir, partition } => verify::run(output, dir, partition.as_deref()),
        LogCommand::Repair { dir, partition, metadata, accept_loss_from, yes } => {
            let options = RepairOptions {
                partition: partition.clone(),
                metadata: *metadata,
                accept_loss_from: accept_loss_from.map(Offset::new),
                apply: *yes,
                build: concat!("folio ", env!("CARGO_PKG_VERSION")).to_owned(),
                new_dir: Uuid::new_v4(),
                new_cluster: Uuid::new_v4(),
                now: Timestamp::new(jiff::Timestamp::now().as_millisecond()),
            };
            repair::run(output, dir, &options)
        }
    }
}

fn open(dir: &Path) -> Result<OsFiles, Failure> {
    OsFiles::open(dir)
        .map_err(|error| Failure::failed(format_args!("cannot read {}: {error}", dir.display())))
}

fn show(output: Output, dir: &Path, partition: Option<&str>, records: bool) -> Result<(), Failure> {
    let files = open(dir)?;
    let unreadable = |error| Failure::failed(format_args!("cannot read {}: {error}", dir.display()));
    if let Some(holder) = holder(&files).map_err(unreadable)? {
        say(format_args!(
            "folio: {} is in use by {holder}; this is what it has written by now",
            dir.display()
        ));
    }
    let options = DumpOptions { records, partition: partition.map(str::to_owned) };
    let mut out = stdout();
    let mut written = Ok(());
    let (mut shown, mut broken) = (0_u64, 0_u64);
    let dumped = dump(&files, &options, &mut |item| {
        if written.is_ok() {
            shown += 1;
            broken += u64::from(matches!(item, Item::Broken { .. }));
            written = as_json(&item).and_then(|item| match output {
                Output::Text => writeln!(out, "{}", line(&item)),
                Output::Json => writeln!(out, "{item}"),
            });
        }
    });
    written?;
    out.flush()?;
    dumped.map_err(unreadable)?;
    if let (Some(partition), 0) = (partition, shown) {
        return Err(Failure::not_in_directory(partition, dir));
    }
    match broken {
        0 => Ok(()),
        1 => Err(Failure::failed("one of these things is not what it should be")),
        broken => Err(Failure::failed(format_args!("{broken} of these things are not what they should be"))),
    }
}

/// Renews the line that says how far it is.
fn renew(progress: &mut Progress, dir: &Path, done: u64, total: u64) {
    progress.renew(|| format!("{}: {} of {}", dir.display(), human_bytes(done), human_bytes(total)));
}

/// How it ends after something was `found`: that counts, also where the reader of standard output had seen enough.
fn ended(told: io::Result<()>, found: Result<(), Failure>) -> Result<(), Failure> {
    match told.map_err(Failure::from) {
        Err(failure) if !failure.is_ordinary_end() => Err(failure),
        _ => found,
    }
}

/// `value` with the kind of thing that it is, as every line of JSON has it.
fn tagged(kind: &str, value: &impl Serialize) -> io::Result<Value> {
    let mut item = json!({ "item": kind });
    if let (Some(item), Value::Object(fields)) = (item.as_object_mut(), serde_json::to_value(value)?) {
        item.extend(fields);
    }
    Ok(item)
}

fn refusal(dir: &Path, error: VerifyError) -> Failure {
    match error {
        VerifyError::NoSuchPartition { partition, .. } => Failure::not_in_directory(&partition, dir),
        error => Failure::failed(error),
    }
}

fn as_json(item: &Item) -> io::Result<Value> {
    let Item::Record { offset, timestamp, key, value, headers } = item else {
        return serde_json::to_value(item).map_err(io::Error::other);
    };
    let headers = headers.iter().map(
        |(key, value)| json!({ "key": String::from_utf8_lossy(key), "value": json_bytes(value.as_deref()) }),
    );
    Ok(json!({
        "item": "record",
        "offset": offset,
        "timestamp": timestamp,
        "key": json_bytes(key.as_deref()),
        "value": json_bytes(value.as_deref()),
        "headers": headers.collect::<Vec<_>>(),
    }))
}

/// `kind field=value field=value`, what it is about first.
fn line(item: &Value) -> String {
    let Some(fields) = item.as_object() else { return item.to_string() };
    let mut text = fields.get("item").and_then(Value::as_str).unwrap_or("item").to_owned();
    let is_about = |name: &String| ["dir", "file"].contains(&name.as_str());
    let (about, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_about(name));
    for (name, value) in about.into_iter().chain(rest).filter(|(name, _)| *name != "item") {
        text += &match value {
            Value::String(value) if !value.contains(char::is_whitespace) => format!(" {name}={value}"),
            value => format!(" {name}={value}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_says_what_it_is() {
        let line = tagged("summary", &json!({ "damage": 0 })).unwrap();
        assert_eq!((&line["item"], &line["damage"]), (&json!("summary"), &json!(0)));
    }

    #[test]
    fn an_item_is_a_line_of_its_fields() {
        let item = json!({ "item": "epoch", "dir": "topics/t-0", "epoch": 3, "start": 7 });
        assert_eq!(line(&item), "epoch dir=topics/t-0 epoch=3 start=7");
        let item = json!({ "item": "broken", "at": 1, "file": "slots", "reason": "two words" });
        assert_eq!(line(&item), "broken file=slots at=1 reason=\"two words\"");
    }
}
