//! The protocol that the tests speak: one byte of length, then so many bytes.

use bytes::{BufMut, Bytes, BytesMut};
use folio_channel::{
    ChannelError, ChannelInitializer, Codec, LoopLocal, Outbound, OutboundQueue, ReadBuf, RequestHandler,
    Responder, Service, Stage, initializer,
};

/// A frame is a request; an answer is a frame, or whatever is given in its place.
pub(crate) struct Frames<const IN_ORDER: bool>;

/// An answer.
pub(crate) enum Answer {
    Frame(Bytes),
    /// Sent as it is.
    Raw(Outbound),
}

impl<const IN_ORDER: bool> Codec for Frames<IN_ORDER> {
    type Request = BytesMut;
    type Response = Answer;

    const IN_ORDER: bool = IN_ORDER;

    fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<BytesMut>, ChannelError> {
        let Some(&len) = input.as_slice().first() else { return Ok(None) };
        if len == 0xff {
            return Err(ChannelError::peer("a frame of 255 bytes"));
        }
        let size = 1 + usize::from(len);
        if input.len() < size {
            return Ok(None);
        }
        Ok(Some(input.split_to(size).split_off(1)))
    }

    fn encode(&mut self, response: Answer, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        match response {
            Answer::Frame(payload) => {
                out.tail().put_u8(payload.len() as u8);
                out.tail().put_slice(&payload);
            }
            Answer::Raw(part) => out.push(part),
        }
        Ok(())
    }
}

/// A service that is a closure.
pub(crate) struct Handle<F>(pub(crate) F);

impl<L, F> Service<L> for Handle<F>
where
    L: LoopLocal,
    F: FnMut(&mut L, BytesMut, Responder<'_, Answer>) + Send + 'static,
{
    type Request = BytesMut;
    type Response = Answer;

    fn call(&mut self, local: &mut L, request: BytesMut, reply: Responder<'_, Answer>) {
        (self.0)(local, request, reply);
    }
}

/// A pipeline of one stage, whose answers leave in order or as they come.
pub(crate) fn serving<L, F, const IN_ORDER: bool>(handle: F) -> impl ChannelInitializer<L>
where
    L: LoopLocal,
    F: FnMut(&mut L, BytesMut, Responder<'_, Answer>) + Clone + Send + Sync + 'static,
{
    initializer(move |_, pipeline| {
        let handler = RequestHandler::new(Frames::<IN_ORDER>, Handle(handle.clone()));
        pipeline.add_last("requests", Stage::inbound(handler));
        Ok(())
    })
}

/// Answers each request with itself, at once.
pub(crate) fn echo<L: LoopLocal>(_: &mut L, request: BytesMut, reply: Responder<'_, Answer>) {
    reply.send(Answer::Frame(request.freeze()));
}

pub(crate) fn answer(payload: impl Into<Bytes>) -> Answer {
    Answer::Frame(payload.into())
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 0xff);
    let mut frame = vec![payload.len() as u8];
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn frames<const N: usize>(payloads: [&str; N]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| frame(payload.as_bytes())).collect()
}
