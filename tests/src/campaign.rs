//! Campaigns: claims that have a short form, which runs with every other test, and a long one by one command.

use std::str::FromStr;

/// How long this run is: what the environment says under the name `variable`, or else the short form.
///
/// # Panics
/// When what it says cannot be read: who asked for a long run does not want a short one.
pub fn length<T: FromStr>(variable: &str, short: T) -> T {
    told(variable).unwrap_or(short)
}

/// The number that the environment says under the name `variable`, if it says any.
///
/// # Panics
/// When what it says is none.
pub fn told<T: FromStr>(variable: &str) -> Option<T> {
    let said = std::env::var(variable).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{variable}={said} is no number")))
}
