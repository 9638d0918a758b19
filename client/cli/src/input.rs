//! Lines to be sent: read on a thread of their own, so that a silent input keeps nobody from noticing Ctrl-C.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Blocks of input, in order.
pub(crate) struct Input {
    blocks: Receiver<Result<Vec<u8>, InputError>>,
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    Block(Vec<u8>),
    /// Nothing for now.
    Nothing,
    End,
}

/// A file that cannot be read.
#[derive(Debug)]
pub(crate) struct InputError {
    path: PathBuf,
    source: io::Error,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read {}: {}", self.path.display(), self.source)
    }
}

impl Input {
    /// Reads `files` one after the other; none, or `-`, is standard input.
    pub(crate) fn open(files: &[PathBuf]) -> Self {
        let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files.to_vec() };
        let (sender, blocks) = bounded(BLOCKS_AHEAD);
        thread::spawn(move || {
            for path in files {
                if let Err(source) = read(&path, &sender) {
                    // Nobody listens any more when this fails.
                    let _ = sender.send(Err(InputError { path, source }));
                    return;
                }
            }
        });
        Self { blocks }
    }

    /// Waits for input, for `limit` at most.
    pub(crate) fn next(&self, limit: Duration) -> Result<Arrived, InputError> {
        match self.blocks.recv_timeout(limit) {
            Ok(block) => block.map(Arrived::Block),
            Err(RecvTimeoutError::Timeout) => Ok(Arrived::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Arrived::End),
        }
    }
}

const BLOCK_SIZE: usize = 256 << 10;
const BLOCKS_AHEAD: usize = 8;

fn read(path: &Path, sender: &Sender<Result<Vec<u8>, InputError>>) -> io::Result<()> {
    if path == Path::new("-") {
        return forward(io::stdin().lock(), sender);
    }
    forward(File::open(path)?, sender)
}

fn forward(mut from: impl Read, sender: &Sender<Result<Vec<u8>, InputError>>) -> io::Result<()> {
    let mut ends_with_newline = true;
    loop {
        let mut block = vec![0; BLOCK_SIZE];
        let size = match from.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if size == 0 {
            // The last line of one file does not go on with the first of the next.
            if !ends_with_newline {
                let _ = sender.send(Ok(b"\n".to_vec()));
            }
            return Ok(());
        }
        block.truncate(size);
        ends_with_newline = block.ends_with(b"\n");
        if sender.send(Ok(block)).is_err() {
            return Ok(());
        }
    }
}

/// Cuts blocks into lines. A line that goes on in the next block is kept until its end has come.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Gives each whole line to `line`, without its newline; stops at its first error.
    ///
    /// An unfinished line longer than `longest` is given as it is, so that it does not grow without bound: it is too
    /// long anyway.
    pub(crate) fn block<E>(
        &mut self,
        block: &[u8],
        longest: usize,
        mut line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = block;
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let (end, behind) = (&rest[..at], &rest[at + 1..]);
            if self.unfinished.is_empty() {
                line(end)?;
            } else {
                self.unfinished.extend_from_slice(end);
                line(&self.unfinished)?;
                self.unfinished.clear();
            }
            rest = behind;
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() > longest {
            return line(&std::mem::take(&mut self.unfinished));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(blocks: &[&str]) -> Vec<String> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        for block in blocks {
            let keep = |line: &[u8]| {
                all.push(String::from_utf8(line.to_vec()).unwrap());
                Ok::<(), ()>(())
            };
            lines.block(block.as_bytes(), 10, keep).unwrap();
        }
        all
    }

    #[test]
    fn lines_are_cut_at_newlines_wherever_blocks_end() {
        assert_eq!(cut(&["a\nb\n"]), ["a", "b"]);
        assert_eq!(cut(&["a\nb", "c", "\n\nd\n"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn a_line_that_never_ends_is_given_once_it_is_too_long() {
        assert_eq!(cut(&["aaaaaa", "bbbbb"]), ["aaaaaabbbbb"]);
    }

    #[test]
    fn a_last_line_without_newline_is_a_line_and_files_follow_one_another() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["one", "two\nthree"]
            .iter()
            .enumerate()
            .map(|(number, text)| {
                let path = dir.path().join(number.to_string());
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        let (input, mut lines, mut all) = (Input::open(&paths), Lines::default(), Vec::new());
        while let Arrived::Block(block) = input.next(Duration::from_secs(10)).unwrap() {
            let keep = |line: &[u8]| {
                all.push(line.to_vec());
                Ok::<(), ()>(())
            };
            lines.block(&block, 100, keep).unwrap();
        }
        assert_eq!(all, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let input = Input::open(&[PathBuf::from("/nowhere/at/all")]);
        let error = input.next(Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere/at/all: "), "{error}");
    }
}
