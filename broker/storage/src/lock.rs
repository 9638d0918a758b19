//! `LOCK`: one daemon per data directory.
//!
//! What excludes is `flock` on the open file, which the kernel releases with the process, however it died. The
//! text inside is for the message that a second daemon prints, and decides nothing:
//! ```text
//! pid=4711
//! host=box
//! boot_id=6f9c0a3e1b574c8f9a2f6f0d5b7c8e11
//! run_id=00f3a2b1c4d5e6f7
//! started=1700000000000
//! ```

use std::fmt;
use std::io;
use std::path::Path;

use folio_record::Timestamp;

use crate::files::{FileHandle, Files, OpenMode, read_file};

/// Who holds a data directory, as far as its `LOCK` tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Process id on `host`.
    pub pid: Option<u32>,
    /// Host name.
    pub host: Option<String>,
    /// Boot of that host; zero if unknown.
    pub boot_id: [u8; 16],
    /// The holder's run.
    pub run_id: u64,
    /// When it took the lock, in milliseconds since the epoch.
    pub started: Option<Timestamp>,
}

impl Holder {
    /// The text of the file.
    pub fn encode(&self) -> String {
        let Self { pid, host, boot_id, run_id, started } = self;
        let mut text = String::new();
        if let Some(pid) = pid {
            text += &format!("pid={pid}\n");
        }
        if let Some(host) = host {
            text += &format!("host={host}\n");
        }
        text += &format!("boot_id={:032x}\nrun_id={run_id:016x}\n", u128::from_be_bytes(*boot_id));
        if let Some(started) = started {
            text += &format!("started={}\n", started.get());
        }
        text
    }

    /// Reads what can be read of a text that anybody may have written.
    pub fn decode(text: &str) -> Self {
        let mut holder = Self::default();
        for (key, value) in text.lines().take(16).filter_map(|line| line.split_once('=')) {
            match key {
                "pid" => holder.pid = value.parse().ok(),
                "host" => holder.host = Some(value.chars().filter(|c| !c.is_control()).take(255).collect()),
                "boot_id" => holder.boot_id = u128::from_str_radix(value, 16).unwrap_or(0).to_be_bytes(),
                "run_id" => holder.run_id = u64::from_str_radix(value, 16).unwrap_or(0),
                "started" => holder.started = value.parse().ok().map(Timestamp::new),
                _ => {}
            }
        }
        holder
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.host) {
            (Some(pid), Some(host)) => write!(f, "process {pid} on {host}"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, Some(host)) => write!(f, "a process on {host}"),
            (None, None) => f.write_str("a process that left no name"),
        }
    }
}

/// Takes the lock of a directory through its open `LOCK`; who has it, if somebody else does.
pub(crate) fn hold<F: Files>(files: &F, file: F::File) -> io::Result<Result<F::File, Holder>> {
    if file.try_lock()? {
        return Ok(Ok(file));
    }
    let text = read_file(files, Path::new(LOCK_NAME), LOCK_SIZE_MAX).ok().flatten().unwrap_or_default();
    Ok(Err(Holder::decode(&String::from_utf8_lossy(&text))))
}

/// As [`hold`], for somebody who writes nothing: where no daemon ever made a `LOCK`, there is none to take.
pub(crate) fn hold_if_there<F: Files>(files: &F) -> io::Result<Result<Option<F::File>, Holder>> {
    match files.open(Path::new(LOCK_NAME), OpenMode::Read) {
        Ok(file) => Ok(hold(files, file)?.map(Some)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ok(None)),
        Err(error) => Err(error),
    }
}

/// Who has a directory open at this moment, if anybody has.
///
/// # Errors
/// Those of opening and locking the file.
pub fn holder<F: Files>(files: &F) -> io::Result<Option<Holder>> {
    Ok(hold_if_there(files)?.err())
}

/// The name of the file.
pub const LOCK_NAME: &str = "LOCK";
/// More of the file than this is not read.
pub const LOCK_SIZE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let holder = Holder {
            pid: Some(4711),
            host: Some("box".to_owned()),
            boot_id: [0x0f; 16],
            run_id: 0xF3A2,
            started: Some(Timestamp::new(1_700_000_000_000)),
        };
        assert_eq!(Holder::decode(&holder.encode()), holder);
        assert_eq!(holder.to_string(), "process 4711 on box");
    }

    #[test]
    fn nonsense_names_nobody_and_harms_nothing() {
        let holder = Holder::decode("pid=minus one\nhost=a\u{7}b\n\n===\nrun_id=xyz");
        assert_eq!(holder.to_string(), "a process on ab");
        assert_eq!(Holder::decode("").to_string(), "a process that left no name");
    }
}
