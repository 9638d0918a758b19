//! How one value is written: the same text in the file, the environment, a flag and `--print-config`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::endpoint::{Endpoint, NoEndpoint};
use super::kind::Kind;

/// A setting that can be read from text and written as the same text.
///
/// The error of `read` says what was expected; who calls adds the key, the value and where it stood.
pub(super) trait Value: Sized {
    fn read(text: &str) -> Result<Self, String>;
    fn write(&self) -> String;

    /// As Kafka's clients name it.
    fn kind(&self) -> Kind {
        Kind::String
    }
}

impl Value for bool {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false".to_owned())
    }

    fn write(&self) -> String {
        self.to_string()
    }

    fn kind(&self) -> Kind {
        Kind::Boolean
    }
}

impl Value for String {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a text that is not empty".to_owned()) } else { Ok(text.to_owned()) }
    }

    fn write(&self) -> String {
        self.clone()
    }
}

/// What is read and written as a number is.
macro_rules! numbers {
    ($($number:ty: $kind:ident, $expected:expr;)*) => {
        $(impl Value for $number {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| $expected)
            }

            fn write(&self) -> String {
                self.to_string()
            }

            fn kind(&self) -> Kind {
                Kind::$kind
            }
        })*
    };
}

numbers! {
    u32: Int, format!("a whole number from 0 to {}", u32::MAX);
    u64: Long, "a whole number, 0 or more".to_owned();
    usize: Long, "a whole number, 0 or more".to_owned();
    NonZeroUsize: Long, "a whole number, 1 or more".to_owned();
}

/// `-1` is none.
impl Value for Option<u64> {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "-1" => Ok(None),
            text => text.parse().map(Some).map_err(|_| "a whole number, or -1 for none".to_owned()),
        }
    }

    fn write(&self) -> String {
        self.map_or_else(|| "-1".to_owned(), |number| number.to_string())
    }

    fn kind(&self) -> Kind {
        Kind::Long
    }
}

/// Milliseconds.
impl Value for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let ms = text.parse().map_err(|_| "a whole number of milliseconds, 0 or more".to_owned())?;
        Ok(Self::from_millis(ms))
    }

    fn write(&self) -> String {
        self.as_millis().to_string()
    }

    fn kind(&self) -> Kind {
        Kind::Long
    }
}

/// Comma-separated.
impl Value for Vec<SocketAddr> {
    fn read(text: &str) -> Result<Self, String> {
        let addresses: Result<Self, _> = text.split(',').map(|address| address.trim().parse()).collect();
        addresses.map_err(|_| "ADDRESS:PORT, more of them separated by commas, as 127.0.0.1:9092".to_owned())
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn kind(&self) -> Kind {
        Kind::List
    }
}

/// Comma-separated; empty is none.
impl Value for Vec<Endpoint> {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        let endpoints: Result<Self, _> = text.split(',').map(|endpoint| endpoint.trim().parse()).collect();
        endpoints.map_err(|error: NoEndpoint| error.to_string())
    }

    fn write(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    fn kind(&self) -> Kind {
        Kind::List
    }
}
