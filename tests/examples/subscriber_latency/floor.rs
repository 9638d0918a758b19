//! The floor: a process that is nothing but an epoll loop. As the broker it passes on first, and acknowledges then.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use folio_record::crc32c;
use folio_wire::native::frame::HEADER_AT;
use folio_wire::native::subscribe::BatchesV1;
use folio_wire::native::{Flags, Head, encode_frame};
use mio::{Events, Interest, Poll, Token};

use super::{Contender, Outcome, Receiver, Sender, native};

/// The argument that makes this program the loop.
pub(super) const WORD: &str = "bare-epoll-loop";

/// The loop's process. Dropped, it is killed.
pub(super) struct Floor {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Floor {
    pub(super) fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(dir.path().join("log"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("it was asked for")?).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, address, _dir: dir })
    }
}

impl Contender for Floor {
    fn name(&self) -> String {
        "a bare epoll loop".to_owned()
    }

    fn connect(&mut self) -> Outcome<(Sender, Receiver)> {
        // It takes the first for the producer.
        let [producer, subscriber] = [TcpStream::connect(self.address)?, TcpStream::connect(self.address)?];
        producer.set_nodelay(true)?;
        producer.set_read_timeout(Some(super::LIMIT))?;
        subscriber.set_read_timeout(Some(super::LIMIT))?;
        Ok((native::sender(producer, "t".to_owned()), native::receiver(subscriber)))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves one pair of connections after the other, until its parent is gone.
pub(super) fn serve(file: &str) -> Outcome<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let file = File::options().read(true).write(true).create_new(true).open(file)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 64 << 20)?;
    let mut end = 0;
    loop {
        let [(producer, _), (subscriber, _)] = [listener.accept()?, listener.accept()?];
        for stream in [&producer, &subscriber] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
        }
        end = pair(producer, subscriber, &file, end)?;
    }
}

/// Passes on what a producer sends, until it goes. Returns the end of the file.
fn pair(producer: TcpStream, subscriber: TcpStream, file: &File, mut end: u64) -> Outcome<u64> {
    let mut producer = mio::net::TcpStream::from_std(producer);
    let mut subscriber = mio::net::TcpStream::from_std(subscriber);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut producer, Token(0), Interest::READABLE)?;
    poll.registry().register(&mut subscriber, Token(1), Interest::READABLE)?;
    let mut events = Events::with_capacity(8);
    let mut acknowledged = 0;
    let (mut buffer, mut held, mut out) = (vec![0; 256 << 10], BytesMut::new(), BytesMut::new());
    loop {
        poll.poll(&mut events, None)?;
        loop {
            match producer.read(&mut buffer) {
                Ok(0) => return Ok(end),
                Ok(got) => {
                    held.extend_from_slice(&buffer[..got]);
                    // A short read has emptied the socket.
                    if got < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(size) = size_of(&held) {
            let frame = held.split_to(size);
            let header = u32::from_le_bytes([frame[16], frame[17], frame[18], frame[19]]) as usize;
            let batch = &frame[HEADER_AT + header..];
            std::hint::black_box(crc32c(batch));
            file.write_all_at(batch, end)?;
            end += batch.len() as u64;
            acknowledged += 1;
            let head = Head { flags: Flags::PUSHED, ..Head::request::<BatchesV1>(1) };
            let batches = BatchesV1 { subscription: 1, high_watermark: 0, log_start: 0, leader_epoch: 0 };
            encode_frame(&mut out, head, &batches, batch.len())?;
            out.extend_from_slice(batch);
        }
        subscriber.write_all(&out)?;
        out.clear();
        producer.write_all(&ACKNOWLEDGEMENT.repeat(std::mem::take(&mut acknowledged)))?;
    }
}

fn size_of(held: &[u8]) -> Option<usize> {
    let size = 4 + u32::from_le_bytes(*held.first_chunk()?) as usize;
    (held.len() >= size).then_some(size)
}

/// As long as a broker's answer: a length, and as many bytes.
const ACKNOWLEDGEMENT: [u8; 60] = {
    let mut bytes = [0; 60];
    bytes[0] = 56;
    bytes
};
