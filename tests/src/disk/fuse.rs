//! One file, served through FUSE: just enough of its protocol for a loop device to stand on.
//!
//! The root of the mount is the file itself, so there is nothing to look up. Every request is one read, every answer
//! one write, of the descriptor that the mount was given:
//!
//! ```text
//!  request  0      4       8        16       24    28    32    36      40
//!           | len  | code  | unique | node   | uid | gid | pid | -     | what the request has ...
//!  answer   | len  | error | unique | what the answer has ...
//! ```
//! Native byte order; `error` is 0 or a negative errno. The file is opened for direct I/O: what is read and written
//! passes through no cache but ours.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::image::run;

/// What is served.
pub(super) trait Served: fmt::Debug + Send + Sync {
    fn len(&self) -> u64;
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// What was written before is lasting when this returns.
    fn flush(&self) -> io::Result<()>;
}

/// A mounted file. Dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct Server {
    path: PathBuf,
    threads: Vec<JoinHandle<()>>,
}

/// So that a flush that takes its time holds nobody up.
const THREADS: usize = 3;

const DATA_MAX: usize = 1 << 20;
const REQUEST_HEAD: usize = 40;
const ANSWER_HEAD: usize = 16;

impl Server {
    /// Serves `file` at `path`, which is made.
    pub(super) fn mount(path: &Path, file: &Arc<dyn Served>) -> Self {
        File::create(path).expect("a place to mount");
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.expect("this claim needs FUSE, and the right to use it");
        let threads = (0..THREADS).map(|_| {
            let (device, file) = (device.try_clone().expect("a descriptor"), Arc::clone(file));
            std::thread::spawn(move || serve(&device, &*file))
        });
        let threads = threads.collect();
        let mut mount = Command::new("mount");
        mount.args(["-i", "-n", "-t", "fuse", "-o", "fd=0,rootmode=100000,user_id=0,group_id=0"]);
        run(mount.args(["crashdisk"]).arg(path).stdin(Stdio::from(device)));
        Self { path: path.to_owned(), threads }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Lazily: if somebody still holds it, it goes with the namespace.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

fn serve(mut device: &File, file: &dyn Served) {
    let mut request = vec![0; DATA_MAX + 4096];
    loop {
        match device.read(&mut request) {
            Ok(len) => {
                if let Some(answer) = Request::of(&request[..len]).and_then(|request| request.answer(file)) {
                    // One that was interrupted meanwhile wants no answer.
                    let _ = device.write(&answer);
                }
            }
            Err(error) => match error.raw_os_error() {
                // Not mounted yet; or interrupted before it was read.
                Some(EPERM | ENOENT | EINTR | EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
                _ => return,
            },
        }
    }
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EINTR: i32 = 4;
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOSYS: i32 = 38;

const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

struct Request<'a> {
    code: u32,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(REQUEST_HEAD)?;
        Some(Self { code: u32_at(head, 4)?, unique: u64_at(head, 8)?, body })
    }

    /// The whole answer, if it wants one.
    fn answer(&self, file: &dyn Served) -> Option<Vec<u8>> {
        if matches!(self.code, FORGET | BATCH_FORGET | INTERRUPT) {
            return None;
        }
        let (error, body) = match self.outcome(file) {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut answer = Vec::with_capacity(ANSWER_HEAD + body.len());
        answer.extend(u32::try_from(ANSWER_HEAD + body.len()).unwrap_or_default().to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(self.unique.to_ne_bytes());
        answer.extend(body);
        Some(answer)
    }

    fn outcome(&self, file: &dyn Served) -> Result<Vec<u8>, i32> {
        match self.code {
            INIT => Ok(greeting(self.body)),
            GETATTR | SETATTR => Ok(attributes(file.len())),
            OPEN => Ok([&0_u64.to_ne_bytes()[..], &DIRECT_IO.to_ne_bytes(), &[0; 4]].concat()),
            READ => {
                let (at, size) = self.place()?;
                let left = file.len().saturating_sub(at);
                let mut buffer = vec![0; u64::from(size).min(left).min(DATA_MAX as u64) as usize];
                file.read(at, &mut buffer).map_err(|_| EIO)?;
                Ok(buffer)
            }
            WRITE => {
                let (at, size) = self.place()?;
                let bytes = self.body.get(40..40 + size as usize).ok_or(EIO)?;
                if at + u64::from(size) > file.len() {
                    return Err(EIO);
                }
                file.write(at, bytes).map_err(|_| EIO)?;
                Ok([size.to_ne_bytes(), [0; 4]].concat())
            }
            FSYNC => file.flush().map(|()| Vec::new()).map_err(|_| EIO),
            STATFS => Ok(vec![0; 80]),
            FLUSH | RELEASE | DESTROY => Ok(Vec::new()),
            _ => Err(ENOSYS),
        }
    }

    /// Where a read or a write begins, and how many bytes it is about.
    fn place(&self) -> Result<(u64, u32), i32> {
        Ok((u64_at(self.body, 8).ok_or(EIO)?, u32_at(self.body, 16).ok_or(EIO)?))
    }
}

/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;

/// What we can, of version 7.31 of the protocol.
fn greeting(asked: &[u8]) -> Vec<u8> {
    const ASYNC_READ: u32 = 1;
    const BIG_WRITES: u32 = 1 << 5;
    const MAX_PAGES: u32 = 1 << 22;
    let readahead = u32_at(asked, 8).unwrap_or_default();
    let mut body = Vec::with_capacity(64);
    for word in [7, 31, readahead, ASYNC_READ | BIG_WRITES | MAX_PAGES] {
        body.extend(word.to_ne_bytes());
    }
    body.extend(64_u16.to_ne_bytes()); // requests in the background
    body.extend(48_u16.to_ne_bytes()); // above which they are congested
    body.extend((DATA_MAX as u32).to_ne_bytes());
    body.extend(1_u32.to_ne_bytes()); // nanoseconds of a time
    body.extend(256_u16.to_ne_bytes()); // pages of a request
    body.resize(64, 0);
    body
}

/// A regular file that only we may use, and that never changes.
fn attributes(len: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    for word in [3600_u64, 0, 1, len, len / 512, 0, 0, 0] {
        body.extend(word.to_ne_bytes());
    }
    for word in [0_u32, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0] {
        body.extend(word.to_ne_bytes());
    }
    body
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
