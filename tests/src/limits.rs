//! A process with little memory, or with another time.

use std::fs;
use std::path::{Path, PathBuf};

/// A memory limit on whatever is started in it; its page cache counts, and is given up first. Dropped, it is gone.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
    is_v2: bool,
}

impl MemoryLimit {
    /// A control group of this name, of version 1 or 2, with so many bytes.
    ///
    /// # Panics
    /// When there is no memory controller, or no right to use it.
    pub fn new(name: &str, bytes: u64) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let is_v2 = !v1.join("memory.limit_in_bytes").exists();
        let root = if is_v2 { Path::new("/sys/fs/cgroup") } else { v1 };
        let group = root.join(format!("folio-{name}-{}", std::process::id()));
        fs::create_dir(&group).expect("this claim needs the right to make control groups");
        let limit = Self { group, is_v2 };
        let file = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(limit.group.join(file), bytes.to_string()).expect("a memory controller");
        limit
    }

    /// A program, with its arguments, that becomes the one behind them within the limit.
    pub fn wrapper(&self) -> [String; 4] {
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh".into(), "-c".into(), enter.into(), self.group.display().to_string()]
    }

    /// How many processes were killed for want of memory.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn kills(&self) -> u64 {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        let told = fs::read_to_string(self.group.join(file)).expect("the group is there");
        let kills = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.trim().parse().ok()).expect("the kernel says how many")
    }

    /// The most that was in use at a time, if the kernel says.
    pub fn peak_bytes(&self) -> Option<u64> {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.group.join(file)).ok()?.trim().parse().ok()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // It cannot be removed before the process in it is gone for good.
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// A wall clock that is set at will, for the processes that are started under it. What they measure time by is not
/// touched, as a step of the real clock does not touch it.
#[derive(Debug)]
pub struct Faketime {
    file: PathBuf,
    library: PathBuf,
}

impl Faketime {
    /// A clock that is right, kept in a file in `dir`.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub fn new(dir: &Path) -> Self {
        let library = fs::read_dir("/usr/lib").ok().and_then(|architectures| {
            let libraries = architectures.flatten().map(|one| one.path().join("faketime/libfaketime.so.1"));
            libraries.filter(|library| library.exists()).last()
        });
        let clock = Self { file: dir.join("clock"), library: library.expect("this claim needs libfaketime") };
        clock.set("+0");
        clock
    }

    /// Sets it so far from the right time: `-2d`, `+10y`.
    ///
    /// # Panics
    /// When its file cannot be written.
    pub fn set(&self, offset: &str) {
        let passing = self.file.with_extension("new");
        fs::write(&passing, offset).expect("a file for the clock");
        fs::rename(&passing, &self.file).expect("a file for the clock");
    }

    /// A program, with its arguments, that becomes the one behind them with this clock.
    pub fn wrapper(&self) -> [String; 5] {
        [
            "env".into(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        ]
    }
}
