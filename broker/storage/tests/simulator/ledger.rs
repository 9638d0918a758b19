//! Which bytes readers may have. None of them is written again or cut off while the process lives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How far each file that is appended to was published, and what was done below.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    appended: BTreeMap<Appender, (PathBuf, u64)>,
    count: u64,
    violations: Vec<String>,
}

/// Who appends to a file, whatever name it has by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Appender(u64);

impl Ledger {
    /// The file that has this name now is appended to, and is published up to `end`.
    pub(crate) fn begin(&mut self, path: &Path, end: u64) -> Appender {
        let appender = Appender(self.count);
        self.count += 1;
        self.appended.insert(appender, (path.to_owned(), end));
        appender
    }

    pub(crate) fn publish(&mut self, appender: Appender, upto: u64) {
        let Some((path, end)) = self.appended.get_mut(&appender) else { return };
        if upto < *end {
            self.violations.push(format!("{} was published up to {end}, then {upto}", path.display()));
        }
        *end = upto;
    }

    pub(crate) fn write(&mut self, path: &Path, at: u64) {
        if let Some(end) = self.end(path).filter(|end| at < *end) {
            self.violations.push(format!("{} is written at {at}, below {end}", path.display()));
        }
    }

    pub(crate) fn cut(&mut self, path: &Path, len: u64) {
        if let Some(end) = self.end(path).filter(|end| len < *end) {
            self.violations.push(format!("{} is cut at {len}, below {end}", path.display()));
        }
    }

    /// A file, or a directory with all in it, has another name. Whatever had that is gone.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        self.remove(to);
        for (path, _) in self.appended.values_mut() {
            if let Ok(place) = path.strip_prefix(from) {
                *path = if place.as_os_str().is_empty() { to.to_owned() } else { to.join(place) };
            }
        }
    }

    pub(crate) fn remove(&mut self, path: &Path) {
        self.appended.retain(|_, (known, _)| !known.starts_with(path));
    }

    /// The process is dead, and with it everybody who has read anything.
    pub(crate) fn forget(&mut self) {
        self.appended.clear();
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }

    fn end(&self, path: &Path) -> Option<u64> {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            // Nobody reads it before it has its name.
            return None;
        }
        self.appended.values().filter(|(known, _)| known == path).map(|(_, end)| *end).max()
    }
}

#[test]
fn what_is_done_to_published_bytes_is_seen_under_every_name() {
    let path = Path::new;
    let mut ledger = Ledger::default();
    let first = ledger.begin(path("d/next.tmp"), 0);
    ledger.rename(path("d/next.tmp"), path("d/5.log"));
    // Another file is made under the passing name.
    let second = ledger.begin(path("d/next.tmp"), 0);
    ledger.publish(first, 10);
    ledger.write(path("d/5.log"), 10);
    ledger.cut(path("d/5.log"), 10);
    ledger.write(path("d/next.tmp"), 0);
    assert_eq!(ledger.violations(), [""; 0]);
    ledger.write(path("d/5.log"), 9);
    ledger.rename(path("d"), path("e"));
    ledger.cut(path("e/5.log"), 9);
    ledger.publish(first, 3);
    assert_eq!(ledger.violations().len(), 3, "{:?}", ledger.violations());
    ledger.publish(second, 5);
    ledger.forget();
    ledger.cut(path("e/next.tmp"), 0);
    assert_eq!(ledger.violations().len(), 3);
}
