//! The types of settings and their bounds, as Kafka's clients know them: what is refused is refused with Kafka's words.

/// What kind of value a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// Texts, separated by commas.
    List,
}

/// A value of its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Of [`Kind::Boolean`].
    Boolean(bool),
    /// Of [`Kind::String`].
    Text(String),
    /// Of [`Kind::Int`] and [`Kind::Long`].
    Whole(i64),
    /// Of [`Kind::Double`].
    Fraction(f64),
    /// Of [`Kind::List`].
    List(Vec<String>),
}

/// Which values of its kind a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valid {
    /// All.
    Any,
    /// Numbers from this one on.
    AtLeast(i64),
    /// Numbers from the first to the second.
    Between(i64, i64),
    /// Numbers from the first to the second, and -1.
    BetweenOrMinusOne(i64, i64),
    /// One of these texts; of a list, each.
    OneOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    Replicas,
}

impl Kind {
    /// Its name in Kafka.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
        }
    }

    /// Reads `text` as a value of this kind.
    ///
    /// # Errors
    /// Why it is none, in Kafka's words.
    pub fn parse(self, text: &str) -> Result<Parsed, String> {
        let text = text.trim();
        let no_number = || format!("Not a number of type {}", self.name());
        match self {
            Self::Boolean if text.eq_ignore_ascii_case("true") => Ok(Parsed::Boolean(true)),
            Self::Boolean if text.eq_ignore_ascii_case("false") => Ok(Parsed::Boolean(false)),
            Self::Boolean => Err("Expected value to be either true or false".to_owned()),
            Self::String => Ok(Parsed::Text(text.to_owned())),
            Self::Int => {
                text.parse::<i32>().map(|number| Parsed::Whole(number.into())).map_err(|_| no_number())
            }
            Self::Long => text.parse().map(Parsed::Whole).map_err(|_| no_number()),
            Self::Double => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.map(Parsed::Fraction).ok_or_else(no_number)
            }
            Self::List if text.is_empty() => Ok(Parsed::List(Vec::new())),
            Self::List => Ok(Parsed::List(text.split(',').map(|part| part.trim().to_owned()).collect())),
        }
    }
}

impl Parsed {
    /// The value as it is shown and stored.
    #[must_use]
    pub fn write(&self) -> String {
        match self {
            Self::Boolean(flag) => flag.to_string(),
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            // With a point, as Java writes it.
            Self::Fraction(number) => format!("{number:?}"),
            Self::List(parts) => parts.join(","),
        }
    }
}

impl Valid {
    /// Whether `value`, of the setting `name`, is among these.
    ///
    /// # Errors
    /// The whole message, in Kafka's words.
    pub fn check(self, name: &str, value: &Parsed) -> Result<(), String> {
        let refused = |shown: &str, why: String| Err(invalid(name, shown, &why));
        match (self, value) {
            (Self::Any, _) => Ok(()),
            (Self::OneOf(known), Parsed::Text(text)) if !known.contains(&text.as_str()) => {
                refused(text, one_of(known))
            }
            (Self::OneOf(known), Parsed::List(parts)) => {
                if parts.iter().any(String::is_empty) {
                    return Err(format!("Configuration '{name}' values must not be empty."));
                }
                match parts.iter().find(|part| !known.contains(&part.as_str())) {
                    Some(part) => refused(part, one_of(known)),
                    None => Ok(()),
                }
            }
            (Self::Replicas, Parsed::List(parts)) => {
                let is_wildcard = parts.len() == 1 && parts[0] == "*";
                if is_wildcard || parts.iter().all(|part| is_replica(part)) {
                    return Ok(());
                }
                let why = format!(
                    "{name} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                );
                refused(&format!("[{}]", parts.join(", ")), why)
            }
            (Self::BetweenOrMinusOne(least, most), Parsed::Whole(number)) => {
                if *number == -1 || (least..=most).contains(number) {
                    return Ok(());
                }
                refused(&value.write(), format!("Value must be between {least} and {most} or equal to -1"))
            }
            (Self::AtLeast(least), _) => check_range(name, value, least, i64::MAX),
            (Self::Between(least, most), _) => check_range(name, value, least, most),
            _ => Ok(()),
        }
    }

    /// What is expected of a value of this kind, for whoever wrote another into a file.
    #[must_use]
    pub fn expected(self, kind: Kind) -> String {
        let number = if kind == Kind::Double { "a number" } else { "a whole number" };
        match self {
            Self::Any if kind == Kind::Boolean => "true or false".to_owned(),
            Self::Any if matches!(kind, Kind::String | Kind::List) => "a text".to_owned(),
            Self::Any => number.to_owned(),
            Self::AtLeast(least) if kind == Kind::Int => format!("{number} from {least} to {}", i32::MAX),
            Self::AtLeast(least) => format!("{number}, {least} or more"),
            Self::Between(least, most) => format!("{number} from {least} to {most}"),
            Self::BetweenOrMinusOne(least, most) => format!("{number} from {least} to {most}, or -1"),
            Self::OneOf(known) if kind == Kind::List => {
                format!("any of {}, separated by commas", known.join(" and "))
            }
            Self::OneOf(known) => match known.split_last() {
                Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
                _ => known.concat(),
            },
            Self::Replicas => "* or PARTITION:BROKER, more of them separated by commas".to_owned(),
        }
    }
}

/// How Kafka says that a value is not one that a setting takes.
pub(super) fn invalid(name: &str, value: &str, why: &str) -> String {
    format!("Invalid value {value} for configuration {name}: {why}")
}

fn one_of(known: &[&str]) -> String {
    format!("String must be one of: {}", known.join(", "))
}

fn check_range(name: &str, value: &Parsed, least: i64, most: i64) -> Result<(), String> {
    let (is_low, is_high) = match value {
        Parsed::Whole(number) => (*number < least, *number > most),
        // Bounds of fractions are small whole numbers.
        Parsed::Fraction(number) => (*number < least as f64, *number > most as f64),
        _ => (false, false),
    };
    if is_low {
        return Err(invalid(name, &value.write(), &format!("Value must be at least {least}")));
    }
    if is_high {
        return Err(invalid(name, &value.write(), &format!("Value must be no more than {most}")));
    }
    Ok(())
}

fn is_replica(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}
