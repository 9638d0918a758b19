//! Where a configuration comes from: defaults < file < environment < flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::Config;
use super::keys::{self, SetError};

/// Where one value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable of this name.
    Environment(String),
    /// A flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// What was given, before it is read.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file that `--config` names; [`CONFIG_VARIABLE`] names one when this is `None`.
    pub file: Option<PathBuf>,
    /// The environment; only names that begin with [`VARIABLE_PREFIX`] matter.
    pub environment: Vec<(String, String)>,
    /// Flags as (key, value), in order: the last one holds.
    pub flags: Vec<(String, String)>,
}

/// A complete configuration that knows where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Variables that look like ours and are not known. An orchestrator may have put them there, so they
    /// are worth a line in the log and no more.
    pub unknown_variables: Vec<UnknownVariable>,
    sources: BTreeMap<String, Source>,
}

/// A variable that looks like a key and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The known variable most like it.
    pub nearest: String,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not a valid configuration file: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the line.
        message: String,
    },
    /// A key that does not exist.
    #[error("unknown key {key} ({from}); did you mean {nearest}?")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stood.
        from: Source,
        /// The known one most like it.
        nearest: String,
    },
    /// A value that its key cannot have.
    #[error("{key} = {value} ({from}): expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where it stood.
        from: Source,
        /// What the key takes.
        expected: String,
    },
}

/// How our environment variables begin.
pub const VARIABLE_PREFIX: &str = "FOLIOD_";
/// The variable that names a configuration file.
pub const CONFIG_VARIABLE: &str = "FOLIOD_CONFIG";

/// The variable of a key: `data.dir` is `FOLIOD_DATA_DIR`.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

impl Layers {
    /// Reads all layers, lowest first.
    ///
    /// # Errors
    /// The first thing wrong, with where it stood.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = Loaded {
            config: Config::new(keys::DEFAULT_DATA_DIR),
            unknown_variables: Vec::new(),
            sources: BTreeMap::new(),
        };
        let named = self.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        let file = self.file.clone().or_else(|| named.map(|(_, path)| PathBuf::from(path)));
        if let Some(path) = file {
            for (key, value) in read_file(&path)? {
                loaded.set(&key, &value, Source::File(path.clone()))?;
            }
        }
        loaded.apply_environment(&self.environment)?;
        for (key, value) in &self.flags {
            loaded.set(key, value, Source::Flag)?;
        }
        Ok(loaded)
    }
}

impl Loaded {
    /// Where the value of `key` came from.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// `key = value  # where it came from`, a line each, as a file that says the same would read.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        for key in keys::names() {
            let value = keys::get(&self.config, &key).unwrap_or_default();
            text.push_str(&format!("{key} = {}  # {}\n", toml_value(&value), self.source(&key)));
        }
        text
    }

    fn apply_environment(&mut self, environment: &[(String, String)]) -> Result<(), ConfigError> {
        let known: BTreeMap<String, String> = keys::names().map(|key| (variable(&key), key)).collect();
        for (name, value) in environment {
            if name == CONFIG_VARIABLE || !name.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            match known.get(name) {
                Some(key) => self.set(key, value, Source::Environment(name.clone()))?,
                None => self.unknown_variables.push(UnknownVariable {
                    name: name.clone(),
                    nearest: keys::nearest(name, known.keys().cloned()),
                }),
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, from: Source) -> Result<(), ConfigError> {
        let key = key.to_owned();
        match keys::set(&mut self.config, &key, value) {
            Ok(()) => {
                self.sources.insert(key, from);
                Ok(())
            }
            Err(SetError::Unknown { nearest }) => Err(ConfigError::UnknownKey { key, from, nearest }),
            Err(SetError::Value { expected }) => {
                Err(ConfigError::Value { key, value: value.to_owned(), from, expected })
            }
        }
    }
}

/// The keys of a file with their values as text, in the order of their names.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        message: e.to_string(),
    })?;
    let mut keys = Vec::new();
    flatten("", &table, &mut keys);
    Ok(keys)
}

/// `a.b = 1` and `[a] b = 1` are the same key. TOML's own limit on nesting bounds the depth.
fn flatten(prefix: &str, table: &toml::Table, out: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, out),
            value => out.push((key, text_of(value))),
        }
    }
}

fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

