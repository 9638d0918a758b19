//! A connection with one request in flight.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::{Frame, Preface, decode_frame};

use crate::Outcome;

const FRAME_SIZE_MAX: u32 = 64 << 20;

pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Outcome<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(&Preface::ours(FRAME_SIZE_MAX).encode())?;
        stream.read_exact(&mut [0; PREFACE_SIZE])?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Outcome<Frame<'_>> {
        self.stream.write_all(request)?;
        // The length comes first, little-endian, and does not count itself.
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let due = u32::from_le_bytes(length).min(FRAME_SIZE_MAX) as usize;
        self.received.clear();
        self.received.extend_from_slice(&length);
        self.received.resize(length.len() + due, 0);
        self.stream.read_exact(&mut self.received[length.len()..])?;
        Ok(decode_frame(&self.received, FRAME_SIZE_MAX)?.ok_or("half a frame")?)
    }
}
