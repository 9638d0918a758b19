//! What group commit is held against: the same with nothing around it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{ProduceAnswerV1, ProduceRequestV1, ProducedV1};
use folio_wire::native::{ErrorCode, Head, Preface, encode_frame};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::clients::{self, Load};
use crate::{FRAME_SIZE_MAX, Outcome};

const FILE_SIZE: u64 = 256 << 20;
/// `IOV_MAX` of Linux.
const PARTS_MAX: usize = 1024;

/// Acknowledged requests per second of a server that knows no protocol: one thread reads requests by their length and
/// answers those that the other one has written and flushed, all that had come together at once.
pub(crate) fn same_shape(path: &Path, frames: &[Vec<u8>], batch: &[u8], load: &Load) -> Outcome<f64> {
    let file = fresh(path)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address: SocketAddr = listener.local_addr()?;
    let poll = Poll::new()?;
    let shared = Shared {
        waiting: Mutex::default(),
        arrived: Condvar::new(),
        flushed: Mutex::default(),
        waker: Waker::new(poll.registry(), WAKER)?,
    };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let served = serve(&listener, poll, frames, &shared).map_err(|error| error.to_string());
            lock(&shared.waiting).is_over = true;
            shared.arrived.notify_one();
            served
        });
        let flusher = scope.spawn(|| flush(&file, batch, &shared).map_err(|error| error.to_string()));
        let rate = clients::run(address, frames, load);
        server.join().map_err(|_| "the server panicked")??;
        flusher.join().map_err(|_| "the flusher panicked")??;
        rate
    })
}

/// Batches per second that groups of so many bring, written and flushed by one thread.
pub(crate) fn grouped(path: &Path, batch: &[u8], group: usize, round: Duration) -> Outcome<f64> {
    let mut file = fresh(path)?;
    let (begun, mut count, mut at) = (Instant::now(), 0, 0);
    while begun.elapsed() < round {
        if at + (group * batch.len()) as u64 > FILE_SIZE {
            (file, at) = (fresh(path)?, 0);
        }
        at = write(&file, batch, group, at)?;
        file.sync_data()?;
        count += group;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Batches per second when each is flushed by itself.
pub(crate) fn one_flush_per_record(path: &Path, batch: &[u8], round: Duration) -> Outcome<f64> {
    grouped(path, batch, 1, round)
}

/// What the two threads of the bare server tell each other.
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    flushed: Mutex<Vec<usize>>,
    waker: Waker,
}

#[derive(Default)]
struct Waiting {
    connections: Vec<usize>,
    is_over: bool,
}

const WAKER: Token = Token(usize::MAX);

fn flush(file: &File, batch: &[u8], shared: &Shared) -> Outcome<()> {
    let mut at = 0;
    loop {
        let mut waiting = lock(&shared.waiting);
        while waiting.connections.is_empty() && !waiting.is_over {
            waiting = shared.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.is_over {
            return Ok(());
        }
        let connections = std::mem::take(&mut waiting.connections);
        drop(waiting);
        if at + (connections.len() * batch.len()) as u64 > FILE_SIZE {
            at = 0;
        }
        at = write(file, batch, connections.len(), at)?;
        file.sync_data()?;
        lock(&shared.flushed).extend(connections);
        shared.waker.wake()?;
    }
}

fn serve(listener: &TcpListener, mut poll: Poll, frames: &[Vec<u8>], shared: &Shared) -> Outcome<()> {
    let mut connections = Vec::new();
    for number in 0..frames.len() {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.read_exact(&mut [0; PREFACE_SIZE])?;
        stream.write_all(&Preface::ours(FRAME_SIZE_MAX).encode())?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
        connections.push((stream, 0));
    }
    let (answer, mut buffer) = (answer()?, vec![0; 256 << 10]);
    // A peer that closes may be told twice.
    let mut open: HashSet<usize> = (0..connections.len()).collect();
    let mut events = Events::with_capacity(1024);
    while !open.is_empty() {
        poll.poll(&mut events, None)?;
        let mut arrived = Vec::new();
        for event in &events {
            if event.token() == WAKER {
                for number in std::mem::take(&mut *lock(&shared.flushed)) {
                    connections[number].0.write_all(&answer)?;
                }
                continue;
            }
            let number = event.token().0;
            let (stream, got) = &mut connections[number];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => {
                        open.remove(&number);
                        break;
                    }
                    Ok(read) => *got += read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            while *got >= frames[number].len() {
                *got -= frames[number].len();
                arrived.push(number);
            }
        }
        if !arrived.is_empty() {
            lock(&shared.waiting).connections.extend(arrived);
            shared.arrived.notify_one();
        }
    }
    Ok(())
}

/// Writes `count` times `batch` at `at`; where that ends.
fn write(file: &File, batch: &[u8], count: usize, mut at: u64) -> Outcome<u64> {
    let mut left = count;
    while left > 0 {
        let parts = left.min(PARTS_MAX);
        let wanted = parts * batch.len();
        let slices: Vec<IoSlice<'_>> = (0..parts).map(|_| IoSlice::new(batch)).collect();
        let written = rustix::io::pwritev(file, &slices, at)?;
        if written < wanted {
            // The rest of a batch that was cut, and the others the next time.
            let whole = written / batch.len();
            file.write_all_at(&batch[written % batch.len()..], at + written as u64)?;
            at += ((whole + 1) * batch.len()) as u64;
            left -= whole + 1;
        } else {
            at += wanted as u64;
            left -= parts;
        }
    }
    Ok(at)
}

fn fresh(path: &Path) -> Outcome<File> {
    let _ = std::fs::remove_file(path);
    let file = File::create_new(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, FILE_SIZE)?;
    Ok(file)
}

/// An answer as a broker would give it.
fn answer() -> Outcome<Vec<u8>> {
    let entry = ProducedV1 {
        error: ErrorCode::NONE,
        message: None,
        base_offset: 1,
        log_append_time: -1,
        log_start: 0,
    };
    let answer = ProduceAnswerV1 { entries: vec![entry], ..ProduceAnswerV1::default() };
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<ProduceRequestV1<'_>>(1).answer(), &answer, 0)?;
    Ok(frame.into())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
