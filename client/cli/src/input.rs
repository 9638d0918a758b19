//! Lines to be sent: read on a thread of their own, so that a silent input keeps nobody from noticing Ctrl-C.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// Blocks of input, in order.
pub(crate) struct Input {
    pieces: Receiver<Result<Arrived, InputError>>,
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// What follows is of this file. Not said when there is nothing but standard input.
    File(PathBuf),
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
        let files = if files.is_empty() { vec![PathBuf::from(STDIN)] } else { files.to_vec() };
        let is_one_of_many = files.len() > 1;
        let (sender, pieces) = bounded(PIECES_AHEAD);
        thread::spawn(move || {
            for path in files {
                let tell_name = is_one_of_many || path != Path::new(STDIN);
                if let Err(source) = read(&path, tell_name, &sender) {
                    let _ = sender.send(Err(InputError { path, source }));
                    return;
                }
            }
        });
        Self { pieces }
    }

    /// Waits for input, for `limit` at most.
    pub(crate) fn next(&self, limit: Duration) -> Result<Arrived, InputError> {
        match self.pieces.recv_timeout(limit) {
            Ok(piece) => piece,
            Err(RecvTimeoutError::Timeout) => Ok(Arrived::Nothing),
            Err(RecvTimeoutError::Disconnected) => Ok(Arrived::End),
        }
    }
}

/// The name of standard input among files.
const STDIN: &str = "-";
const BLOCK_SIZE: usize = 256 << 10;
const PIECES_AHEAD: usize = 8;

fn read(path: &Path, tell_name: bool, sender: &Sender<Result<Arrived, InputError>>) -> io::Result<()> {
    let from: Box<dyn Read> =
        if path == Path::new(STDIN) { Box::new(io::stdin().lock()) } else { Box::new(File::open(path)?) };
    if tell_name {
        // Nobody listens any more when sending fails, here and below; whoever reads on finds that out.
        let _ = sender.send(Ok(Arrived::File(path.to_owned())));
    }
    forward(from, sender)
}

fn forward(mut from: impl Read, sender: &Sender<Result<Arrived, InputError>>) -> io::Result<()> {
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
                let _ = sender.send(Ok(Arrived::Block(b"\n".to_vec())));
            }
            return Ok(());
        }
        block.truncate(size);
        ends_with_newline = block.ends_with(b"\n");
        if sender.send(Ok(Arrived::Block(block))).is_err() {
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
        let mut files = Vec::new();
        loop {
            let block = match input.next(Duration::from_secs(10)).unwrap() {
                Arrived::Block(block) => block,
                Arrived::File(path) => {
                    files.push(path);
                    continue;
                }
                Arrived::End => break,
                Arrived::Nothing => panic!("a file keeps nobody waiting"),
            };
            let keep = |line: &[u8]| {
                all.push(line.to_vec());
                Ok::<(), ()>(())
            };
            lines.block(&block, 100, keep).unwrap();
        }
        assert_eq!(all, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        assert_eq!(files, paths);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let input = Input::open(&[PathBuf::from("/nowhere/at/all")]);
        let error = input.next(Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere/at/all: "), "{error}");
    }
}
