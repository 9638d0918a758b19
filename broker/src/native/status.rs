//! Status.

use folio_channel::{Responder, TURN_TIMES};
use folio_wire::native::ErrorCode;
use folio_wire::native::status::{StatusAnswerV1, StatusRequestV1};

use super::codec::{NativeRequest, NativeResponse};
use super::{header, respond};
use crate::engine::Engine;
use crate::service::topics;

pub(super) fn call(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let Some((StatusRequestV1 { counters }, reply)) = header(request, reply) else { return };
    let topics = topics::list(engine);
    let partitions: usize = topics.values().map(|topic| topic.partitions.len()).sum();
    let answer = StatusAnswerV1 {
        error: ErrorCode::NONE,
        message: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        run_id: engine.dir.run_id(),
        uptime_ms: u64::try_from(engine.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        data_dir: engine.config.data_dir.display().to_string(),
        recovered: engine.recovered.clone(),
        topics: u32::try_from(topics.len()).unwrap_or(u32::MAX),
        partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        counters: if counters { list(engine) } else { Vec::new() },
    };
    respond(request.head, &answer, reply);
}

/// All counters; of the times that turns of loops took, those that there were.
fn list(engine: &Engine) -> Vec<(String, u64)> {
    let mut times = [0; TURN_TIMES];
    for handle in engine.loops() {
        times.iter_mut().zip(handle.turn_times()).for_each(|(all, one)| *all += one);
    }
    let taken = (0..).zip(times).filter(|(_, count)| *count > 0);
    let taken = taken.map(|(power, count)| (format!("loop.turns.us.{}", 1_u64 << power), count));
    engine.counters().into_iter().chain(taken).collect()
}
