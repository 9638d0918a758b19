//! `folio log verify`: everything that is damaged in a data directory.

use std::io::Write;
use std::path::Path;

use folio_storage::verify::{Event, Summary, VerifyOptions, verify};

use super::{ended, refusal, renew, tagged};
use crate::arguments::Output;
use crate::exit::Failure;
use crate::output::{human_bytes, say, stdout};
use crate::progress::Progress;

pub(super) fn run(output: Output, dir: &Path, partition: Option<&str>) -> Result<(), Failure> {
    let files = super::open(dir)?;
    let options = VerifyOptions { partition: partition.map(str::to_owned) };
    let (mut out, mut written) = (stdout(), Ok(()));
    let mut progress = Progress::new(false);
    let verified = verify(&files, &options, &mut |event| match event {
        Event::Found(finding) if written.is_ok() => {
            written = match output {
                Output::Text => writeln!(out, "{finding}"),
                Output::Json => tagged("finding", &finding).and_then(|item| writeln!(out, "{item}")),
            };
        }
        Event::Found(_) => {}
        Event::Progress { dir, done, total } => {
            renew(&mut progress, dir, done, total);
        }
    });
    progress.end();
    let summary = verified.map_err(|error| refusal(dir, error))?;
    if let Output::Json = output {
        written = written.and_then(|()| writeln!(out, "{}", tagged("summary", &summary)?));
    }
    let told = written.and_then(|()| out.flush());
    if let Output::Text = output {
        say(sentence(&summary));
    }
    let found = match summary.damage {
        0 => Ok(()),
        1 => Err(Failure::failed("one finding is damage")),
        damage => Err(Failure::failed(format_args!("{damage} findings are damage"))),
    };
    ended(told, found)
}

fn sentence(summary: &Summary) -> String {
    let Summary { partitions, segments, batches, bytes, damage, interrupted, harmless } = *summary;
    let counted =
        |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let read = format!(
        "{} of {} in {}, {} of log",
        counted(batches, "batch", "batches"),
        counted(partitions, "partition", "partitions"),
        counted(segments, "segment", "segments"),
        human_bytes(bytes)
    );
    let rest = match (interrupted, harmless) {
        (0, 0) => String::new(),
        (interrupted, 0) => format!(", {interrupted} interrupted"),
        (0, harmless) => format!(", {harmless} harmless"),
        (interrupted, harmless) => format!(", {interrupted} interrupted, {harmless} harmless"),
    };
    match damage {
        0 => format!("{read}: no damage{rest}"),
        damage => format!("{read}: {damage} damaged{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_counts_what_was_read_and_found() {
        let summary = Summary { partitions: 1, segments: 2, batches: 30, bytes: 512, ..Summary::default() };
        assert_eq!(sentence(&summary), "30 batches of 1 partition in 2 segments, 512 B of log: no damage");
        let summary = Summary { damage: 2, interrupted: 1, harmless: 3, ..summary };
        assert!(
            sentence(&summary).ends_with(": 2 damaged, 1 interrupted, 3 harmless"),
            "{}",
            sentence(&summary)
        );
    }
}
