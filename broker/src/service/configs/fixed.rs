//! Settings of a broker that are what they are while it runs.

use std::borrow::Cow;

use super::{Source, Synonym, Told};
use crate::config::Config;
use crate::config::kind::Kind;
use crate::engine::NODE_ID;

/// A setting with this value; without a default it is never anything else.
pub(super) fn told(
    name: &'static str,
    kind: Kind,
    value: String,
    default: Option<String>,
    doc: &'static str,
) -> Told {
    let is_set = default.as_ref().is_some_and(|default| *default != value);
    let source = if is_set { Source::Configuration } else { Source::Default };
    let synonym = |value: String, source| Synonym { name: Cow::Borrowed(name), value, source };
    let mut synonyms = vec![synonym(value.clone(), source)];
    synonyms.extend(default.filter(|_| is_set).map(|default| synonym(default, Source::Default)));
    Told {
        name: Cow::Borrowed(name),
        value: Some(value),
        source,
        kind,
        is_read_only: true,
        doc,
        does_nothing: None,
        synonyms,
    }
}

/// What Kafka's tools ask a broker for by names that are not ours.
pub(super) fn of_kafka(config: &Config) -> impl Iterator<Item = Told> {
    let listeners = config.listen.iter().map(|address| format!("PLAINTEXT://{address}"));
    let dir = config.data_dir.display().to_string();
    let rows = [
        ("node.id", Kind::Int, NODE_ID.to_string(), "The number of this broker."),
        ("broker.id", Kind::Int, NODE_ID.to_string(), "The number of this broker."),
        ("process.roles", Kind::List, "broker,controller".to_owned(), "What this process is: all there is."),
        ("listeners", Kind::List, listeners.collect::<Vec<_>>().join(","), "Where it listens."),
        ("log.dirs", Kind::String, dir.clone(), "Where the data is."),
        ("log.dir", Kind::String, dir, "Where the data is."),
        ("default.replication.factor", Kind::Int, "1".to_owned(), "There is one node."),
        ("delete.topic.enable", Kind::Boolean, "true".to_owned(), "Topics can be deleted."),
        (
            "socket.request.max.bytes",
            Kind::Int,
            config.frame_max_bytes.to_string(),
            "The largest request, in bytes.",
        ),
        (
            "connections.max.idle.ms",
            Kind::Long,
            config.connection_idle.as_millis().to_string(),
            "Milliseconds without traffic after which a connection is closed.",
        ),
        ("max.connections", Kind::Int, config.connections_max.to_string(), "Connections at once."),
        (
            "queued.max.request.bytes",
            Kind::Long,
            config.queued_max_bytes.to_string(),
            "Bytes of requests that are still arriving, of all connections.",
        ),
        (
            "log.retention.check.interval.ms",
            Kind::Long,
            config.maintenance_interval.as_millis().to_string(),
            "Milliseconds between looks at retention.",
        ),
        (
            "log.retention.hours",
            Kind::Int,
            "168".to_owned(),
            "Hours records are kept; log.retention.ms covers it.",
        ),
        (
            "log.roll.hours",
            Kind::Int,
            "168".to_owned(),
            "Hours until a segment is closed; log.roll.ms covers it.",
        ),
        (
            "log.roll.jitter.hours",
            Kind::Int,
            "0".to_owned(),
            "Hours by up to which segments are closed earlier; log.roll.jitter.ms covers it.",
        ),
    ];
    rows.into_iter().map(|(name, kind, value, doc)| told(name, kind, value, None, doc))
}
