//! A daemon in a process of its own, from its start line to its end.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::binary;

/// A running `foliod`. Dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    address: String,
    /// Everything it has said on stderr so far.
    said: Arc<Mutex<String>>,
    /// Reads what it says.
    listener: JoinHandle<()>,
    /// How to start it again: the directory above its data, and its arguments.
    origin: Option<(PathBuf, Vec<String>)>,
}

/// How long a daemon that is built may take to listen, and to end.
const LIMIT: Duration = Duration::from_secs(60);

const LAST_WORDS: Duration = Duration::from_secs(5);

impl Daemon {
    /// Starts `command`, which is or becomes a `foliod` that listens on port 0 and was given a directory, and waits
    /// until it listens, `limit` long.
    ///
    /// # Errors
    /// Its last words and its exit code, when it ends instead or does not come to listen.
    pub fn try_start(command: &mut Command, limit: Duration) -> Result<Self, String> {
        // A group of its own, so that whatever the command started can be asked to end together with it.
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let stderr = BufReader::new(child.stderr.take().ok_or("it was asked for")?);
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        let (sender, addresses) = channel();
        // Read to its end, or a daemon with much to say would wait for ever.
        let listener = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let address = line.split_once("listening on ").map(|(_, rest)| rest.to_owned());
                heard.lock().unwrap_or_else(PoisonError::into_inner).push_str(&(line + "\n"));
                if let Some(address) = address {
                    let _ = sender.send(address.split(',').next().unwrap_or_default().to_owned());
                }
            }
        });
        let mut daemon = Self { child, address: String::new(), said, listener, origin: None };
        match addresses.recv_timeout(limit) {
            Ok(address) => {
                daemon.address = address;
                Ok(daemon)
            }
            Err(_) => {
                let status = daemon.wait();
                Err(format!("{}(exit code {:?})", daemon.said(), status.code()))
            }
        }
    }

    /// As [`try_start`](Self::try_start).
    ///
    /// # Panics
    /// When it does not come to listen.
    pub fn start(command: &mut Command, limit: Duration) -> Self {
        Self::try_start(command, limit).unwrap_or_else(|said| panic!("{command:?} does not listen: {said}"))
    }

    /// Starts the project's own `foliod` with its data below `dir`, on an address of its own unless the arguments say
    /// otherwise.
    ///
    /// # Panics
    /// When it does not come to listen.
    pub fn on(dir: &Path, arguments: &[&str]) -> Self {
        Self::try_on(dir, arguments).unwrap_or_else(|said| panic!("foliod does not listen: {said}"))
    }

    /// As [`on`](Self::on), but gives what it said when it ended instead.
    ///
    /// # Errors
    /// Its last words, with its exit code.
    pub fn try_on(dir: &Path, arguments: &[&str]) -> Result<Self, String> {
        Self::try_under(&[], dir, arguments)
    }

    /// As [`on`](Self::on), started by another program: `["prlimit", "--nofile=80"]`.
    ///
    /// # Panics
    /// When it does not come to listen.
    pub fn under(wrapper: &[&str], dir: &Path, arguments: &[&str]) -> Self {
        Self::try_under(wrapper, dir, arguments)
            .unwrap_or_else(|said| panic!("foliod does not listen: {said}"))
    }

    /// As [`try_on`](Self::try_on), started by another program.
    ///
    /// # Errors
    /// Its last words, with its exit code.
    pub fn try_under(wrapper: &[&str], dir: &Path, arguments: &[&str]) -> Result<Self, String> {
        let foliod = binary("foliod");
        let mut command = match wrapper {
            [] => Command::new(foliod),
            [program, options @ ..] => {
                let mut command = Command::new(program);
                command.args(options).arg(foliod);
                command
            }
        };
        // Cargo's many directories of libraries would be searched for each.
        command.args(arguments).env_remove("LD_LIBRARY_PATH").env("FOLIOD_DATA_DIR", dir.join("data"));
        if !arguments.contains(&"--listen") {
            command.env("FOLIOD_LISTEN", own_address());
        }
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut daemon = Self::try_start(&mut command, LIMIT)?;
        daemon.origin = Some((dir.to_owned(), arguments));
        Ok(daemon)
    }

    /// The one line that the daemon prints when it listens.
    pub fn start_line(&self) -> String {
        self.said().lines().find(|line| line.contains("listening on ")).unwrap_or_default().to_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that it has for itself: no mapped files.
    ///
    /// # Panics
    /// When it has ended.
    pub fn anonymous_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux says so");
        let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kib.expect("a number") * 1024
    }

    /// CPU time of its living threads.
    ///
    /// # Panics
    /// When it has ended.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives");
        let of_task = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(of_task).sum())
    }

    /// Everything it has said on stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the daemon to end, and waits for it.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(mut self) -> ExitStatus {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            signal(&format!("-{}", self.child.id()), "TERM");
        }
        self.wait()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.ended_within(LIMIT);
        ended.unwrap_or_else(|| panic!("foliod did not end within {LIMIT:?}; it said: {}", self.said()))
    }

    /// How it ended, if it does in time.
    ///
    /// # Panics
    /// When the system does not know it.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.hear_the_last_words();
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The number of its thread of this name, once it has that: a thread names itself when it first runs.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn thread(&self, name: &str) -> u32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(thread) = self.thread_now(name) {
                return thread;
            }
            assert!(Instant::now() < deadline, "no thread is named {name}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn thread_now(&self, name: &str) -> Option<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).ok()?;
        let is_it = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        tasks.flatten().find(is_it)?.file_name().to_string_lossy().parse().ok()
    }

    /// Stops every thread of it where it is; whoever sends it something waits.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub fn freeze(&self) {
        signal(&self.pid().to_string(), "STOP");
        let deadline = Instant::now() + LIMIT;
        let tasks = format!("/proc/{}/task", self.pid());
        let runs = |task: std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| !stat.contains(") T "))
        };
        while std::fs::read_dir(&tasks).expect("it lives").flatten().any(runs) {
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What an ended process wrote may still be on its way through the pipe. One that it started may hold the pipe
    /// open for longer than anybody wants to wait.
    fn hear_the_last_words(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        while !self.listener.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its death by a signal, and starts it again on the same data.
    ///
    /// # Panics
    /// When it lives on, ended by itself, or does not start.
    pub fn restart_after_death(mut self) -> Self {
        assert_eq!(self.wait().code(), None, "it was killed: {}", self.said());
        let (dir, arguments) = self.origin.take().expect("it was started by `on`");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Self::on(&dir, &arguments)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            signal(&format!("-{}", self.child.id()), "KILL");
            let _ = self.child.wait();
        }
        // Who is told that a test has failed wants to know what it said.
        if std::thread::panicking() {
            eprintln!("foliod on {} said: {}", self.address, self.said());
        }
    }
}

/// An address of this machine that no other daemon has, not even later: the port alone is given again as soon as its
/// daemon has ended, and its clients, who come back, would be served by a stranger.
fn own_address() -> String {
    let [first, second, third, ..] = RandomState::new().hash_one(()).to_le_bytes();
    // 127.0 is everybody's.
    format!("127.{}.{second}.{}:0", 1 + first % 254, 1 + third % 254)
}

/// Sends a signal by name to a process, or to a group with `-` before its number.
///
/// # Panics
/// When there is no program `kill`.
pub fn signal(process: &str, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), "--", process]).status();
    kill.expect("there is a program `kill`");
}

#[cfg(test)]
mod tests {
    use super::own_address;

    #[test]
    fn no_daemon_is_given_the_address_of_another() {
        let addresses: std::collections::BTreeSet<_> = (0..100).map(|_| own_address()).collect();
        assert!(addresses.len() > 98, "{addresses:?}");
        for address in addresses {
            let at: std::net::SocketAddrV4 = address.parse().expect("an address");
            assert!(at.ip().is_loopback() && at.port() == 0 && at.ip().octets()[1] > 0, "{at}");
        }
    }
}
