//! `folio topic`.

use folio_client::{NewTopic, TopicDescription, TopicListing};
use serde_json::{Value, json};

use super::connect;
use crate::arguments::{Output, TopicCommand};
use crate::exit::Failure;
use crate::output::{human_bytes, print, print_json, say, table};

pub(crate) fn run(broker: &str, output: Output, command: TopicCommand) -> Result<(), Failure> {
    let client = connect(broker)?;
    let admin = client.admin();
    match command {
        TopicCommand::Create { topic, partitions, config } => {
            let settings = config.into_iter();
            let new =
                settings.fold(NewTopic::new(&topic, partitions), |new, (key, value)| new.setting(key, value));
            let id = admin.create_topic(new).wait()?;
            let plural = if partitions == 1 { "" } else { "s" };
            done(
                output,
                &format!("created topic {topic} with {partitions} partition{plural}"),
                &json!({ "topic": topic, "id": id.to_string(), "partitions": partitions }),
            )
        }
        TopicCommand::List => {
            let topics = admin.list_topics(false).wait()?;
            match output {
                Output::Json => topics.iter().try_for_each(|topic| print_json(&listed(topic))),
                Output::Text if topics.is_empty() => Ok(()),
                Output::Text => {
                    let row = |topic: TopicListing| vec![topic.name, topic.partitions.to_string()];
                    print(&table(&["TOPIC", "PARTITIONS"], topics.into_iter().map(row), &[1]))
                }
            }
        }
        TopicCommand::Describe { topic } => {
            let described =
                admin.describe_topic(&topic).wait().map_err(|error| Failure::from(error).about(&topic))?;
            match output {
                Output::Json => print_json(&as_json(&described)),
                Output::Text => print(&as_text(&described)),
            }
        }
        TopicCommand::Delete { topic } => {
            admin.delete_topic(&topic).wait().map_err(|error| Failure::from(error).about(&topic))?;
            done(output, &format!("deleted topic {topic}"), &json!({ "topic": topic, "deleted": true }))
        }
    }
}

/// A person reads that it is done, a program gets it as data.
fn done(output: Output, text: &str, json: &Value) -> Result<(), Failure> {
    match output {
        Output::Text => say(text),
        Output::Json => print_json(json)?,
    }
    Ok(())
}

fn listed(topic: &TopicListing) -> Value {
    json!({ "topic": topic.name, "id": topic.id.to_string(), "partitions": topic.partitions })
}

fn as_json(topic: &TopicDescription) -> Value {
    let partitions = topic.partitions.iter().map(|one| {
        json!({
            "partition": one.partition,
            "trouble": one.trouble.as_ref().map(ToString::to_string),
            "leader_epoch": one.leader_epoch,
            "log_start": one.log_start.get(),
            "durable": one.durable.get(),
            "high_watermark": one.high_watermark.get(),
            "log_end": one.log_end.get(),
            "size_bytes": one.size_bytes,
            "segments": one.segments,
        })
    });
    let settings =
        topic.settings.iter().map(|one| json!({ "key": one.key, "value": one.value, "is_own": one.is_own }));
    json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "partitions": partitions.collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
    })
}

fn as_text(topic: &TopicDescription) -> String {
    let mut text = format!("topic {}, id {}\n\n", topic.name, topic.id);
    let heads =
        ["PARTITION", "START", "DURABLE", "HIGH WATERMARK", "END", "SIZE", "SEGMENTS", "EPOCH", "TROUBLE"];
    let rows = topic.partitions.iter().map(|one| {
        vec![
            one.partition.to_string(),
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
    text += &table(&heads, rows, &[0, 1, 2, 3, 4, 5, 6, 7]);
    text.push('\n');
    let rows = topic.settings.iter().map(|one| {
        let from = if one.is_own { "topic" } else { "default" };
        vec![one.key.clone(), one.value.clone(), from.to_owned()]
    });
    text += &table(&["SETTING", "VALUE", "FROM"], rows, &[]);
    text
}
