//! Frames of Kafka's protocol, in and out of a channel.
//!
//! ```text
//!  0        4         6             8             12
//!  | length | api key | api version | correlation | rest of the header, body ...
//! ```
//! All integers are big-endian; `length` counts what follows it. Answers have a length and the correlation id.
//!
//! Invariants: one request of a connection is worked on at a time, and answers keep the order of the requests; a length
//! that may not be closes the connection before anything is kept for it.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};
use folio_channel::{ChannelError, Codec, OutboundQueue, ReadBuf};
use folio_mapped::MapSlice;
use folio_wire::kafka::{ApiKey, Encoded, Part};

/// One request as it came, from its API key on. Its record bytes are its own, so that a produce needs no copy.
#[derive(Debug)]
pub(crate) struct KafkaRequest {
    pub(crate) frame: BytesMut,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum KafkaResponse {
    /// An encoded answer, and the record bytes that belong into its gaps, in order.
    Answer { encoded: Encoded, records: Vec<MapSlice> },
    /// Kafka has no answer to that but to hang up.
    Close(Cow<'static, str>),
}

/// Kafka's protocol on one channel.
#[derive(Debug)]
pub(crate) struct KafkaCodec {
    frame_max: usize,
}

impl KafkaCodec {
    pub(crate) fn new(frame_max: usize) -> Self {
        Self { frame_max }
    }

    /// How long the frame is that begins like this, without its length; `None` if that cannot be told yet.
    fn length(&self, begin: &[u8]) -> Result<Option<usize>, ChannelError> {
        let Some(length) = begin.first_chunk::<LENGTH_SIZE>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let size = usize::try_from(length).unwrap_or(0);
        if size < HEADER_SIZE_MIN {
            return Err(ChannelError::peer(format!("a request of {length} bytes is none")));
        }
        let Some(key) = begin[LENGTH_SIZE..].first_chunk::<2>() else { return Ok(None) };
        let key = i16::from_be_bytes(*key);
        let Some(api) = ApiKey::new(key) else {
            return Err(ChannelError::peer(format!("api key {key} is not known")));
        };
        let size_max = api.spec().request_size_max.min(self.frame_max);
        if size > size_max {
            let text = format!("a {} request of {size} bytes; {size_max} are the limit", api.name());
            return Err(ChannelError::peer(text));
        }
        Ok(Some(size))
    }
}

impl Codec for KafkaCodec {
    type Request = KafkaRequest;
    type Response = KafkaResponse;

    const IN_ORDER: bool = true;
    const IN_FLIGHT_MAX: usize = 1;

    fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<KafkaRequest>, ChannelError> {
        match self.length(input.as_slice())? {
            Some(length) if input.len() >= LENGTH_SIZE + length => {
                let mut frame = input.split_to(LENGTH_SIZE + length);
                frame.advance(LENGTH_SIZE);
                Ok(Some(KafkaRequest { frame }))
            }
            _ => Ok(None),
        }
    }

    fn encode(&mut self, response: KafkaResponse, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        let (encoded, records) = match response {
            KafkaResponse::Answer { encoded, records } => (encoded, records),
            KafkaResponse::Close(why) => return Err(ChannelError::peer(why)),
        };
        let mut records = records.into_iter();
        for part in encoded.into_parts() {
            match part {
                // What is small costs less to copy than to send as a part of its own.
                Part::Heap(bytes) if bytes.len() <= COPIED_MAX => out.tail().extend_from_slice(&bytes),
                Part::Heap(bytes) => out.push(bytes),
                Part::Splice(_) => records.next().into_iter().for_each(|slice| out.push(slice)),
            }
        }
        Ok(())
    }
}

const LENGTH_SIZE: usize = 4;
/// An answer of more heap bytes is sent from where it was encoded.
const COPIED_MAX: usize = 16 << 10;
/// API key, version and correlation id.
const HEADER_SIZE_MIN: usize = 8;
