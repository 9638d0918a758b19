//! Negative controls: a check is shown a run in which something is wrong, and has to say so, or it proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a check says of a run with this fault in it.
///
/// # Panics
/// When it finds nothing.
pub fn finding(fault: &str, check: impl FnOnce()) -> String {
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(()) => panic!("{fault}: the check finds nothing"),
        Err(said) => match said.downcast::<String>() {
            Ok(said) => *said,
            Err(said) => said.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
        },
    }
}
