//! Frames of the native protocol, in and out of a channel.

use bytes::BytesMut;
use folio_channel::{ChannelError, Codec, OutboundQueue, ReadBuf};
use folio_mapped::MapSlice;
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::{Flags, Head, Message, Preface, decode_frame, encode_frame};
use serde::Serialize;

/// One request as it came. Its record bytes are its own, so that a produce needs no copy.
#[derive(Debug)]
pub(crate) struct NativeRequest {
    pub(crate) head: Head,
    /// The fixed part of the frame and the header; the header begins at `HEADER_AT`.
    pub(crate) front: BytesMut,
    pub(crate) records: BytesMut,
    /// Record bytes that the peer's frames have room for.
    pub(crate) answer_max: usize,
}

/// One answer: an encoded frame up to its record bytes, and where those lie.
#[derive(Debug)]
pub(crate) struct NativeResponse {
    front: BytesMut,
    records: Vec<MapSlice>,
}

impl NativeResponse {
    /// The answer to the request with `head`, with these record bytes behind its header; no bytes at all if that
    /// request wants none.
    pub(crate) fn new<T: Serialize>(
        head: Head,
        header: &T,
        records: Vec<MapSlice>,
    ) -> Result<Self, ChannelError> {
        let mut front = BytesMut::new();
        if head.flags.contains(Flags::NO_ANSWER) {
            return Ok(Self { front, records: Vec::new() });
        }
        let record_bytes = records.iter().map(MapSlice::len).sum();
        encode_frame(&mut front, head.answer(), header, record_bytes)
            .map_err(|e| ChannelError::internal(e.to_string()))?;
        Ok(Self { front, records })
    }

    /// Something that is pushed, with these record bytes behind its header.
    pub(crate) fn pushed<T: Message + Serialize>(
        asked: Head,
        header: &T,
        records: Option<MapSlice>,
    ) -> Result<Self, ChannelError> {
        let mut front = BytesMut::new();
        let record_bytes = records.as_ref().map_or(0, MapSlice::len);
        encode_frame(&mut front, asked.pushed::<T>(), header, record_bytes)
            .map_err(|e| ChannelError::internal(e.to_string()))?;
        Ok(Self { front, records: records.into_iter().collect() })
    }
}

/// The native protocol on one channel.
#[derive(Debug)]
pub(crate) struct NativeCodec {
    frame_max: u32,
    /// The peer's own `frame_max`, once its preface has come.
    theirs: Option<u32>,
}

/// What an answer's frame holds besides record bytes, at most; a header that is larger leaves the peer its say.
const ANSWER_HEADER_ROOM: u32 = 64 * 1024;

impl NativeCodec {
    pub(crate) fn new(frame_max: usize) -> Self {
        Self { frame_max: u32::try_from(frame_max).unwrap_or(u32::MAX), theirs: None }
    }

    fn preface(&mut self, input: &mut ReadBuf) -> Result<Option<u32>, ChannelError> {
        let theirs = Preface::decode(input.as_slice()).map_err(|e| ChannelError::peer(e.to_string()))?;
        let Some(theirs) = theirs else { return Ok(None) };
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
        self.theirs = Some(theirs.frame_max);
        Ok(self.theirs)
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
        let theirs = match self.theirs {
            Some(theirs) => theirs,
            None => match self.preface(input)? {
                Some(theirs) => theirs,
                None => return Ok(None),
            },
        };
        let frame =
            decode_frame(input.as_slice(), self.frame_max).map_err(|e| ChannelError::peer(e.to_string()))?;
        let Some(frame) = frame else { return Ok(None) };
        let (head, size, records_at) = (frame.head, frame.size(), frame.records_at());
        if head.flags.contains(Flags::ANSWER) || head.flags.contains(Flags::PUSHED) {
            return Err(ChannelError::peer("a broker takes requests, not answers"));
        }
        let mut front = input.split_to(size);
        let records = front.split_off(records_at);
        let answer_max = theirs.saturating_sub(ANSWER_HEADER_ROOM).max(theirs / 2) as usize;
        Ok(Some(NativeRequest { head, front, records, answer_max }))
    }

    fn encode(&mut self, response: NativeResponse, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        out.tail().extend_from_slice(&response.front);
        for slice in response.records {
            out.push(slice);
        }
        Ok(())
    }
}
