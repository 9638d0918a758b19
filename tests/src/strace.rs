//! System calls of a running process, made to fail, to take their time, or to be recorded.

use std::collections::BTreeMap;
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

    /// As [`attach`](Self::attach), where the calls concern this file.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn attach_to(pid: u32, expression: &str, file: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", expression, "-P"]).arg(file);
        Self::spawn(command, pid, Path::new("/dev/null"))
    }

    /// Writes every one of these calls into a file: who, what, and which files its descriptors are.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn record(pid: u32, calls: &str, into: &Path) -> Self {
        Self::run(pid, &format!("trace={calls}"), into)
    }

    /// As [`attach`](Self::attach), to this one thread alone (or with `whole` to all of its process), with several
    /// expressions. What happens is told in a file, with times and the paths of descriptors: see [`calls`].
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn watch(thread: u32, whole: bool, expressions: &[String], into: &Path) -> Self {
        let mut command = Self::telling(expressions);
        if whole {
            command.arg("-f");
        }
        Self::spawn(command, thread, into)
    }

    /// The same to several threads of a process, and to no other.
    ///
    /// # Panics
    /// When strace cannot attach to each of them.
    pub fn watch_threads(threads: &[u32], expressions: &[String], into: &Path) -> Self {
        Self::spawn_for(Self::telling(expressions), threads, into)
    }

    fn telling(expressions: &[String]) -> Command {
        let mut command = Command::new("strace");
        command.args(["-y", "-ttt"]);
        for expression in expressions {
            command.args(["-e", expression]);
        }
        command
    }

    /// What a program is started by, in front of its name, to be watched as by [`watch`](Self::watch) from its first
    /// call on. It stays the child of who starts it.
    pub fn wrapper(expressions: &[String], into: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["strace", "-DD", "-f", "-y", "-ttt", "-o"].map(str::to_owned).to_vec();
        words.push(into.display().to_string());
        words.extend(expressions.iter().flat_map(|one| ["-e".to_owned(), one.clone()]));
        words
    }

    /// Whether it can be used here.
    pub fn is_there() -> bool {
        let version = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    /// Waits until whoever it is attached to has ended, so that everything is told.
    pub fn ended(mut self) {
        let _ = self.0.wait();
    }

    fn run(pid: u32, expression: &str, into: &Path) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-s", "0", "-e", expression]);
        Self::spawn(command, pid, into)
    }

    fn spawn(command: Command, pid: u32, into: &Path) -> Self {
        Self::spawn_for(command, &[pid], into)
    }

    fn spawn_for(mut command: Command, pids: &[u32], into: &Path) -> Self {
        command.args(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
        command.arg("-o").arg(into).stderr(Stdio::piped());
        let mut child = command.spawn().expect("strace is there: tests/run sees to that");
        let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        for _ in pids {
            let line = lines.next().expect("strace says that it is attached").expect("it is text");
            assert!(line.contains("attached"), "strace: {line}");
        }
        // It may say more, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

/// A call that was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The thread; 0 where only one was watched.
    pub thread: u32,
    /// When it began, in seconds since 1970.
    pub at: f64,
    /// Its name.
    pub name: String,
    /// How many calls of this name the thread had made, with this one.
    pub number: u32,
    /// Everything about it.
    pub line: String,
    /// Whether it was made to fail.
    pub is_injected: bool,
}

/// The calls in a file that [`Strace::watch`] or a [`wrapper`](Strace::wrapper) wrote, in their order.
pub fn calls(told: &str) -> Vec<Call> {
    let mut counts: BTreeMap<(u32, String), u32> = BTreeMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in told.lines() {
        let (thread, rest) = match line.split_once(' ') {
            Some((thread, rest)) if !thread.contains('.') => (thread.parse().unwrap_or(0), rest.trim_start()),
            _ => (0, line),
        };
        let Some((at, what)) = rest.split_once(' ') else { continue };
        let is_injected = line.contains("(INJECTED)");
        // What another thread's call interrupted goes on in a line of its own.
        if let Some(resumed) = what.strip_prefix("<... ") {
            let name = resumed.split(' ').next().unwrap_or_default();
            let begun = calls.iter_mut().rev().find(|call| call.thread == thread && call.name == name);
            if let Some(call) = begun {
                call.is_injected |= is_injected;
            }
            continue;
        }
        let Some((name, _)) = what.split_once('(') else { continue };
        if name.contains(' ') {
            continue;
        }
        let number = counts.entry((thread, name.to_owned())).or_default();
        *number += 1;
        calls.push(Call {
            thread,
            at: at.parse().unwrap_or_default(),
            name: name.to_owned(),
            number: *number,
            line: what.to_owned(),
            is_injected,
        });
    }
    calls
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_name_also_when_another_comes_in_between() {
        let told = "11 1795.5 openat(AT_FDCWD</>, \"/data/slots\", O_RDWR) = 3</data/slots>\n\
                    11 1795.6 fdatasync(3</data/slots> <unfinished ...>\n\
                    12 1795.7 openat(AT_FDCWD</>, \"/data/clean\", O_RDWR) = 4</data/clean>\n\
                    11 1795.8 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)\n\
                    12 1795.9 --- SIGTERM {si_signo=SIGTERM} ---\n\
                    11 1796.0 fdatasync(3</data/slots>) = 0\n\
                    11 1796.1 +++ exited with 0 +++\n";
        let found: Vec<_> = calls(told)
            .into_iter()
            .map(|call| (call.thread, call.name, call.number, call.is_injected, call.at))
            .collect();
        let expected = [
            (11, "openat".to_owned(), 1, false, 1795.5),
            (11, "fdatasync".to_owned(), 1, true, 1795.6),
            (12, "openat".to_owned(), 1, false, 1795.7),
            (11, "fdatasync".to_owned(), 2, false, 1796.0),
        ];
        assert_eq!(found, expected);
        assert_eq!(calls("1795.5 fsync(3</data>) = 0\n")[0].thread, 0);
    }
}
