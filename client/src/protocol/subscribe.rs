//! Subscriptions: what is asked about them, and what comes of them.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use folio_record::Offset;
use folio_wire::native::subscribe::{
    BatchesV1, CreditAnswerV1, CreditRequestV1, SubscribeAnswerV1, SubscribeFrom, SubscribeRequestV1,
    SubscriptionEndV1, UnsubscribeAnswerV1, UnsubscribeRequestV1,
};
use folio_wire::native::{ErrorCode, Flags, Message};

use super::fetch::{ANY_EPOCH, fetched};
use super::{Frame, Malformed, answers, call, encode, encode_with};
use crate::CallError;
use crate::consumer::fetcher::Fetched;
use crate::consumer::streams::Order;
use crate::driver::QueuedCall;

answers!(CreditAnswerV1, UnsubscribeAnswerV1);

pub(crate) fn encode_order(correlation: u32, order: &Order, out: &mut BytesMut) -> Result<(), CallError> {
    match *order {
        Order::Subscribe { number, ref topic_partition, offset, credit } => {
            let request = SubscribeRequestV1 {
                subscription: number,
                topic: &topic_partition.topic,
                partition: topic_partition.partition,
                from: SubscribeFrom::Offset(offset.get()),
                leader_epoch: ANY_EPOCH,
                credit,
            };
            encode(correlation, &request, out)
        }
        Order::Credit { number: subscription, add } => {
            let request = CreditRequestV1 { subscription, add };
            encode_with(correlation, Flags::NO_ANSWER, &request, 0, out)
        }
        Order::Unsubscribe { number: subscription } => {
            encode(correlation, &UnsubscribeRequestV1 { subscription }, out)
        }
    }
}

/// What became of a Subscribe; no bytes if it has begun.
pub(crate) fn decode_subscribed(frame: &Frame<'_>) -> Result<Fetched, Malformed> {
    // With an error it says more than that.
    let answer: SubscribeAnswerV1 = match frame.whole_answer()? {
        Ok(answer) => answer,
        Err(refusal) => return Ok(Fetched::Refused(refusal)),
    };
    let offsets = (Offset::new(answer.high_watermark), Offset::new(answer.log_start));
    fetched(answer.error, answer.message, offsets, Bytes::new())
}

/// An Unsubscribe was answered: the broker may have ended the subscription itself before.
pub(crate) fn decode_unsubscribed(frame: &Frame<'_>) -> Result<(), Malformed> {
    frame.answer::<UnsubscribeAnswerV1>().map(drop)
}

/// What was pushed, and to which subscription.
pub(crate) fn decode_pushed(frame: &Frame<'_>) -> Result<(u32, Fetched), Malformed> {
    let is = |kind: folio_wire::native::Kind, version| {
        (frame.head.kind, frame.head.version) == (kind.number(), version)
    };
    if is(BatchesV1::KIND, BatchesV1::VERSION) {
        let BatchesV1 { subscription, high_watermark, log_start, .. } = frame.read()?;
        if frame.records.is_empty() {
            return Err(Malformed::new("batches were pushed, and there is none"));
        }
        let offsets = (Offset::new(high_watermark), Offset::new(log_start));
        return Ok((subscription, fetched(ErrorCode::NONE, None, offsets, frame.records.clone())?));
    }
    if is(SubscriptionEndV1::KIND, SubscriptionEndV1::VERSION) {
        let end: SubscriptionEndV1 = frame.read()?;
        if end.error.is_none() {
            return Err(Malformed::new("a subscription has ended for no reason"));
        }
        let offsets = (Offset::new(end.high_watermark), Offset::new(end.log_start));
        return Ok((end.subscription, fetched(end.error, end.message, offsets, Bytes::new())?));
    }
    let (kind, version) = (frame.head.kind, frame.head.version);
    Err(Malformed::new(format!("something of kind {kind} version {version} was pushed")))
}

/// A question whose only purpose is its answer: the broker is there.
pub(crate) fn are_you_there(subscription: u32, deadline: Instant) -> QueuedCall {
    let request = move |correlation, out: &mut BytesMut| {
        encode(correlation, &CreditRequestV1 { subscription, add: 0 }, out)
    };
    call(deadline, false, request, |_: CreditAnswerV1| Ok(Ok(())), Box::new(drop))
}
