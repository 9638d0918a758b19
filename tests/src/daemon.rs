//! A daemon in a process of its own, from its start line to its end.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running `foliod`. Dropped, it is asked to end and waited for.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    start_line: String,
}

impl Daemon {
    /// Starts `command`, which is or becomes a `foliod` that listens on port 0 and was given a directory, and waits
    /// until it listens, `limit` long.
    ///
    /// # Panics
    /// When it does not come to listen.
    pub fn start(command: &mut Command, limit: Duration) -> Self {
        // A group of its own, so that whatever the command started can be asked to end together with it.
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stderr = BufReader::new(child.stderr.take().expect("it was asked for"));
        let (sender, lines) = channel();
        // Read to its end, or a daemon with much to say would wait for ever.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut daemon = Self { child, lines, start_line: String::new() };
        let mut seen = Vec::new();
        let deadline = Instant::now() + limit;
        while daemon.start_line.is_empty() {
            match daemon.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains("listening on ") => daemon.start_line = line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{command:?} does not listen: {error}: {seen:?}"),
            }
        }
        daemon
    }

    /// The one line that the daemon prints when it listens.
    pub fn start_line(&self) -> &str {
        &self.start_line
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When the start line does not say so.
    pub fn address(&self) -> String {
        let (_, rest) =
            self.start_line.split_once("listening on ").expect("the start line names the address");
        rest.split(',').next().expect("a split has a first part").to_owned()
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the daemon to end, and waits for it.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn stop(mut self) -> ExitStatus {
        self.end()
    }

    fn end(&mut self) -> ExitStatus {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status;
        }
        let group = format!("-{}", self.child.id());
        let asked = Command::new("kill").args(["-TERM", "--", &group]).status();
        assert!(asked.is_ok_and(|status| status.success()), "the daemon can be asked to end");
        self.child.wait().expect("a child can be waited for")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
