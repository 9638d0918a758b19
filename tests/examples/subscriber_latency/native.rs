//! The native protocol by hand: what a producer sends, and a subscriber takes.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use folio_record::{DecompressLimit, UnverifiedBatch};
use folio_tests::native::batch;
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::subscribe::{SubscribeFrom, SubscribeRequestV1};
use folio_wire::native::{Head, Message, Preface, decode_frame, encode_frame};
use serde::Serialize;

use super::{Outcome, Receiver, Sender};

const FRAME_MAX: u32 = 64 << 20;

/// Connects to something that says who it is.
pub(super) fn connect(address: &str) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(super::LIMIT))?;
    stream.write_all(&Preface::ours(FRAME_MAX).encode())?;
    stream.read_exact(&mut [0; PREFACE_SIZE])?;
    Ok(stream)
}

/// A whole frame.
pub(super) fn framed<T: Message + Serialize>(header: &T, records: &[u8]) -> Outcome<BytesMut> {
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<T>(1), header, records.len())?;
    frame.extend_from_slice(records);
    Ok(frame)
}

/// Reads one whole frame.
pub(super) fn read_frame(stream: &mut TcpStream) -> Outcome<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame)?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// Sends records of `topic`, each acknowledged before the next.
pub(super) fn sender(mut stream: TcpStream, topic: String) -> Sender {
    Box::new(move |number| {
        let batch = batch(&super::value(number));
        let entry = ProduceEntryV1 { topic: &topic, partition: 0, record_bytes: u32::try_from(batch.len())? };
        let request = ProduceRequestV1 { acks: Acks::One, timeout_ms: 30_000, entries: vec![entry] };
        stream.write_all(&framed(&request, &batch)?)?;
        read_frame(&mut stream)?;
        Ok(())
    })
}

/// Subscribes to what comes.
pub(super) fn subscribe(stream: &mut TcpStream, topic: &str) -> Outcome<()> {
    let request = SubscribeRequestV1 {
        subscription: 1,
        topic,
        partition: 0,
        from: SubscribeFrom::Latest,
        leader_epoch: -1,
        credit: u64::MAX,
    };
    stream.write_all(&framed(&request, &[])?)?;
    read_frame(stream)?;
    Ok(())
}

/// Takes frames with batches behind their headers, checks them and unpacks their records.
pub(super) fn receiver(mut stream: TcpStream) -> Receiver {
    let (mut held, mut buffer) = (BytesMut::new(), vec![0; 256 << 10]);
    Box::new(move |take| {
        match stream.read(&mut buffer)? {
            0 => return Err("the connection was closed".into()),
            got => held.extend_from_slice(&buffer[..got]),
        }
        loop {
            let size = match decode_frame(&held, FRAME_MAX)? {
                Some(frame) => {
                    let mut rest = frame.records;
                    while !rest.is_empty() {
                        let (batch, behind) = UnverifiedBatch::split_first(rest)?;
                        for record in &batch.verify()?.records(DecompressLimit::new(1 << 20))? {
                            take(super::number_in(record?.value.unwrap_or_default())?);
                        }
                        rest = behind;
                    }
                    frame.size()
                }
                None => return Ok(()),
            };
            bytes::Buf::advance(&mut held, size);
        }
    })
}
