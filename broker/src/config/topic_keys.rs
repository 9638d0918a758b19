//! The one table of topics' settings: all that Kafka 4.4 has, under its names, with its types, defaults and bounds, and
//! two of our own.
//!
//! Invariants: a setting that acts on something has a field in [`TopicSettings`] and a key `topic.NAME` among the
//! broker's; one that does not says why. What is set can always be taken into the field.

mod table;
mod values;

use super::kind::{Kind, Parsed, Valid, invalid};
use super::topic::TopicSettings;

use table::SMALL_SEGMENTS;
pub use table::TOPIC_KEYS;

/// One setting of topics.
#[derive(Debug)]
pub struct TopicKey {
    /// Its name.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Which of them.
    pub valid: Valid,
    /// Its value where nobody sets it.
    pub default: &'static str,
    /// What it is for, and its unit.
    pub doc: &'static str,
    /// What Kafka's clients call the broker's default for it.
    pub broker_name: Option<BrokerName>,
    /// What it does here.
    pub effect: Effect,
}

/// The name of a broker's setting that is the default of a topic's.
#[derive(Clone, Copy, Debug)]
pub struct BrokerName {
    /// The name.
    pub name: &'static str,
    /// Kafka gives it no value of its own: this one, and its value there, counts as long as it is not set.
    pub instead: Option<(&'static str, &'static str)>,
}

/// What a setting does.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// It acts.
    Acts(Field),
    /// It is kept and shown, and why nothing follows from it.
    Kept(&'static str),
}

/// Where a setting's value is.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    get: fn(&TopicSettings) -> Parsed,
    set: fn(&mut TopicSettings, &Parsed),
    /// The smallest number that the broker's own configuration may have, where that is smaller.
    least_of_broker: Option<i64>,
}

impl TopicKey {
    /// Reads a value that a topic is to have.
    ///
    /// # Errors
    /// Why it cannot have it, in Kafka's words.
    pub fn parse(&self, text: &str) -> Result<Parsed, String> {
        let parsed = self.kind.parse(text).map_err(|why| invalid(self.name, text, &why))?;
        self.valid.check(self.name, &parsed)?;
        Ok(parsed)
    }

    /// Reads the default of all topics, as the broker's configuration has it.
    ///
    /// # Errors
    /// What was expected instead; nothing is changed.
    pub fn set_default(&self, settings: &mut TopicSettings, text: &str) -> Result<(), String> {
        let Effect::Acts(field) = self.effect else { return Err(format!("nothing: {}", self.doc)) };
        let valid = field.least_of_broker.map_or(self.valid, Valid::AtLeast);
        let parsed =
            self.kind.parse(text).and_then(|parsed| valid.check(self.name, &parsed).map(|()| parsed));
        (field.set)(settings, &parsed.map_err(|_| valid.expected(self.kind))?);
        Ok(())
    }

    /// Takes a value that was read by [`parse`](Self::parse).
    pub fn take(&self, settings: &mut TopicSettings, value: &Parsed) {
        if let Effect::Acts(field) = self.effect {
            (field.set)(settings, value);
        }
    }

    /// Its value among these settings; the default of one that does nothing.
    #[must_use]
    pub fn get(&self, settings: &TopicSettings) -> String {
        match self.effect {
            Effect::Acts(field) => (field.get)(settings).write(),
            Effect::Kept(_) => self.default.to_owned(),
        }
    }

    /// Whether it is told only where it is set.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.name == SMALL_SEGMENTS.name
    }

    /// Whether it does anything.
    #[must_use]
    pub fn acts(&self) -> bool {
        matches!(self.effect, Effect::Acts(_))
    }
}

/// The setting of this name.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().chain([&SMALL_SEGMENTS]).find(|key| key.name == name)
}

/// The setting whose default Kafka's clients call by this name.
#[must_use]
pub fn broker_named(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|key| key.broker_name.is_some_and(|of_broker| of_broker.name == name))
}

/// Those that act, in the order of the table.
pub fn acting() -> impl Iterator<Item = &'static TopicKey> {
    TOPIC_KEYS.iter().filter(|key| key.acts())
}

/// What `set` makes of these defaults, as a topic that sets it has it.
///
/// # Errors
/// A setting that there is not, a value that it cannot have, or two that contradict one another; in Kafka's words.
pub fn settings_of(defaults: &TopicSettings, set: &[(String, String)]) -> Result<TopicSettings, String> {
    let mut settings = defaults.clone();
    let mut small = None;
    for (name, text) in set {
        let key = topic_key(name).ok_or_else(|| unknown(name))?;
        let value = key.parse(text)?;
        if key.name == SMALL_SEGMENTS.name {
            small = Some(value);
        } else {
            key.take(&mut settings, &value);
        }
    }
    // Whatever the other one says, and wherever it stands.
    if let Some(small) = small {
        SMALL_SEGMENTS.take(&mut settings, &small);
    }
    contradiction(set).map_or(Ok(settings), Err)
}

/// `set` as it is stored and shown: each setting once, the last holds, its value as it was understood.
///
/// # Errors
/// As [`settings_of`], but for what the values are together.
pub fn canonical(set: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
    let mut canonical: Vec<(String, String)> = Vec::with_capacity(set.len());
    for (name, text) in set {
        let value = topic_key(name).ok_or_else(|| unknown(name))?.parse(text)?.write();
        match canonical.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => canonical.push((name.clone(), value)),
        }
    }
    Ok(canonical)
}

/// That there is no such setting, with the nearest that there is, if one is near.
fn unknown(name: &str) -> String {
    let near = TOPIC_KEYS.iter().map(|key| (strsim::damerau_levenshtein(name, key.name), key.name)).min();
    match near.filter(|(distance, _)| *distance <= NEAR) {
        Some((_, nearest)) => format!("Unknown topic config name: {name}; did you mean {nearest}?"),
        None => format!("Unknown topic config name: {name}"),
    }
}

/// So many letters wrong, and one is still likely to be meant.
const NEAR: usize = 3;

/// Settings that are good one by one and not together.
fn contradiction(set: &[(String, String)]) -> Option<String> {
    let value = |name: &str| {
        let own = set.iter().rev().find(|(key, _)| key == name).map(|(_, text)| text.as_str());
        topic_key(name).and_then(|key| key.parse(own.unwrap_or(key.default)).ok())
    };
    let (least, most) = (value("min.compaction.lag.ms")?, value("max.compaction.lag.ms")?);
    if let (Parsed::Whole(least), Parsed::Whole(most)) = (least, most)
        && least > most
    {
        return Some(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
        ));
    }
    (value("remote.storage.enable")? == Parsed::Boolean(true)).then(|| {
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
            .to_owned()
    })
}

#[cfg(test)]
mod tests;
