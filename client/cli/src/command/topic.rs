//! `folio topic`.

use folio_client::{
    Admin, CallError, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, NewTopic, TopicDescription,
    TopicListing,
};
use serde_json::{Value, json};

use super::config::{as_table, say_what_does_nothing};
use super::connect;
use crate::arguments::{Output, TopicCommand};
use crate::exit::Failure;
use crate::output::{done, human_bytes, print, print_json, table};

pub(crate) fn run(broker: &str, output: Output, command: TopicCommand) -> Result<(), Failure> {
    let client = connect(broker)?;
    let admin = client.admin();
    match command {
        TopicCommand::Create { topic, partitions, config } => {
            let new = NewTopic::new(&topic, partitions.unwrap_or(0));
            let new = config.into_iter().fold(new, |new, (key, value)| new.setting(key, value));
            let id = admin.create_topic(new).wait()?;
            let described = admin.describe_topic(&topic).wait()?;
            say_what_does_nothing(&own(&admin, &topic)?);
            let partitions = described.partitions.len();
            let plural = if partitions == 1 { "" } else { "s" };
            done(
                output,
                &format!("created topic {topic} with {partitions} partition{plural}"),
                &json!({ "topic": topic, "id": id.to_string(), "partitions": partitions }),
            )
        }
        TopicCommand::List { internal } => {
            let topics = admin.list_topics(internal).wait()?;
            match output {
                Output::Json => topics.iter().try_for_each(|topic| print_json(&listed(topic))),
                Output::Text if topics.is_empty() => Ok(()),
                Output::Text => {
                    let row = |topic: TopicListing| vec![topic.name, topic.partitions.to_string()];
                    print(&table(&["TOPIC", "PARTITIONS"], topics.into_iter().map(row), &[1]))
                }
            }
        }
        TopicCommand::Alter { topic, partitions, config, delete_config } => {
            let set = config.iter().map(|(key, value)| ConfigChange::Set(key.clone(), value.clone()));
            let unset = delete_config.iter().map(|key| ConfigChange::Delete(key.clone()));
            let changes: Vec<ConfigChange> = set.chain(unset).collect();
            if partitions.is_none() && changes.is_empty() {
                return Err(Failure::usage("nothing to change: give -p, --config or --delete-config"));
            }
            alter(&admin, &topic, partitions, changes).map_err(|error| Failure::from(error).about(&topic))?;
            say_what_does_nothing(&own(&admin, &topic)?);
            let partitions = admin.describe_topic(&topic).wait()?.partitions.len();
            done(
                output,
                &format!("altered topic {topic}"),
                &json!({ "topic": topic, "partitions": partitions }),
            )
        }
        TopicCommand::Describe { topic } => {
            let described =
                admin.describe_topic(&topic).wait().map_err(|error| Failure::from(error).about(&topic))?;
            let settings = admin.describe_configs(ConfigResource::Topic(topic), None).wait()?;
            let node = node(&admin)?;
            match output {
                Output::Json => print_json(&as_json(&described, &settings, node)),
                Output::Text => print(&as_text(&described, &settings, node)),
            }
        }
        TopicCommand::Delete { topic } => {
            admin.delete_topic(&topic).wait().map_err(|error| Failure::from(error).about(&topic))?;
            done(output, &format!("deleted topic {topic}"), &json!({ "topic": topic, "deleted": true }))
        }
    }
}

fn listed(topic: &TopicListing) -> Value {
    json!({ "topic": topic.name, "id": topic.id.to_string(), "partitions": topic.partitions })
}

/// All of it, or what comes before the first change that the broker refuses.
fn alter(
    admin: &Admin,
    topic: &str,
    partitions: Option<u32>,
    changes: Vec<ConfigChange>,
) -> Result<(), CallError> {
    let of = || ConfigResource::Topic(topic.to_owned());
    if let Some(partitions) = partitions {
        // Settings are undone more easily than partitions.
        admin.validate_configs(of(), changes.clone()).wait()?;
        admin.create_partitions(topic, partitions).wait()?;
    }
    if changes.is_empty() { Ok(()) } else { admin.alter_configs(of(), changes).wait() }
}

/// What a topic sets itself.
fn own(admin: &Admin, topic: &str) -> Result<Vec<ConfigEntry>, Failure> {
    let mut entries = admin.describe_configs(ConfigResource::Topic(topic.to_owned()), None).wait()?;
    entries.retain(|entry| entry.source == ConfigSource::Topic);
    Ok(entries)
}

/// The number of the broker, which leads and has all partitions.
fn node(admin: &Admin) -> Result<Option<u32>, Failure> {
    let told = admin.describe_configs(ConfigResource::Broker, Some(&["node.id"])).wait()?;
    Ok(told.first().and_then(|entry| entry.value.as_deref()).and_then(|value| value.parse().ok()))
}

fn as_json(topic: &TopicDescription, settings: &[ConfigEntry], node: Option<u32>) -> Value {
    let partitions = topic.partitions.iter().map(|one| {
        let leader = node.filter(|_| one.trouble.is_none());
        json!({
            "partition": one.partition,
            "trouble": one.trouble.as_ref().map(ToString::to_string),
            "leader": leader,
            "replicas": node.into_iter().collect::<Vec<_>>(),
            "isr": leader.into_iter().collect::<Vec<_>>(),
            "leader_epoch": one.leader_epoch,
            "log_start": one.log_start.get(),
            "durable": one.durable.get(),
            "high_watermark": one.high_watermark.get(),
            "log_end": one.log_end.get(),
            "size_bytes": one.size_bytes,
            "segments": one.segments,
        })
    });
    let settings = settings.iter().map(|one| {
        let is_own = one.source == ConfigSource::Topic;
        json!({
            "key": one.name,
            "value": one.value,
            "is_own": is_own,
            "source": one.source.to_string(),
            "does_nothing": one.does_nothing,
        })
    });
    json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "partitions": partitions.collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
    })
}

fn as_text(topic: &TopicDescription, settings: &[ConfigEntry], node: Option<u32>) -> String {
    let count = topic.partitions.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text =
        format!("topic {}, id {}, {count} partition{plural}, 1 replica each\n\n", topic.name, topic.id);
    let heads = [
        "PARTITION",
        "LEADER",
        "REPLICAS",
        "ISR",
        "START",
        "DURABLE",
        "HIGH WATERMARK",
        "END",
        "SIZE",
        "SEGMENTS",
        "EPOCH",
        "TROUBLE",
    ];
    let node = node.map_or_else(String::new, |node| node.to_string());
    let rows = topic.partitions.iter().map(|one| {
        let leader = if one.trouble.is_none() { node.clone() } else { "none".to_owned() };
        vec![
            one.partition.to_string(),
            leader,
            node.clone(),
            if one.trouble.is_none() { node.clone() } else { String::new() },
            one.log_start.get().to_string(),
            one.durable.get().to_string(),
            one.high_watermark.get().to_string(),
            one.log_end.get().to_string(),
            human_bytes(one.size_bytes),
            one.segments.to_string(),
            one.leader_epoch.to_string(),
            one.trouble.as_ref().map_or_else(String::new, ToString::to_string),
        ]
    });
    text += &table(&heads, rows, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    text.push('\n');
    let set: Vec<ConfigEntry> =
        settings.iter().filter(|entry| entry.source != ConfigSource::Default).cloned().collect();
    if set.is_empty() {
        text += "every setting has its default\n";
    } else {
        text += &as_table(&set);
    }
    text
}
