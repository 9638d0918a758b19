//! What other threads tell the driver, and what it tells them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_channel::{ConnectError, EventLoopGroup};

use super::Driver;
use crate::CallError;
use crate::call::Completer;
use crate::consumer::fetcher::Fetcher;
use crate::group::member::{Input, Member};
use crate::producer::sender::Sender;
use crate::protocol::{Frame, Malformed};

/// What other threads tell the driver.
pub(crate) enum Message {
    /// The group that the driver's loop belongs to: the way to connect. The first message.
    Started(Arc<EventLoopGroup<Driver>>),
    /// Completed when there is a connection, or when one round of attempts has failed.
    WhenReady(Completer<Arc<str>>),
    Call(Box<QueuedCall>),
    AddSender(Box<Sender>),
    SenderSignalled(u64),
    DropSender(u64),
    AddFetcher(Box<Fetcher>),
    FetcherSignalled(u64),
    DropFetcher(u64),
    AddMember(Box<Member>),
    /// Something has happened to a member of a group.
    Member(u64, Box<Input>),
    DropMember(u64),
    Resolved {
        attempt: u64,
        addresses: Result<Vec<SocketAddr>, CallError>,
    },
    NotConnected {
        attempt: u64,
        error: ConnectError,
    },
    /// Nobody can ask for anything any more: finish what was accepted, and end.
    ShutDown,
}

/// A call that waits to be sent, or for its answer.
pub(crate) struct QueuedCall {
    pub(crate) encode: Box<Encode>,
    pub(crate) complete: Box<Complete>,
    /// When it is given up if it could not be sent.
    pub(crate) deadline: Instant,
    /// Sending it twice does no harm.
    pub(crate) repeatable: bool,
    /// How long the broker may keep it, on purpose, before it answers.
    pub(crate) parked: Duration,
}

/// Why there is no connection, for threads that waited in vain.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<CallError>>);

/// Writes a request of this correlation id, as often as it must be sent.
pub(crate) type Encode = dyn Fn(u32, &mut BytesMut) -> Result<(), CallError> + Send;

/// Given the answer's frame. An error closes the connection.
pub(crate) type Complete = dyn FnOnce(Result<&Frame<'_>, CallError>) -> Result<(), Malformed> + Send;

impl QueuedCall {
    /// As this; the broker may keep it for so long.
    pub(crate) fn parked_for(self, parked: Duration) -> Self {
        Self { parked, ..self }
    }

    /// It has no answer, and will have none.
    pub(crate) fn fail(self, error: CallError) {
        // Only an answer can be malformed.
        let _ = (self.complete)(Err(error));
    }
}

impl Trouble {
    pub(crate) fn get(&self) -> Option<CallError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, trouble: Option<CallError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
