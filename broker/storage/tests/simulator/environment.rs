//! What the environment says about how long a run is.

use std::str::FromStr;

/// The number that the environment says under this name, if it says any.
///
/// # Panics
/// When what it says is none: who asked for a long run does not want a short one.
pub(crate) fn told<T: FromStr>(name: &str) -> Option<T> {
    let said = std::env::var(name).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name}={said} is no number")))
}
