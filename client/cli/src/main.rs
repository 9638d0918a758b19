//! `folio`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    folio_cli::run()
}
