//! What goes to standard output: tables for people, JSON for programs. What is only to be known goes to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::arguments::Output;
use crate::exit::Failure;

/// Standard output with a buffer of its own; flush it.
pub(crate) fn stdout() -> BufWriter<io::Stdout> {
    BufWriter::with_capacity(256 << 10, io::stdout())
}

/// Whether whoever read standard output has gone. A write would tell as well, but there may be nothing to write for
/// long.
pub(crate) fn is_stdout_closed() -> bool {
    let stdout = io::stdout();
    // A pipe without readers reports an error whatever it is asked for.
    let mut look = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut look, Some(&now)).is_ok_and(|ready| ready > 0) && look[0].revents().contains(PollFlags::ERR)
}

/// Says something to the person at the terminal. Nobody needs to be there: that changes nothing about the work.
pub(crate) fn say(text: impl Display) {
    say_in_place(format_args!("{text}\n"));
}

/// As [`say`], without ending the line.
pub(crate) fn say_in_place(text: impl Display) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// A table with these column heads; columns whose number is in `right` stand to the right.
pub(crate) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>, right: &[usize]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(heads.to_vec());
    for row in rows {
        table.add_row(row);
    }
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// Writes `text` and flushes.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes one JSON value on a line of its own.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// A person reads that it is done, a program gets it as data.
pub(crate) fn done(output: Output, text: &str, json: &Value) -> Result<(), Failure> {
    match output {
        Output::Text => say(text),
        Output::Json => print_json(json)?,
    }
    Ok(())
}

/// So many records.
pub(crate) fn human_records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

/// Bytes as people read them.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time as people read it, in the unit that fits.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{seconds:.1} s"),
        10..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{:.0} min", seconds / 60.0),
        7200..172_800 => format!("{:.0} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1500, "1.5 s"),
            (60_000, "60 s"),
            (180_000, "3 min"),
            (7_200_000, "2 h"),
            (604_800_000, "7 days"),
        ] {
            assert_eq!(human_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_610_612_736, "1.5 GiB")] {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
