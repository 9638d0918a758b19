//! What has become of a partition that was recovered, for a person to read.

use std::sync::Arc;

use folio_storage::data_dir::OpenedPartition;
use folio_storage::recovery::Damage;

use crate::config::Config;
use crate::engine::Disk;

/// Why it is offline, with this `damage`, and what can be done about it.
pub(crate) fn why_offline(partition: &OpenedPartition<Disk>, damage: &Damage, config: &Config) -> Arc<str> {
    let (topic, number) = (&partition.topic, partition.id.partition);
    let served = partition.below.as_ref().map(|log| format!("; served below offset {}", log.log_end()));
    let dir = config.data_dir.display();
    let repair =
        || format!(". `folio log repair {dir} --partition {topic}-{number}` tells what mending it takes");
    let advice = if is_for_repair(damage) { repair() } else { String::new() };
    format!("{damage}{}{advice}", served.unwrap_or_default()).into()
}

/// Says so in the log.
pub(crate) fn tell_offline(partition: &OpenedPartition<Disk>, why: &str) {
    let (topic, partition) = (&partition.topic, partition.id.partition);
    tracing::error!(topic, partition, why, "a partition is offline");
}

/// Says in the log what was cut off, if anything was.
pub(crate) fn tell_cut(partition: &OpenedPartition<Disk>) {
    let Some(cut) = partition.state.as_ref().ok().and_then(|(_, report)| report.cut.as_ref()) else { return };
    let kept = cut.kept.as_ref().map_or("nowhere, for want of room".into(), |kept| kept.to_string_lossy());
    tracing::warn!(
        file = %cut.file.display(),
        position = cut.position,
        offset = cut.offset.get(),
        bytes = cut.bytes,
        intact_batches = cut.intact_batches,
        kept = &*kept,
        fault = %cut.fault,
        "an interrupted write was cut off"
    );
}

/// Whether there is anything to mend. If not, the message itself says what to do.
fn is_for_repair(damage: &Damage) -> bool {
    !matches!(damage, Damage::NoRoom { .. })
}

#[cfg(test)]
mod tests {
    use folio_record::Offset;

    use super::*;

    #[test]
    fn whoever_has_no_room_is_told_to_make_some_and_is_not_sent_to_a_repair_of_an_intact_log() {
        let full = Damage::NoRoom {
            file: "topics/t-0/replace.1".into(),
            log: "topics/t-0/00000000000000000000.log".into(),
            position: 100,
            offset: Offset::new(7),
        };
        let said = full.to_string();
        assert!(said.contains("once there is room") && said.contains("below offset 7"), "{said}");
        assert!(!is_for_repair(&full));
        assert!(is_for_repair(&Damage::UnknownFile { file: "topics/t-0/x".into() }));
    }
}
