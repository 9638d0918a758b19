//! What a person at the terminal sees of work that takes long.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use folio_client::CallError;

use crate::output::{human_bytes, human_records, say, say_in_place};

/// One line on a terminal, renewed a few times a second; and, wherever standard error goes, a word when nothing moves.
pub(crate) struct Progress {
    since: Instant,
    shown: Option<Instant>,
    is_wanted: bool,
    moved: Instant,
    is_stall_told: bool,
}

impl Progress {
    /// Who types the input has the cursor and sees what is done.
    pub(crate) fn new(reads_stdin: bool) -> Self {
        let is_typed = reads_stdin && std::io::stdin().is_terminal();
        let now = Instant::now();
        Self {
            since: now,
            shown: None,
            is_wanted: std::io::stderr().is_terminal() && !is_typed,
            moved: now,
            is_stall_told: false,
        }
    }

    /// How long it has taken so far.
    pub(crate) fn since(&self) -> Duration {
        self.since.elapsed()
    }

    /// The broker has answered.
    pub(crate) fn moved(&mut self) {
        self.is_stall_told = false;
        self.moved = Instant::now();
    }

    /// `trouble`: why what is on its way is not stored yet, if that is known.
    pub(crate) fn show(
        &mut self,
        records: u64,
        bytes: u64,
        on_their_way: usize,
        trouble: impl FnOnce() -> Option<CallError>,
    ) {
        if on_their_way == 0 {
            self.moved();
        } else if self.moved.elapsed() >= STALL && !self.is_stall_told {
            self.is_stall_told = true;
            self.end();
            let why = trouble().map_or_else(
                || format!("no answer from the broker for {} s", STALL.as_secs()),
                |trouble| format!("nothing was stored for {} s: {trouble}", STALL.as_secs()),
            );
            let on_their_way = human_records(on_their_way as u64);
            say(format_args!("folio: {why}; still trying, with {on_their_way} on the way"));
        }
        self.renew(|| format!("{}, {}", human_records(records), human_bytes(bytes)));
    }

    /// Shows this, if somebody looks and the last one has stood for a while.
    pub(crate) fn renew(&mut self, text: impl FnOnce() -> String) {
        if self.is_wanted && self.shown.unwrap_or(self.since).elapsed() >= RENEWED {
            self.shown = Some(Instant::now());
            say_in_place(format_args!("\r{}\x1b[K", text()));
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        if self.shown.is_some() {
            say_in_place("\r\x1b[K");
        }
    }
}

const RENEWED: Duration = Duration::from_millis(250);
/// After so long a person wonders.
const STALL: Duration = Duration::from_secs(5);
