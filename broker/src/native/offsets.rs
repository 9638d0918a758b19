//! ListOffsets.

use folio_channel::Responder;
use folio_record::Timestamp;
use folio_wire::native::ErrorCode;
use folio_wire::native::offsets::{ListOffsetsAnswerV1, ListOffsetsRequestV1, ListedOffsetV1, OffsetSpec};

use super::codec::{NativeRequest, NativeResponse};
use super::{code, header_of_many, respond, respond_later};
use crate::engine::Engine;
use crate::service::offsets::{self, Spot};
use crate::service::topics;

pub(super) fn call(engine: &Engine, request: &NativeRequest, reply: Responder<'_, NativeResponse>) {
    let count = |message: &ListOffsetsRequestV1<'_>| message.entries.len();
    let Some((message, reply)) = header_of_many(request, reply, count) else { return };
    let head = request.head;
    let wanted =
        message.entries.iter().map(|entry| (entry.topic.to_owned(), entry.partition, spot(entry.spec)));
    let wants: Vec<Wanted> = wanted.collect();
    let is_search = wants.iter().any(|(_, _, spot)| spot.is_search());
    if !is_search {
        respond(head, &answer(engine, &wants), reply);
        return;
    }
    let reply = reply.later();
    engine.readers.run(move |engine| respond_later(head, &answer(engine, &wants), reply));
}

fn answer(engine: &Engine, wants: &[Wanted]) -> ListOffsetsAnswerV1 {
    let entries = wants.iter().map(|(topic, partition, spot)| {
        let found = topics::readable(engine, topic, *partition).and_then(|partition| {
            let spotted = offsets::find(&partition, *spot, None)?;
            Ok((spotted, partition.log.leader_epoch().get()))
        });
        let (error, message) = code(&found);
        let (spotted, current) = found.unwrap_or((None, -1));
        ListedOffsetV1 {
            error,
            message,
            offset: spotted.map_or(-1, |spotted| spotted.offset.get()),
            timestamp: spotted.and_then(|spotted| spotted.timestamp).map_or(-1, Timestamp::get),
            leader_epoch: spotted.map_or(current, |spotted| spotted.leader_epoch.get()),
        }
    });
    ListOffsetsAnswerV1 { error: ErrorCode::NONE, message: None, entries: entries.collect() }
}

type Wanted = (String, u32, Spot);

fn spot(spec: OffsetSpec) -> Spot {
    match spec {
        OffsetSpec::Earliest => Spot::Earliest,
        OffsetSpec::Latest => Spot::Latest,
        OffsetSpec::AtTime(time) => Spot::AtTime(Timestamp::new(time)),
    }
}
