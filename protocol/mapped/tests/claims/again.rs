//! Running one test of this binary again in a process of its own, where it may hit a limit or die by a signal.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// What came of it.
pub(crate) struct Ended {
    status: ExitStatus,
    output: String,
}

/// Whether this process is the other one. Says so, for the parent to see that the test really ran there.
pub(crate) fn is_child() -> bool {
    let child = std::env::var_os(MARK).is_some();
    if child {
        println!("{MARK}");
    }
    child
}

/// Runs the test called `name` (with its modules) again, started by the shell script `prelude` followed by
/// `exec "$0" "$@"`.
pub(crate) fn run(name: &str, prelude: &str) -> Ended {
    run_by(Command::new("sh"), name, prelude)
}

/// The same, where `shell` is a command that takes `-c script arguments..` as its last arguments.
pub(crate) fn run_by(mut shell: Command, name: &str, prelude: &str) -> Ended {
    let output = shell
        .args(["-c", &format!("{prelude}\nexec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(text.contains(MARK), "the child never reached the test {name}: {text}");
    Ended { status: output.status, output: text }
}

impl Ended {
    pub(crate) fn expect_success(&self) {
        assert!(self.status.success(), "{}: {}", self.status, self.output);
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

const MARK: &str = "FOLIO_MAPPED_TEST_AGAIN";