/// A number or a truth value stands bare, anything else between quotes.
fn toml_value(text: &str) -> String {
    let is_fraction = text.contains('.') && text.parse().is_ok_and(f64::is_finite);
    if is_fraction || text.parse::<i64>().is_ok() || text == "true" || text == "false" {
        return text.to_owned();
    }
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(
        file: Option<&str>,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> (Layers, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let pairs = |list: &[(&str, &str)]| list.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
        let file = file.map(|text| {
            let path = dir.path().join("foliod.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        (Layers { file, environment: pairs(environment), flags: pairs(flags) }, dir)
    }

    fn refusal(layers: &Layers) -> String {
        layers.load().unwrap_err().to_string()
    }

    #[test]
    fn a_higher_layer_covers_a_lower_one() {
        let file = "lane.threads = 3\nread.threads = 3\nloop.threads = 3\n";
        let environment = [("FOLIOD_READ_THREADS", "4"), ("FOLIOD_LOOP_THREADS", "4"), ("PATH", "/bin")];
        let (layers, dir) = layers(Some(file), &environment, &[("loop.threads", "5")]);
        let loaded = layers.load().unwrap();
        let threads = [loaded.config.lane_threads, loaded.config.read_threads, loaded.config.loop_threads];
        assert_eq!(threads.map(std::num::NonZeroUsize::get), [3, 4, 5]);
        assert_eq!(loaded.source("lane.threads"), Source::File(dir.path().join("foliod.toml")));
        assert_eq!(loaded.source("read.threads"), Source::Environment("FOLIOD_READ_THREADS".to_owned()));
        assert_eq!(loaded.source("loop.threads"), Source::Flag);
        assert_eq!(loaded.source("listen"), Source::Default);
    }

    #[test]
    fn the_file_is_the_one_the_variable_names_unless_a_flag_does() {
        let (with_file, dir) = layers(Some("lane.threads = 9"), &[], &[]);
        let path = dir.path().join("foliod.toml").display().to_string();
        let (by_variable, _dir) = layers(None, &[(CONFIG_VARIABLE, &path)], &[]);
        assert_eq!(by_variable.load().unwrap().config.lane_threads.get(), 9);
        let both =
            Layers { environment: vec![(CONFIG_VARIABLE.to_owned(), "/nowhere".to_owned())], ..with_file };
        assert_eq!(both.load().unwrap().config.lane_threads.get(), 9);
    }

    #[test]
    fn a_section_and_a_dotted_key_say_the_same() {
        let (dotted, _a) = layers(Some("topic.retention.ms = 5"), &[], &[]);
        let (section, _b) = layers(Some("[topic]\nretention.ms = 5"), &[], &[]);
        assert_eq!(dotted.load().unwrap().config.topic, section.load().unwrap().config.topic);
    }

    #[test]
    fn several_addresses_stand_in_a_list_or_between_commas() {
        let (list, _a) = layers(Some("listen = ['127.0.0.1:1', '[::1]:2']"), &[], &[]);
        let (commas, _b) = layers(None, &[("FOLIOD_LISTEN", "127.0.0.1:1, [::1]:2")], &[]);
        let addresses = list.load().unwrap().config.listen;
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses, commas.load().unwrap().config.listen);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_the_nearest_name() {
        let (typo, _a) = layers(None, &[], &[("lane.treads", "1")]);
        assert_eq!(refusal(&typo), "unknown key lane.treads (flag); did you mean lane.threads?");
        let (value, _b) = layers(None, &[("FOLIOD_LANE_THREADS", "many")], &[]);
        assert_eq!(
            refusal(&value),
            "lane.threads = many (environment FOLIOD_LANE_THREADS): expected a whole number, 1 or more"
        );
        let (unknown, dir) = layers(Some("lane.treads = 1"), &[], &[]);
        let path = dir.path().join("foliod.toml");
        assert_eq!(
            refusal(&unknown),
            format!("unknown key lane.treads (file {}); did you mean lane.threads?", path.display())
        );
        let (syntax, _c) = layers(Some("lane.threads ="), &[], &[]);
        assert!(refusal(&syntax).contains("line 1"), "{}", refusal(&syntax));
        let missing = Layers { file: Some(PathBuf::from("/nowhere/foliod.toml")), ..Layers::default() };
        assert!(refusal(&missing).contains("/nowhere/foliod.toml"), "{}", refusal(&missing));
    }

    #[test]
    fn a_variable_that_is_not_ours_is_only_named() {
        let (layers, _dir) = layers(None, &[("FOLIOD_SERVICE_HOST", "10.0.0.1")], &[]);
        let names: Vec<String> =
            layers.load().unwrap().unknown_variables.into_iter().map(|unknown| unknown.name).collect();
        assert_eq!(names, ["FOLIOD_SERVICE_HOST"]);
    }

    #[test]
    fn no_two_keys_share_a_variable() {
        let variables: std::collections::BTreeSet<String> = keys::names().map(|key| variable(&key)).collect();
        assert_eq!(variables.len(), keys::names().count());
        assert!(!variables.contains(CONFIG_VARIABLE));
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let (first, _a) = layers(None, &[], &[("listen", "[::1]:0"), ("topic.durability", "os")]);
        let loaded = first.load().unwrap();
        let (second, _b) = layers(Some(&loaded.print()), &[], &[]);
        let again = second.load().unwrap();
        for key in keys::names() {
            assert_eq!(keys::get(&again.config, &key), keys::get(&loaded.config, &key), "{key}");
        }
    }

    #[test]
    fn the_example_file_has_every_key_with_its_default_and_its_reason() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/foliod.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (none, _a) = layers(None, &[], &[]);
        let defaults = none.load().unwrap();
        for key in keys::names() {
            // The number of cores decides these two.
            let value = match key.as_str() {
                "loop.threads" | "lane.threads" => String::new(),
                _ => toml_value(&keys::get(&defaults.config, &key).unwrap()),
            };
            let expected = format!("# {}\n# {key} = {value}", keys::reason(&key).unwrap());
            assert!(text.contains(&expected), "config/foliod.toml lacks:\n{expected}");
        }
        let uncommented: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        let (file, _b) = layers(Some(&uncommented), &[], &[]);
        assert_eq!(file.load().unwrap().sources.len(), keys::names().count(), "no key twice, none unknown");
    }
}
