//! Frames of the native protocol, in and out of a channel.

use bytes::BytesMut;
use folio_channel::{ChannelError, Codec, OutboundQueue, ReadBuf};
use folio_mapped::MapSlice;
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::{Head, Preface, decode_frame, encode_frame};
use serde::Serialize;

/// One request as it came. Its record bytes are its own, so that a produce needs no copy.
#[derive(Debug)]
pub(crate) struct NativeRequest {
    pub(crate) head: Head,
    /// The fixed part of the frame and the header; the header begins at `HEADER_AT`.
    pub(crate) front: BytesMut,
    pub(crate) records: BytesMut,
}

/// One answer: an encoded frame up to its record bytes, and where those lie.
#[derive(Debug)]
pub(crate) struct NativeResponse {
    front: BytesMut,
    records: Vec<MapSlice>,
}

impl NativeResponse {
    /// The answer to the request with `head`, with these record bytes behind its header.
    pub(crate) fn new<T: Serialize>(
        head: Head,
        header: &T,
        records: Vec<MapSlice>,
    ) -> Result<Self, ChannelError> {
        let mut front = BytesMut::new();
        let record_bytes = records.iter().map(MapSlice::len).sum();
        encode_frame(&mut front, head.answer(), header, record_bytes)
            .map_err(|e| ChannelError::internal(e.to_string()))?;
        Ok(Self { front, records })
    }
}

/// The native protocol on one channel.
#[derive(Debug)]
pub(crate) struct NativeCodec {
    frame_max: u32,
    has_preface: bool,
}

impl NativeCodec {
    pub(crate) fn new(frame_max: usize) -> Self {
        Self { frame_max: u32::try_from(frame_max).unwrap_or(u32::MAX), has_preface: false }
    }

    fn preface(&mut self, input: &mut ReadBuf) -> Result<bool, ChannelError> {
        let theirs = Preface::decode(input.as_slice()).map_err(|e| ChannelError::peer(e.to_string()))?;
        let Some(theirs) = theirs else { return Ok(false) };
        let ours = Preface::ours(self.frame_max);
        if ours.common_version(&theirs).is_none() {
            let (lowest, highest) = (theirs.lowest, theirs.highest);
            let what = format!(
                "it speaks protocol versions {lowest} to {highest}; this broker speaks {}",
                ours.highest
            );
            return Err(ChannelError::peer(what));
        }
        input.consume(PREFACE_SIZE);
        self.has_preface = true;
        Ok(true)
    }
}

impl Codec for NativeCodec {
    type Request = NativeRequest;
    type Response = NativeResponse;

    const IN_ORDER: bool = false;

    fn open(&mut self, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        out.tail().extend_from_slice(&Preface::ours(self.frame_max).encode());
        Ok(())
    }

    fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<NativeRequest>, ChannelError> {
        if !self.has_preface && !self.preface(input)? {
            return Ok(None);
        }
        let frame =
            decode_frame(input.as_slice(), self.frame_max).map_err(|e| ChannelError::peer(e.to_string()))?;
        let Some(frame) = frame else { return Ok(None) };
        let (head, size, records_at) = (frame.head, frame.size(), frame.records_at());
        let mut front = input.split_to(size);
        let records = front.split_off(records_at);
        Ok(Some(NativeRequest { head, front, records }))
    }

    fn encode(&mut self, response: NativeResponse, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        out.tail().extend_from_slice(&response.front);
        for slice in response.records {
            out.push(slice);
        }
        Ok(())
    }
}
