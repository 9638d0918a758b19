//! How the program ends: one table of codes that scripts can trust, and one line that says why.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use folio_client::{
    BuildError, CallError, DeliveryError, ErrorCode, Offset, PollError, SendError, StartError, TopicPartition,
};

use crate::output::say;

/// Why the program ends without having done what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// Empty: everything has been said.
    text: String,
}

/// It did not work.
const FAILED: u8 = 1;
/// The command line is wrong; what clap finds wrong by itself ends with the same.
const USAGE: u8 = 2;
/// No broker answered.
const UNREACHABLE: u8 = 3;
/// There is no such topic or partition.
const NO_SUCH_TOPIC: u8 = 4;
/// The broker's data directory has failed.
const DATA_DIRECTORY_FAILED: u8 = 70;
/// Ctrl-C.
const INTERRUPTED: u8 = 130;

impl Failure {
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self { code: FAILED, text: text.to_string() }
    }

    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { code: USAGE, text: text.to_string() }
    }

    /// The reader of standard output has seen enough: not an error, and nothing to say.
    pub(crate) fn closed_pipe() -> Self {
        Self { code: 0, text: String::new() }
    }

    pub(crate) fn interrupted() -> Self {
        Self { code: INTERRUPTED, text: String::new() }
    }

    /// Whether it ends because nobody wants more, and not because something does not work.
    pub(crate) fn is_ordinary_end(&self) -> bool {
        matches!(self.code, 0 | INTERRUPTED)
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.code == INTERRUPTED
    }

    fn unreachable(error: &CallError) -> Self {
        let advice = match error {
            CallError::NotGreeted { .. } => {
                "a Kafka broker takes Kafka's own tools; --broker or FOLIO_BROKER names a foliod"
            }
            _ => "is foliod running there? --broker or FOLIO_BROKER names another",
        };
        Self { code: UNREACHABLE, text: format!("{error}; {advice}") }
    }

    pub(crate) fn no_such_topic(topic: &str) -> Self {
        Self {
            code: NO_SUCH_TOPIC,
            text: format!(
                "there is no topic {topic:?}: `folio topic list` names all, `folio topic create {topic}` makes it"
            ),
        }
    }

    pub(crate) fn no_such_partition(topic: &str, partition: u32, partitions: u32) -> Self {
        let last = partitions.saturating_sub(1);
        let text = format!("topic {topic:?} has no partition {partition}; it has 0 to {last}");
        Self { code: NO_SUCH_TOPIC, text }
    }

    pub(crate) fn out_of_range(
        partition: &TopicPartition,
        offset: Offset,
        first: Offset,
        end: Offset,
    ) -> Self {
        let (offset, first, end) = (offset.get(), first.get(), end.get());
        Self::failed(format_args!(
            "{partition}: offset {offset} is out of range: the log holds {first} to {end}"
        ))
    }

    pub(crate) fn not_in_directory(partition: &str, dir: &Path) -> Self {
        let text = format!("{} has no partition {partition}", dir.display());
        Self { code: NO_SUCH_TOPIC, text }
    }

    /// Says why, and gives the process its code.
    pub(crate) fn report(self) -> ExitCode {
        if !self.text.is_empty() {
            say(format_args!("folio: {}", self.text));
        }
        ExitCode::from(self.code)
    }

    /// As this, but about `topic`: a missing one is named with the command that makes it.
    pub(crate) fn about(self, topic: &str) -> Self {
        if self.code == NO_SUCH_TOPIC { Self::no_such_topic(topic) } else { self }
    }

    /// As this, with its place in the input before it.
    pub(crate) fn at(self, place: &str) -> Self {
        Self { text: format!("{place}: {}", self.text), ..self }
    }

    fn coded(code: ErrorCode, text: String) -> Self {
        let code = match code {
            ErrorCode::UNKNOWN_TOPIC | ErrorCode::UNKNOWN_PARTITION => NO_SUCH_TOPIC,
            ErrorCode::STORAGE_FAILED => DATA_DIRECTORY_FAILED,
            _ => FAILED,
        };
        Self { code, text }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable { .. } | CallError::NotGreeted { .. } => Self::unreachable(&error),
            // It was there, and went away or fell silent.
            CallError::Disconnected { .. } | CallError::TimedOut { .. } => {
                Self { code: UNREACHABLE, text: error.to_string() }
            }
            CallError::Refused(ref refusal) => Self::coded(refusal.code, error.to_string()),
            error => Self::failed(error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            // Whatever answered, if anything did: it was no broker.
            StartError::Connect(error) => Self::unreachable(&error),
            StartError::Config(text) => Self::usage(text),
            error => Self::failed(error),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Config(text) => Self::usage(text),
            error => Self::failed(error),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Topic { source, .. } | SendError::Broken { source } => source.into(),
            SendError::NoSuchPartition { topic, partition, partitions } => {
                Self::no_such_partition(&topic, partition, partitions)
            }
            error => Self::failed(error),
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Refused { ref refusal, .. } => Self::coded(refusal.code, error.to_string()),
            DeliveryError::Failed { source, .. } => source.into(),
            error => Self::failed(error),
        }
    }
}

impl From<PollError> for Failure {
    fn from(error: PollError) -> Self {
        match error {
            PollError::Refused { ref refusal, .. } => Self::coded(refusal.code, error.to_string()),
            PollError::Group { source: CallError::Refused(ref refusal), .. } => {
                Self::coded(refusal.code, error.to_string())
            }
            PollError::Away(CallError::Refused(refusal)) => CallError::Refused(refusal).into(),
            PollError::Away(error) => Self::unreachable(&error),
            error => Self::failed(error),
        }
    }
}

/// Of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::closed_pipe();
        }
        Self::failed(format_args!("cannot write: {error}"))
    }
}
