//! The command line against a broker in the test's own process.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::rig::Rig;

/// A broker in this process, and `folio` to talk to it.
#[derive(Debug)]
pub struct Terminal(Rig);

impl Terminal {
    /// With a broker of the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self(Rig::new(&[]))
    }

    /// With a broker that has these keys set.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self(Rig::new(settings))
    }

    /// The broker.
    #[must_use]
    pub fn rig(&self) -> &Rig {
        &self.0
    }

    /// `folio` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::binary("folio"));
        command.args(arguments).env("FOLIO_BROKER", self.0.address()).stdin(Stdio::null());
        command
    }

    /// Runs `folio` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("folio runs")
    }

    /// Runs `folio` with something on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("folio runs");
        // A program that gives up does not read to the end.
        let _ = child.stdin.take().expect("it was asked for").write_all(input);
        child.wait_with_output().expect("it ends")
    }

    /// Runs a line of shell in which `folio` is ours. Without job control (`set -m`) a shell starts background programs
    /// with SIGINT ignored.
    ///
    /// # Panics
    /// When there is no shell.
    pub fn shell(&self, script: &str) -> Output {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let folio = crate::binary("folio");
        let script = format!("set -m; folio() {{ {} \"$@\"; }}; {script}", folio.display());
        let mut command = Command::new("timeout");
        command.args(["60", "bash", "-c", &script]).env("FOLIO_BROKER", self.0.address());
        command.current_dir(dir.path()).stdin(Stdio::null()).output().expect("a shell runs")
    }

    /// What `folio` prints, which succeeds.
    ///
    /// # Panics
    /// When it does not.
    pub fn done(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output.stdout
    }
}

/// As a person reads it.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}
