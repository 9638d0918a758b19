//! Settings of a broker that are what they are while it runs.

use std::borrow::Cow;

use super::{Source, Synonym, Told};
use crate::config::Config;
use crate::config::keys::DEFAULT_DATA_DIR;
use crate::config::kind::Kind;
use crate::engine::NODE_ID;

/// A setting with this value, and with this one where nobody configures it.
pub(super) fn told(
    name: &'static str,
    kind: Kind,
    value: String,
    default: String,
    doc: &'static str,
) -> Told {
    let is_set = default != value;
    let source = if is_set { Source::Configuration } else { Source::Default };
    let synonym = |value: String, source| Synonym { name: Cow::Borrowed(name), value, source };
    let mut synonyms = vec![synonym(value.clone(), source)];
    synonyms.extend(is_set.then(|| synonym(default, Source::Default)));
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
    let defaults = rows(&Config::new(DEFAULT_DATA_DIR));
    let pairs = rows(config).into_iter().zip(defaults);
    pairs.map(|((name, kind, value, doc), (_, _, default, _))| told(name, kind, value, default, doc))
}

type Row = (&'static str, Kind, String, &'static str);

fn rows(config: &Config) -> [Row; 18] {
    let listeners: Vec<String> =
        config.listen.iter().map(|address| format!("PLAINTEXT://{address}")).collect();
    let dir = config.data_dir.display().to_string();
    [
        ("node.id", Kind::Int, NODE_ID.to_string(), "The number of this broker."),
        ("broker.id", Kind::Int, NODE_ID.to_string(), "The number of this broker."),
        ("process.roles", Kind::List, "broker,controller".to_owned(), "What this process is: all there is."),
        ("listeners", Kind::List, listeners.join(","), "Where it listens: listen."),
        ("log.dirs", Kind::String, dir.clone(), "Where the data is: data.dir."),
        ("log.dir", Kind::String, dir, "Where the data is: data.dir."),
        ("default.replication.factor", Kind::Int, "1".to_owned(), "There is one node."),
        ("delete.topic.enable", Kind::Boolean, "true".to_owned(), "Topics can be deleted."),
        (
            "socket.request.max.bytes",
            Kind::Int,
            config.frame_max_bytes.to_string(),
            "The largest request, in bytes: frame.max.bytes.",
        ),
        (
            "connections.max.idle.ms",
            Kind::Long,
            config.connection_idle.as_millis().to_string(),
            "Milliseconds without traffic after which a connection is closed: connection.idle.ms.",
        ),
        (
            "max.connections",
            Kind::Int,
            config.connections_max.to_string(),
            "Connections at once: connections.max.",
        ),
        (
            "queued.max.request.bytes",
            Kind::Long,
            config.queued_max_bytes.to_string(),
            "Bytes of requests that are still arriving, of all connections: queued.max.bytes.",
        ),
        (
            "max.incremental.fetch.session.cache.slots",
            Kind::Int,
            config.fetch_session_cache_slots.to_string(),
            "Fetch sessions at once: fetch.session.cache.slots.",
        ),
        (
            "log.retention.check.interval.ms",
            Kind::Long,
            config.maintenance_interval.as_millis().to_string(),
            "Milliseconds between looks at retention: maintenance.interval.ms.",
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
        (
            "log.flush.scheduler.interval.ms",
            Kind::Long,
            i64::MAX.to_string(),
            "Milliseconds between looks at what is to be flushed; log.flush.interval.ms covers it.",
        ),
    ]
}
