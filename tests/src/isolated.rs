//! Claims that mount file systems and kill processes: each in namespaces of its own, which take everything along that
//! they leave behind, however they end.

use std::process::Command;

/// A process with mounts and processes of its own.
#[derive(Debug)]
pub struct Isolated;

/// Set for the process inside.
const INSIDE: &str = "FOLIO_ISOLATED";

impl Isolated {
    /// Runs `claim`, which is the body of the test `name`, in a process of its own: this test binary once more, in
    /// fresh mount and process namespaces. When that process ends, the kernel kills what it started and unmounts what
    /// it mounted, and loop devices detach themselves.
    ///
    /// # Panics
    /// When the claim does not hold, or there is no right to make namespaces.
    pub fn run(name: &str, claim: impl FnOnce()) {
        if std::env::var_os(INSIDE).is_some() {
            return claim();
        }
        let binary = std::env::current_exe().expect("a test has a path");
        let mut inside = Command::new("setpriv");
        // Whoever kills the test kills `unshare`, and that kills the process inside.
        inside.args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]);
        inside.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc"]).arg(binary);
        inside.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(INSIDE, "1");
        let output = inside.output().expect("there are programs `setpriv` and `unshare`");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("running 1 test"), "the test is called {name}: {said}");
        print!("{said}");
        assert!(output.status.success(), "{name}: {}", output.status);
    }
}
