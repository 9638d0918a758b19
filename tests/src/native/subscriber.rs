//! Subscriptions by hand.

use std::time::Duration;

use folio_wire::native::subscribe::{
    BatchesV1, CreditAnswerV1, CreditRequestV1, SubscribeAnswerV1, SubscribeFrom, SubscribeRequestV1,
    SubscriptionEndV1, UnsubscribeAnswerV1, UnsubscribeRequestV1,
};
use folio_wire::native::{Flags, Head, Kind, decode_frame};

use super::{Peer, decoded};

/// What came of a subscription without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// Whole batches.
    Batches(BatchesV1, Vec<u8>),
    /// It has ended.
    End(SubscriptionEndV1),
}

impl Peer {
    /// Subscribes to partition 0 of a topic.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn subscribe(
        &mut self,
        subscription: u32,
        topic: &str,
        from: SubscribeFrom,
        credit: u64,
    ) -> SubscribeAnswerV1 {
        let request =
            SubscribeRequestV1 { subscription, topic, partition: 0, from, leader_epoch: -1, credit };
        self.subscribe_as(&request)
    }

    /// Subscribes.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn subscribe_as(&mut self, request: &SubscribeRequestV1<'_>) -> SubscribeAnswerV1 {
        let sent = self.submit(request, &[]);
        let (answer, _) = self.answer_to::<SubscribeRequestV1<'_>>(sent);
        if answer.error.is_none() {
            self.subscribed.insert(request.subscription, sent.0);
        }
        answer
    }

    /// Gives credit.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn credit(&mut self, subscription: u32, add: u64) -> CreditAnswerV1 {
        self.call(&CreditRequestV1 { subscription, add }, &[]).0
    }

    /// Unsubscribes.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn unsubscribe(&mut self, subscription: u32) -> UnsubscribeAnswerV1 {
        self.call(&UnsubscribeRequestV1 { subscription }, &[]).0
    }

    /// The next thing that is pushed, if it comes in time.
    ///
    /// # Panics
    /// When it is of no subscription of this peer, or something else comes.
    pub fn next_push(&mut self, limit: Duration) -> Option<Push> {
        let frame = match self.pushed.pop_front() {
            Some(frame) => frame,
            None => self.answer(limit)?,
        };
        let frame = decode_frame(&frame, u32::MAX).ok().flatten().expect("a frame");
        assert_eq!((frame.head.version, frame.head.flags), (1, Flags::PUSHED));
        let asked = |subscription| {
            let correlation = self.subscribed[&subscription];
            Head { correlation, ..Head::request::<SubscribeRequestV1<'_>>(0) }
        };
        if frame.head.kind == Kind::Batches.number() {
            let batches: BatchesV1 = decoded(frame.header);
            assert_eq!(frame.head, asked(batches.subscription).pushed::<BatchesV1>());
            assert!(!frame.records.is_empty(), "batches without a batch");
            Some(Push::Batches(batches, frame.records.to_vec()))
        } else {
            let end: SubscriptionEndV1 = decoded(frame.header);
            assert_eq!(frame.head, asked(end.subscription).pushed::<SubscriptionEndV1>());
            self.subscribed.remove(&end.subscription);
            Some(Push::End(end))
        }
    }

    /// The record bytes of the next push.
    ///
    /// # Panics
    /// When it does not come, or is of another subscription, or its end.
    pub fn next_batches(&mut self, subscription: u32) -> Vec<u8> {
        match self.next_push(super::LIMIT) {
            Some(Push::Batches(batches, records)) if batches.subscription == subscription => records,
            other => panic!("{other:?} instead of batches of {subscription}"),
        }
    }

    /// How the next subscription to end ends.
    ///
    /// # Panics
    /// When something else comes.
    pub fn next_end(&mut self) -> SubscriptionEndV1 {
        match self.next_push(super::LIMIT) {
            Some(Push::End(end)) => end,
            other => panic!("{other:?} instead of an end"),
        }
    }

    /// Whether nothing has been pushed by the time that a request is answered which was sent now.
    ///
    /// # Panics
    /// When it is not answered.
    pub fn hears_nothing(&mut self) -> bool {
        self.counter("appends");
        self.pushed.is_empty()
    }
}
