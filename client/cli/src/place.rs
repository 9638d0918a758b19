//! Places in a partition as they are typed: `earliest`, `latest`, `42`, `-10`, `@2026-01-31`.

use std::str::FromStr;

use folio_client::{Offset, Timestamp};
use jiff::civil;
use jiff::tz::TimeZone;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Earliest,
    Latest,
    At(Offset),
    BeforeEnd(u64),
    Since(Timestamp),
}

/// Where to stop: before the record that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The high watermark as it is now.
    End,
    At(Offset),
    Since(Timestamp),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected earliest, latest, an offset, -N or @TIME".to_owned();
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match (text.strip_prefix('@'), text.strip_prefix('-')) {
                (Some(text), _) => time(text).map(Self::Since),
                (_, Some(text)) => text.parse().map(Self::BeforeEnd).map_err(|_| expected()),
                _ => offset(text).map(Self::At).ok_or_else(expected),
            },
        }
    }
}

impl FromStr for Stop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix('@')) {
            ("end", _) => Ok(Self::End),
            (_, Some(text)) => time(text).map(Self::Since),
            _ => offset(text).map(Self::At).ok_or_else(|| "expected end, an offset or @TIME".to_owned()),
        }
    }
}

fn offset(text: &str) -> Option<Offset> {
    text.parse().ok().filter(|offset| *offset >= 0).map(Offset::new)
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Timestamp::new(ms));
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Timestamp::new(instant.as_millisecond()));
    }
    let local =
        text.parse::<civil::DateTime>().or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from));
    let instant = local.and_then(|local| local.to_zoned(TimeZone::system())).map(|zoned| zoned.timestamp());
    instant.map(|instant| Timestamp::new(instant.as_millisecond())).map_err(|_| {
        format!(
            "{text:?} is no time: expected milliseconds, 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00Z"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_typed() {
        for (text, place) in [
            ("earliest", Start::Earliest),
            ("latest", Start::Latest),
            ("0", Start::At(Offset::new(0))),
            ("-3", Start::BeforeEnd(3)),
            ("@1700000000000", Start::Since(Timestamp::new(1_700_000_000_000))),
            ("@2023-11-14T22:13:20Z", Start::Since(Timestamp::new(1_700_000_000_000))),
            ("@2023-11-14T23:13:20+01:00", Start::Since(Timestamp::new(1_700_000_000_000))),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        assert_eq!("end".parse(), Ok(Stop::End));
        assert_eq!("7".parse(), Ok(Stop::At(Offset::new(7))));
        assert!("@2023-11-14".parse::<Start>().is_ok() && "@2023-11-14T12:30".parse::<Stop>().is_ok());
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "begin", "--3", "-", "@", "@yesterday", "1.5"] {
            assert!(text.parse::<Start>().is_err(), "{text:?}");
        }
        for text in ["", "latest", "-3", "@"] {
            assert!(text.parse::<Stop>().is_err(), "{text:?}");
        }
    }
}
