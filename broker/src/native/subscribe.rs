//! Subscribe, Credit, Unsubscribe; and what is pushed to subscribers.

use folio_channel::Responder;
use folio_record::{LeaderEpoch, Offset};
use folio_wire::native::subscribe::{
    BatchesV1, CreditAnswerV1, CreditRequestV1, SubscribeAnswerV1, SubscribeFrom, SubscribeRequestV1,
    SubscriptionEndV1, UnsubscribeAnswerV1, UnsubscribeRequestV1,
};
use folio_wire::native::{ErrorCode, Head};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header, respond};
use crate::service::subscribe::{Bounds, Pushed, Start, Streams, Subscription};
use crate::shard::Shard;

pub(super) fn subscribe(
    shard: &mut Shard,
    streams: &mut Streams<Head>,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<SubscribeRequestV1<'_>>(request, reply) else { return };
    let subscription = Subscription {
        number: message.subscription,
        topic: message.topic,
        partition: message.partition,
        from: match message.from {
            SubscribeFrom::Earliest => Start::Earliest,
            SubscribeFrom::Latest => Start::Latest,
            SubscribeFrom::Offset(offset) => Start::At(Offset::new(offset)),
        },
        leader_epoch: (message.leader_epoch >= 0).then(|| LeaderEpoch::new(message.leader_epoch)),
        credit: message.credit,
        batch_max: request.answer_max,
    };
    let (error, text, offset, bounds) = match streams.subscribe(shard, &subscription, request.head) {
        Ok((offset, bounds)) => (ErrorCode::NONE, None, offset.get(), Some(bounds)),
        Err((error, bounds)) => (error.native(), Some(error.text), NONE, bounds),
    };
    let (high_watermark, log_start) = offsets(bounds);
    let leader_epoch = bounds.map_or(-1, |bounds| bounds.leader_epoch.get());
    let answer = SubscribeAnswerV1 { error, message: text, offset, high_watermark, log_start, leader_epoch };
    respond(request.head, &answer, reply);
}

pub(super) fn credit(
    streams: &mut Streams<Head>,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<CreditRequestV1>(request, reply) else { return };
    let outcome = streams.credit(message.subscription, message.add);
    let (error, text) = code(&outcome);
    respond(request.head, &CreditAnswerV1 { error, message: text, credit: outcome.unwrap_or(0) }, reply);
}

pub(super) fn unsubscribe(
    shard: &mut Shard,
    streams: &mut Streams<Head>,
    request: &NativeRequest,
    reply: Responder<'_, NativeResponse>,
) {
    let Some((message, reply)) = header::<UnsubscribeRequestV1>(request, reply) else { return };
    let outcome = streams.unsubscribe(shard, message.subscription);
    let (error, text) = code(&outcome);
    let next_offset = outcome.map_or(NONE, Offset::get);
    respond(request.head, &UnsubscribeAnswerV1 { error, message: text, next_offset }, reply);
}

/// The frame of what is pushed.
pub(super) fn frame(pushed: Pushed<Head>) -> Option<NativeResponse> {
    let encoded = match pushed {
        Pushed::Batches { number, subscriber, bounds, slice } => {
            let (high_watermark, log_start) = offsets(Some(bounds));
            let leader_epoch = bounds.leader_epoch.get();
            let header = BatchesV1 { subscription: number, high_watermark, log_start, leader_epoch };
            NativeResponse::pushed(subscriber, &header, Some(slice))
        }
        Pushed::End { number, subscriber, next_offset, bounds, error } => {
            let (high_watermark, log_start) = offsets(bounds);
            let header = SubscriptionEndV1 {
                subscription: number,
                error: error.native(),
                message: Some(error.text),
                next_offset: next_offset.get(),
                high_watermark,
                log_start,
            };
            NativeResponse::pushed(subscriber, &header, None)
        }
    };
    // What is pushed has few fields, and batches that were found to fit.
    encoded.inspect_err(|error| tracing::error!(%error, "a push cannot be encoded")).ok()
}

/// High watermark and log start, as far as they are known.
fn offsets(bounds: Option<Bounds>) -> (i64, i64) {
    bounds.map_or((NONE, NONE), |bounds| (bounds.high_watermark.get(), bounds.log_start.get()))
}

/// No offset.
const NONE: i64 = -1;
