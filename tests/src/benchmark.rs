//! What the benchmarks of this crate share: the words that they are started with, and medians.

use std::io::{Error, ErrorKind, Result};

use tempfile::TempDir;

/// The words behind a benchmark's name. Each is taken out as it is asked for; one that is left is the directory.
#[derive(Debug)]
pub struct Words(Vec<String>);

impl Words {
    /// Those of this process.
    pub fn given() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Whether this one is there.
    pub fn has(&mut self, word: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|given| given != word);
        self.0.len() < before
    }

    /// Which parts are to be run: those that are named, and all when none is.
    pub fn parts<const N: usize>(&mut self, names: [&str; N]) -> [bool; N] {
        let named = names.map(|name| self.has(name));
        if named == [false; N] { [true; N] } else { named }
    }

    /// The directory that is named, or the one where the benchmark was started.
    ///
    /// # Errors
    /// When more than one word is left, or it is no directory: most likely it was meant for something else.
    pub fn directory(self) -> Result<String> {
        let wrong = |word: &str| {
            Error::new(ErrorKind::InvalidInput, format!("{word:?} is no part, and no directory"))
        };
        match self.0.as_slice() {
            [] => Ok(".".to_owned()),
            [dir] if std::path::Path::new(dir).is_dir() => Ok(dir.clone()),
            [word, ..] => Err(wrong(word)),
        }
    }

    /// A new directory below [`directory`](Self::directory), which goes when it is dropped.
    ///
    /// # Errors
    /// As there; and when none can be made.
    pub fn new_directory(self) -> Result<TempDir> {
        tempfile::tempdir_in(self.directory()?)
    }
}

/// The one in the middle of all figures; 0 of none.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}
