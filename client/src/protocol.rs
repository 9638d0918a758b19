//! The only room that knows the messages of the native protocol: house words in, frames out, and back.
//!
//! Nothing that a broker sent is believed here: a frame is whole and its checksum right before anything is read of it,
//! an answer has as many parts as were asked for, lengths add up to what is there. What does not is [`Malformed`], and
//! ends the connection.

mod configs;
mod fetch;
mod group_admin;
pub(crate) mod groups;
mod offsets;
mod produce;
mod producers;
mod records;
mod status;
mod subscribe;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_wire::native::frame::frame_size as wire_frame_size;
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::{
    ErrorCode, Flags, Head, Kind, Message, Preface, UnsupportedV1, decode_frame, encode_frame,
};
use serde::{Deserialize, Serialize};

use crate::driver::QueuedCall;
use crate::{CallError, Refusal};

pub(crate) use configs::{alter_configs, describe_configs};
pub(crate) use fetch::{decode_fetch, encode_fetch};
pub(crate) use group_admin::{delete_group, describe_group, list_groups, reset_group, undo_group};
pub(crate) use offsets::{decode_lookup, encode_lookup, list_offsets};
pub(crate) use produce::{decode_produce, encode_produce};
pub(crate) use producers::{describe_producers, init_producer};
pub(crate) use records::delete_records;
pub(crate) use status::status;
pub(crate) use subscribe::{
    are_you_there, decode_pushed, decode_subscribed, decode_unsubscribed, encode_order,
};
pub(crate) use topics::{
    create_partitions, create_topic, delete_topic, describe_topic, list_topics, metadata, partition_count,
};

/// What was agreed with the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The largest frame that it reads.
    pub(crate) frame_bytes_max: usize,
}

/// What came is not what the protocol allows.
#[derive(Clone, Debug)]
pub(crate) struct Malformed(Arc<str>);

/// An answer, or something pushed, as it came in: whole, its checksum right.
pub(crate) struct Frame<'a> {
    pub(crate) correlation: u32,
    head: Head,
    header: &'a [u8],
    /// The record bytes; they share the memory of what was received.
    records: Bytes,
    broker: &'a Arc<str>,
}

/// What every answer begins with.
trait Answer: Message {
    fn outcome(&mut self) -> (ErrorCode, Option<String>);
}

macro_rules! answers {
    ($($type:ty),* $(,)?) => {
        $(impl $crate::protocol::Answer for $type {
            fn outcome(&mut self) -> (folio_wire::native::ErrorCode, Option<String>) {
                (self.error, self.message.take())
            }
        })*
    };
}
use answers;

/// Appends our preface.
pub(crate) fn write_preface(frame_bytes_max: usize, out: &mut BytesMut) {
    out.extend_from_slice(&Preface::ours(frame_max(frame_bytes_max)).encode());
}

/// Reads the peer's preface, if all of it is there; returns its size as well.
pub(crate) fn read_preface(bytes: &[u8]) -> Result<Option<(usize, Peer)>, Malformed> {
    let Some(theirs) = Preface::decode(bytes).map_err(|error| Malformed::new(error.to_string()))? else {
        return Ok(None);
    };
    let ours = Preface::ours(0);
    match ours.common_version(&theirs) {
        Some(_only_one_so_far) => {
            let frame_bytes_max = usize::try_from(theirs.frame_max).unwrap_or(usize::MAX);
            Ok(Some((PREFACE_SIZE, Peer { frame_bytes_max })))
        }
        None => Err(Malformed::new(format!(
            "it speaks versions {} to {} of the protocol, this client {} to {}",
            theirs.lowest, theirs.highest, ours.lowest, ours.highest
        ))),
    }
}

/// The size of the frame at the front of `bytes`, once all of it is there.
pub(crate) fn whole_frame(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let size =
        wire_frame_size(bytes, frame_max(frame_bytes_max)).map_err(|e| Malformed::new(e.to_string()))?;
    Ok(size.filter(|size| bytes.len() >= *size))
}

/// Reads the one frame that `bytes` are.
pub(crate) fn read_frame<'a>(
    bytes: &'a Bytes,
    frame_bytes_max: usize,
    broker: &'a Arc<str>,
) -> Result<Frame<'a>, Malformed> {
    let frame = decode_frame(bytes, frame_max(frame_bytes_max))
        .map_err(|error| Malformed::new(error.to_string()))?
        .ok_or_else(|| Malformed::new("a frame is cut short"))?;
    if ![Flags::ANSWER, Flags::PUSHED].contains(&frame.head.flags) {
        return Err(Malformed::new("a frame that is no answer"));
    }
    Ok(Frame {
        correlation: frame.head.correlation,
        head: frame.head,
        header: frame.header,
        records: bytes.slice(frame.records_at()..),
        broker,
    })
}

