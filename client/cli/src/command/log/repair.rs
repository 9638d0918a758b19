//! `folio log repair`: mending a data directory, and giving up what is lost.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use folio_storage::repair::{RepairError, RepairOptions, Repaired, repair};

use super::{ended, refusal, renew, tagged};
use crate::arguments::Output;
use crate::exit::Failure;
use crate::output::{say, stdout};
use crate::progress::Progress;

pub(super) fn run(output: Output, dir: &Path, options: &RepairOptions) -> Result<(), Failure> {
    let files = Arc::new(super::open(dir)?);
    let (mut out, mut written) = (stdout(), Ok(()));
    let mut progress = Progress::new(false);
    let outcome = repair(
        &files,
        options,
        &mut |dir, done, total| renew(&mut progress, dir, done, total),
        &mut |step| {
            if written.is_ok() {
                written = match output {
                    Output::Text => writeln!(out, "{step}"),
                    Output::Json => tagged("step", step).and_then(|item| writeln!(out, "{item}")),
                };
            }
        },
    );
    progress.end();
    let repaired = match outcome {
        Ok(repaired) => repaired,
        Err(error) => {
            let refused = match error {
                RepairError::Verify(error) => refusal(dir, error),
                error => Failure::failed(error),
            };
            // What was shown before is shown all the same.
            return ended(written.and_then(|()| out.flush()), Err(refused));
        }
    };
    if let Output::Json = output {
        written = written.and_then(|()| writeln!(out, "{}", tagged("summary", &repaired)?));
    }
    ended(written.and_then(|()| out.flush()), conclude(&repaired))
}

fn conclude(repaired: &Repaired) -> Result<(), Failure> {
    match *repaired {
        Repaired { steps: 0, left, .. } if left.damage == 0 => say("nothing to repair"),
        Repaired { is_done: false, left, .. } => {
            let what = if left.damage == 0 { "nothing is damaged" } else { "this is what it takes" };
            return Err(Failure::failed(format_args!("nothing was changed: {what}; --yes does it")));
        }
        Repaired { left, .. } if left.damage > 0 => {
            let damage = left.damage;
            return Err(Failure::failed(format_args!(
                "{damage} findings are damage still: see folio log verify"
            )));
        }
        Repaired { .. } => say("done: what went is in quarantine/, and nothing is damaged any more"),
    }
    Ok(())
}
