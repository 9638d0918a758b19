//! System calls of a running process, made to fail, to take their time, or to be recorded.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Attached as long as this lives.
#[derive(Debug)]
pub struct Strace(Child);

impl Strace {
    /// Makes calls fail or wait: `inject=fdatasync:error=EIO`.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn attach(pid: u32, expression: &str) -> Self {
        Self::run(pid, expression, Path::new("/dev/null"))
    }

    /// Writes every one of these calls into a file: who, what, and which files its descriptors are.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn record(pid: u32, calls: &str, into: &Path) -> Self {
        Self::run(pid, &format!("trace={calls}"), into)
    }

    fn run(pid: u32, expression: &str, into: &Path) -> Self {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-y", "-s", "0", "-e", expression, "-p", &pid.to_string(), "-o"])
            .arg(into)
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace is there: tests/run sees to that");
        let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let line = lines.next().expect("strace says that it is attached").expect("it is text");
        assert!(line.contains("attached"), "strace: {line}");
        // It may say more, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