impl<'a> Frame<'a> {
    /// Whether nobody asked for it.
    pub(crate) fn is_pushed(&self) -> bool {
        self.head.flags == Flags::PUSHED
    }

    /// The answer to a request of type `A`, if it succeeded as a whole.
    fn answer<A: Answer + Deserialize<'a>>(&self) -> Result<Result<A, CallError>, Malformed> {
        let mut answer: A = match self.whole_answer()? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(CallError::Refused(refusal))),
        };
        let (code, message) = answer.outcome();
        Ok(refusal(code, message).map_or(Ok(answer), |refusal| Err(CallError::Refused(refusal))))
    }

    /// The answer to a request of type `A`, whatever it says, if the broker knows the request.
    fn whole_answer<A: Message + Deserialize<'a>>(&self) -> Result<Result<A, Refusal>, Malformed> {
        if self.head.kind == Kind::Unsupported.number() {
            let lacks: UnsupportedV1 = self.read()?;
            let message = lacks_text(A::KIND, A::VERSION, &lacks).into();
            return Ok(Err(Refusal { code: lacks.error, message }));
        }
        if (self.head.kind, self.head.version) != (A::KIND.number(), A::VERSION) {
            return Err(Malformed::new(format!(
                "an answer of kind {} version {} to a request of kind {} version {}",
                self.head.kind,
                self.head.version,
                A::KIND.number(),
                A::VERSION
            )));
        }
        self.read().map(Ok)
    }

    fn read<T: Deserialize<'a>>(&self) -> Result<T, Malformed> {
        folio_wire::native::header::decode(self.header).map_err(|error| Malformed::new(error.to_string()))
    }
}

impl Malformed {
    pub(crate) fn new(what: impl Into<Arc<str>>) -> Self {
        Self(what.into())
    }

    pub(crate) fn error(&self, broker: &Arc<str>) -> CallError {
        CallError::Protocol { broker: Arc::clone(broker), reason: Arc::clone(&self.0) }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is done with the result of a call, on the client's thread.
pub(crate) type Then<T> = Box<dyn FnOnce(Result<T, CallError>) + Send>;

/// A call whose request is written by `encode`, and of whose answer `read` makes a result.
fn call<A, T>(
    deadline: Instant,
    repeatable: bool,
    encode: impl Fn(u32, &mut BytesMut) -> Result<(), CallError> + Send + 'static,
    read: impl FnOnce(A) -> Result<Result<T, CallError>, Malformed> + Send + 'static,
    then: Then<T>,
) -> QueuedCall
where
    A: Answer + for<'a> Deserialize<'a>,
    T: 'static,
{
    let complete = move |frame: Result<&Frame<'_>, CallError>| {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                then(Err(error));
                return Ok(());
            }
        };
        match frame.answer().and_then(|answer| answer.map_or_else(|error| Ok(Err(error)), read)) {
            Ok(result) => {
                then(result);
                Ok(())
            }
            Err(malformed) => {
                then(Err(malformed.error(frame.broker)));
                Err(malformed)
            }
        }
    };
    let (encode, complete) = (Box::new(encode), Box::new(complete));
    QueuedCall { encode, complete, deadline, repeatable, parked: Duration::ZERO }
}

/// Writes the request `M` with no record bytes.
fn encode<M: Message + Serialize>(
    correlation: u32,
    request: &M,
    out: &mut BytesMut,
) -> Result<(), CallError> {
    encode_with(correlation, Flags::NONE, request, 0, out)
}

fn encode_with<M: Message + Serialize>(
    correlation: u32,
    flags: Flags,
    request: &M,
    record_bytes: usize,
    out: &mut BytesMut,
) -> Result<(), CallError> {
    let head = Head { flags, ..Head::request::<M>(correlation) };
    encode_frame(out, head, request, record_bytes)
        .map_err(|error| CallError::usage(format!("the request cannot be written: {error}")))
}

/// What the broker says of a part of a request, unless it is a success.
fn refusal(code: ErrorCode, message: Option<String>) -> Option<Refusal> {
    (!code.is_none()).then(|| Refusal { code, message: message.unwrap_or_default().into() })
}

/// As many parts as were asked for.
fn expect_parts(got: usize, asked: usize) -> Result<(), Malformed> {
    if got == asked {
        return Ok(());
    }
    Err(Malformed::new(format!("an answer of {got} parts to a request of {asked}")))
}

fn lacks_text(kind: Kind, version: u8, lacks: &UnsupportedV1) -> String {
    if lacks.highest == 0 {
        return format!("the broker does not know the request {kind:?}");
    }
    format!(
        "the broker does not know version {version} of the request {kind:?}, only {} to {}",
        lacks.lowest, lacks.highest
    )
}

fn frame_max(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
