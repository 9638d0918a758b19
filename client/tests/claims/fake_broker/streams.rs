//! Subscriptions of a fake broker: a thread each, one batch a push. The plan is asked before each push, as if it were a
//! request of kind Batches; one that it refuses is the subscription's end.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use folio_client::ErrorCode;
use folio_wire::native::subscribe::{
    BatchesV1, CreditAnswerV1, CreditRequestV1, SubscribeAnswerV1, SubscribeFrom, SubscribeRequestV1,
    SubscriptionEndV1, UnsubscribeAnswerV1, UnsubscribeRequestV1,
};
use folio_wire::native::{Frame, Head, Kind, Message, encode_frame};
use serde::Serialize;

use super::answers::encode;
use super::{Deed, Shared};

/// The subscriptions of one connection, with the credit of each.
pub(super) type Streams = Arc<Mutex<BTreeMap<u32, u64>>>;

/// Answers what is asked about a subscription.
pub(super) fn answer(
    shared: &Arc<Shared>,
    streams: &Streams,
    writer: &Arc<Mutex<TcpStream>>,
    frame: &Frame<'_>,
    error: ErrorCode,
) -> Vec<u8> {
    let head = frame.head;
    match Kind::from_number(head.kind).unwrap() {
        Kind::Subscribe => {
            let request: SubscribeRequestV1<'_> = frame.header().unwrap();
            let answer = subscribe(shared, &request, error);
            if answer.error.is_none() {
                assert!(streams.lock().unwrap().insert(request.subscription, request.credit).is_none());
                let stream = Stream {
                    shared: Arc::clone(shared),
                    streams: Arc::clone(streams),
                    writer: Arc::clone(writer),
                    number: request.subscription,
                    head,
                    topic: request.topic.to_owned(),
                    partition: request.partition as usize,
                    next: answer.offset,
                };
                std::thread::spawn(move || stream.run());
            }
            encode(head, &answer, &[])
        }
        Kind::Credit => {
            let request: CreditRequestV1 = frame.header().unwrap();
            let mut streams = streams.lock().unwrap();
            let credit = streams.get_mut(&request.subscription).map(|credit| {
                *credit = credit.saturating_add(request.add);
                *credit
            });
            shared.changed.notify_all();
            let error = if credit.is_some() { error } else { ErrorCode::UNKNOWN_SUBSCRIPTION };
            encode(head, &CreditAnswerV1 { error, message: None, credit: credit.unwrap_or(0) }, &[])
        }
        _ => {
            let request: UnsubscribeRequestV1 = frame.header().unwrap();
            let known = streams.lock().unwrap().remove(&request.subscription).is_some();
            let error = if known { error } else { ErrorCode::UNKNOWN_SUBSCRIPTION };
            encode(head, &UnsubscribeAnswerV1 { error, message: None, next_offset: -1 }, &[])
        }
    }
}

fn subscribe(shared: &Shared, request: &SubscribeRequestV1<'_>, error: ErrorCode) -> SubscribeAnswerV1 {
    let state = shared.state();
    let partition = state.topics.get(request.topic).and_then(|t| t.get(request.partition as usize));
    let Some(partition) = partition else {
        return SubscribeAnswerV1 { error: ErrorCode::UNKNOWN_TOPIC, ..SubscribeAnswerV1::default() };
    };
    let SubscribeFrom::Offset(offset) = request.from else { panic!("the client names an offset") };
    let known = (partition.log_start..=partition.log_end()).contains(&offset);
    SubscribeAnswerV1 {
        error: if error.is_none() && !known { ErrorCode::OFFSET_OUT_OF_RANGE } else { error },
        offset,
        high_watermark: partition.log_end(),
        log_start: partition.log_start,
        leader_epoch: 0,
        ..SubscribeAnswerV1::default()
    }
}

struct Stream {
    shared: Arc<Shared>,
    streams: Streams,
    writer: Arc<Mutex<TcpStream>>,
    number: u32,
    head: Head,
    topic: String,
    partition: usize,
    next: i64,
}

impl Stream {
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let state = shared.state();
            let credit = self.streams.lock().unwrap().get(&self.number).copied();
            let Some(credit) = credit.filter(|_| !shared.ended.load(Ordering::SeqCst)) else { return };
            let next = if credit > 0 { self.look(&state) } else { Ok(None) };
            if matches!(next, Ok(None)) {
                drop(shared.changed.wait_timeout(state, Duration::from_millis(10)).unwrap());
                continue;
            }
            drop(state);
            if !self.push(next) {
                return;
            }
        }
    }

    /// The next batch, with the offset behind it.
    fn look(&self, state: &super::State) -> Result<Option<(i64, Vec<u8>)>, ErrorCode> {
        let partition = state.topics.get(&self.topic).ok_or(ErrorCode::UNKNOWN_TOPIC)?;
        let partition = &partition[self.partition];
        if self.next < partition.log_start {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        Ok(partition.batches.iter().find(|(end, _)| *end > self.next).cloned())
    }

    /// Whether it goes on.
    fn push(&mut self, what: Result<Option<(i64, Vec<u8>)>, ErrorCode>) -> bool {
        let (deed, refused) = self.shared.decide(Kind::Batches);
        let what = if refused.is_none() { what } else { Err(refused) };
        let (high_watermark, log_start) = self.offsets();
        let goes_on = what.is_ok();
        let mut bytes = match what {
            Ok(batch) => {
                let (end, batch) = batch.unwrap_or_default();
                // Unsubscribed meanwhile: nothing comes behind the answer. The lock is held until it is written.
                let mut streams = self.streams.lock().unwrap();
                let Some(credit) = streams.get_mut(&self.number) else { return false };
                *credit = credit.saturating_sub(batch.len() as u64);
                self.next = end;
                let subscription = self.number;
                let header = BatchesV1 { subscription, high_watermark, log_start, leader_epoch: 0 };
                let bytes = pushed(self.head, &header, &batch);
                if matches!(deed, Deed::Serve) {
                    return self.writer.lock().unwrap().write_all(&bytes).is_ok();
                }
                bytes
            }
            Err(error) => {
                self.streams.lock().unwrap().remove(&self.number);
                let (subscription, next_offset) = (self.number, self.next);
                let message = Some("it ends".to_owned());
                let end = SubscriptionEndV1 {
                    subscription,
                    error,
                    message,
                    next_offset,
                    high_watermark,
                    log_start,
                };
                pushed(self.head, &end, &[])
            }
        };
        let writer = self.writer.lock().unwrap();
        match deed {
            Deed::Spoil(spoil) => spoil(&mut bytes),
            Deed::CutAnswer(size) => bytes.truncate(size),
            Deed::Ignore => return true,
            _ => {}
        }
        let sent = (&*writer).write_all(&bytes);
        if matches!(deed, Deed::Close | Deed::CutAnswer(_)) {
            let _ = writer.shutdown(Shutdown::Both);
        }
        sent.is_ok() && goes_on
    }

    /// High watermark and log start.
    fn offsets(&self) -> (i64, i64) {
        let state = self.shared.state();
        let partition = state.topics.get(&self.topic).map(|partitions| &partitions[self.partition]);
        partition.map_or((-1, -1), |partition| (partition.log_end(), partition.log_start))
    }
}

fn pushed<T: Message + Serialize>(asked: Head, header: &T, records: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_frame(&mut out, asked.pushed::<T>(), header, records.len()).unwrap();
    out.extend_from_slice(records);
    out.to_vec()
}
