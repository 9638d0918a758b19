//! `folio status`.

use serde_json::{Map, Value, json};

use super::connect;
use crate::arguments::Output;
use crate::exit::Failure;
use crate::output::{print, print_json, table};

pub(crate) fn run(broker: &str, output: Output) -> Result<(), Failure> {
    let client = connect(broker)?;
    let status = client.admin().status(true).wait()?;
    let flushes = count(&status.counters, "flushes");
    let per_flush = count(&status.counters, "records.flushed") as f64 / flushes.max(1) as f64;
    if output == Output::Json {
        let counters: Map<String, Value> =
            status.counters.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
        return print_json(&json!({
            "version": status.version,
            "pid": status.pid,
            "run_id": format!("{:016x}", status.run_id),
            "uptime_ms": u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
            "data_dir": status.data_dir,
            "recovered": status.recovered,
            "topics": status.topics,
            "partitions": status.partitions,
            "counters": counters,
            "records_per_flush": per_flush,
        }));
    }
    let mut rows = vec![
        vec!["version".to_owned(), status.version],
        vec!["process".to_owned(), status.pid.to_string()],
        vec!["up".to_owned(), format!("{:.1} s", status.uptime.as_secs_f64())],
        vec!["data".to_owned(), status.data_dir],
        vec!["start".to_owned(), status.recovered],
        vec!["topics".to_owned(), status.topics.to_string()],
        vec!["partitions".to_owned(), status.partitions.to_string()],
        vec!["records per flush".to_owned(), format!("{per_flush:.1}")],
    ];
    rows.extend(status.counters.into_iter().map(|(name, count)| vec![name, count.to_string()]));
    print(table(&["", ""], rows, &[]).trim_start())
}

fn count(counters: &[(String, u64)], name: &str) -> u64 {
    counters.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
}
