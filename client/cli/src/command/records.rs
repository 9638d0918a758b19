//! `folio records`.

use folio_client::{Admin, CallError, ErrorCode, Offset, OffsetSpec, Refusal, TopicPartition};
use serde_json::json;

use super::connect;
use crate::arguments::{Output, RecordsCommand};
use crate::exit::Failure;
use crate::output::done;
use crate::place::Stop;

pub(crate) fn run(broker: &str, output: Output, command: RecordsCommand) -> Result<(), Failure> {
    let client = connect(broker)?;
    let admin = client.admin();
    let RecordsCommand::Delete { topic, partition, before } = command;
    for number in partition {
        let place = TopicPartition::new(topic.as_str(), number);
        let offset = offset(&admin, &place, before)?;
        let deleted = admin.delete_records([(place, offset)]).wait()?;
        for outcome in deleted {
            let start = outcome.map_err(|refusal| refused(&topic, refusal))?.get();
            done(
                output,
                &format!("topic {topic}, partition {number}: records before offset {start} are deleted"),
                &json!({ "topic": topic, "partition": number, "log_start": start }),
            )?;
        }
    }
    Ok(())
}

/// Before which offset records go; `None`: all that can be read.
fn offset(admin: &Admin, place: &TopicPartition, before: Stop) -> Result<Option<Offset>, Failure> {
    match before {
        Stop::End => Ok(None),
        Stop::At(offset) => Ok(Some(offset)),
        Stop::Since(time) => {
            let mut found = admin.list_offsets([(place.clone(), OffsetSpec::Since(time))]).wait()?;
            match found.pop() {
                // All records are older.
                Some(Ok(found)) => Ok(found.map(|found| found.offset)),
                Some(Err(refusal)) => Err(refused(&place.topic, refusal)),
                None => Ok(None),
            }
        }
    }
}

fn refused(topic: &str, refusal: Refusal) -> Failure {
    if refusal.code == ErrorCode::UNKNOWN_TOPIC {
        return Failure::no_such_topic(topic);
    }
    CallError::Refused(refusal).into()
}
