//! Producers on one thread: each a connection that keeps so many requests in flight.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::ProduceAnswerV1;
use folio_wire::native::{ErrorCode, Preface, decode_frame};
use mio::{Events, Interest, Poll, Token};

use crate::{FRAME_SIZE_MAX, Outcome};

/// How many producers, and for how long.
pub(crate) struct Load {
    pub(crate) producers: usize,
    /// Requests of each in flight.
    pub(crate) window: usize,
    pub(crate) round: Duration,
}

/// Acknowledged requests per second. Each producer sends its own of `frames`.
pub(crate) fn run(address: SocketAddr, frames: &[Vec<u8>], load: &Load) -> Outcome<f64> {
    let mut poll = Poll::new()?;
    let mut producers = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(&Preface::ours(FRAME_SIZE_MAX).encode())?;
        stream.read_exact(&mut [0; PREFACE_SIZE])?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(number), interest)?;
        producers.push(Producer { stream, frame, to_send: 0, sent: 0, answers: Vec::new() });
    }
    let begun = Instant::now();
    for producer in &mut producers {
        producer.to_send = load.window;
        producer.send()?;
    }
    let mut events = Events::with_capacity(1024);
    let (mut acknowledged, mut in_flight) = (0_u64, load.producers * load.window);
    while in_flight > 0 {
        poll.poll(&mut events, Some(Duration::from_secs(30)))?;
        if events.is_empty() {
            return Err("no answer for 30 s".into());
        }
        for event in &events {
            let producer = &mut producers[event.token().0];
            let answered = producer.answered()?;
            acknowledged += answered as u64;
            if begun.elapsed() < load.round {
                producer.to_send += answered;
            } else {
                in_flight -= answered;
            }
            producer.send()?;
        }
    }
    Ok(acknowledged as f64 / begun.elapsed().as_secs_f64())
}

/// One connection.
struct Producer<'f> {
    stream: mio::net::TcpStream,
    frame: &'f [u8],
    /// Frames that are to be sent, the one included that is being sent.
    to_send: usize,
    /// Bytes of that one that are sent.
    sent: usize,
    answers: Vec<u8>,
}

impl Producer<'_> {
    /// Sends as much as the socket takes.
    fn send(&mut self) -> Outcome<()> {
        while self.to_send > 0 {
            match self.stream.write(&self.frame[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            if self.sent == self.frame.len() {
                (self.to_send, self.sent) = (self.to_send - 1, 0);
            }
        }
        Ok(())
    }

    /// Reads what is there; how many answers that completes, which have to be good ones.
    fn answered(&mut self) -> Outcome<usize> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(got) => self.answers.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let (mut count, mut at) = (0, 0);
        while let Some(frame) = decode_frame(&self.answers[at..], FRAME_SIZE_MAX)? {
            let answer: ProduceAnswerV1 = frame.header()?;
            let is_stored = answer.error == ErrorCode::NONE
                && answer.entries.iter().all(|entry| entry.error == ErrorCode::NONE);
            if !is_stored {
                return Err(format!("refused: {answer:?}").into());
            }
            at += frame.size();
            count += 1;
        }
        self.answers.drain(..at);
        Ok(count)
    }
}
