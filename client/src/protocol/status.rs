//! Status: how the broker is.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_wire::native::status::{StatusAnswerV1, StatusRequestV1};

use super::{Then, answers, call, encode};
use crate::BrokerStatus;
use crate::driver::QueuedCall;

answers!(StatusAnswerV1);

pub(crate) fn status(counters: bool, deadline: Instant, then: Then<BrokerStatus>) -> QueuedCall {
    let request =
        move |correlation, out: &mut BytesMut| encode(correlation, &StatusRequestV1 { counters }, out);
    let read = |answer: StatusAnswerV1| {
        Ok(Ok(BrokerStatus {
            version: answer.version,
            pid: answer.pid,
            run_id: answer.run_id,
            uptime: Duration::from_millis(answer.uptime_ms),
            data_dir: answer.data_dir,
            recovered: answer.recovered,
            topics: answer.topics,
            partitions: answer.partitions,
            counters: answer.counters,
        }))
    };
    call(deadline, true, request, read, then)
}
