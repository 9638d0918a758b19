//! One thread, one `Poll`, many channels.
//!
//! A turn:
//!
//! ```text
//!            +--> sleep until: an event, a notification, the nearest deadline
//!            |      |
//!            |      v  epoll_wait: at most once a turn
//!            |    events          set the channels' readiness, put them into the ready queue
//!            |    posts           messages -> LoopLocal, what handles ask, woken channels
//!            |    ready queue     one pass: read each channel (bounded), its stages consume
//!            |    deadlines
//!            |    LoopLocal::turn_end
//!            |    woken channels  answers that turn_end has given are encoded
//!            |    flush           one writev for each channel that has something to send
//!            +----+
//! ```
//!
//! Invariants: a channel is in the ready queue at most once; a channel with work left is in the ready queue, and a loop
//! whose ready queue is not empty does not sleep; nothing here waits for anything but `epoll_wait`.

mod accept;
mod connect;
mod entries;
mod handle;
mod thread;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};

use crate::channel::ChannelOp;
use crate::connection::{Connection, Readiness};
use crate::host::Host;
use crate::{CloseCause, ConnectError, LoopLocal, SocketOptions};

use accept::Listener;
use connect::Connecting;
use entries::Entries;
use timers::Timers;

pub use handle::LoopHandle;
pub(crate) use handle::{Adoption, Call, Command, GroupShared, Listening, LoopShared};
pub(crate) use thread::Poller;

/// What one loop owns. Knows no clock: each turn is told the time.
pub(crate) struct EventLoop<L: LoopLocal> {
    group: Arc<GroupShared<L>>,
    shared: Arc<LoopShared<L>>,
    /// An embedded loop has none.
    registry: Option<Registry>,
    options: SocketOptions,
    host: Host<L>,
    entries: Entries<Entry<L>>,
    /// Channels with work left, in order of arrival.
    ready: VecDeque<Token>,
    /// Channels with something to send that the socket would take.
    to_flush: Vec<Token>,
    timers: Timers,
    /// A notification was taken, and what was posted was not looked at yet.
    has_posts: bool,
    shutdown: Option<Instant>,
    commands: Vec<Command<L>>,
    woken: Vec<Token>,
}

/// Whatever has a token.
pub(crate) enum Entry<L: LoopLocal> {
    Connection(Box<Served<L>>),
    Connecting(Box<Connecting<L>>),
    Listener(Box<Listener<L>>),
}

/// A connection, and where it stands in the loop.
pub(crate) struct Served<L: LoopLocal> {
    pub(crate) connection: Connection<L>,
    in_ready: bool,
    in_flush: bool,
    timer: Option<Instant>,
}

impl<L: LoopLocal> EventLoop<L> {
    pub(crate) fn new(
        group: Arc<GroupShared<L>>,
        shared: Arc<LoopShared<L>>,
        registry: Option<Registry>,
        options: SocketOptions,
        local: L,
        now: Instant,
    ) -> Self {
        let host = Host::new(
            local,
            now,
            Arc::clone(&group.limits),
            Arc::clone(&shared.counters),
            Arc::clone(&group.unfinished),
        );
        Self {
            group,
            shared,
            registry,
            options,
            host,
            entries: Entries::new(),
            ready: VecDeque::new(),
            to_flush: Vec::new(),
            timers: Timers::new(),
            has_posts: false,
            shutdown: None,
            commands: Vec::new(),
            woken: Vec::new(),
        }
    }

    /// The token of the next channel.
    pub(crate) fn next_token(&self) -> Token {
        self.entries.next_token()
    }

    pub(crate) fn host_mut(&mut self) -> &mut Host<L> {
        &mut self.host
    }

    pub(crate) fn connection_mut(&mut self, token: Token) -> Option<&mut Connection<L>> {
        match self.entries.get_mut(token) {
            Some(Entry::Connection(served)) => Some(&mut served.connection),
            _ => None,
        }
    }

    /// Whether a turn is due without any event.
    pub(crate) fn has_work(&self) -> bool {
        self.has_posts || !self.ready.is_empty() || !self.to_flush.is_empty()
    }

    /// Whether it shuts down, and all its channels have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.shutdown.is_some() && self.entries.is_empty()
    }

    /// When the next turn is due, whatever happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.timers.first(), self.host.local.next_deadline(), self.shutdown].into_iter().flatten().min()
    }

    /// One turn.
    pub(crate) fn turn(&mut self, now: Instant, events: impl Iterator<Item = (Token, Readiness)>) {
        self.host.now = now;
        self.host.counters.turns.increment();
        for (token, readiness) in events {
            self.note_event(token, readiness);
        }
        self.take_notification();
        if std::mem::take(&mut self.has_posts) {
            self.run_commands();
            self.run_woken();
        }
        self.run_ready();
        self.fire_timers();
        self.host.local.turn_end(now);
        self.take_notification();
        if self.has_posts {
            // Only the channels: a message would have to be followed by another `turn_end`, in the next turn.
            self.run_woken();
            self.has_posts = self.shared.has_commands();
        }
        self.flush();
    }

    fn note_event(&mut self, token: Token, readiness: Readiness) {
        // The entry may have ended while an event for it was on its way: its token is nobody's now.
        match self.entries.get_mut(token) {
            Some(Entry::Connection(served)) => {
                served.connection.set_ready(readiness, &mut self.host);
                self.settle(token);
            }
            Some(Entry::Connecting(_)) => self.advance_connecting(token, readiness),
            Some(Entry::Listener(listener)) => {
                let is_due = listener.set_ready();
                self.ready.extend(is_due.then_some(token));
            }
            None => {}
        }
    }

    /// Sees whether something was posted.
    pub(crate) fn take_notification(&mut self) {
        self.has_posts |= self.shared.core.take_notification();
    }

    /// Ends all channels at once.
    pub(crate) fn end_all(&mut self) {
        for token in self.entries.tokens() {
            match self.entries.get_mut(token) {
                Some(Entry::Connection(served)) => {
                    served.connection.end_now(CloseCause::Shutdown);
                    self.settle(token);
                }
                Some(Entry::Connecting(_) | Entry::Listener(_)) => self.drop_entry(token),
                None => {}
            }
        }
    }

    fn run_commands(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        self.shared.take_commands(&mut commands);
        for command in commands.drain(..) {
            match command {
                Command::Message(message) => self.host.local.message(message),
                Command::Channel(token, op) => self.perform(token, op),
                Command::WakePaused => self.wake_paused(),
                Command::Adopt(adoption) => self.adopt(adoption),
                Command::Listen(listening) => self.listen(listening),
                Command::Connect(call) => self.connect(call),
                Command::Shutdown { deadline } => self.begin_shutdown(deadline),
            }
        }
        commands.shrink_to(COMMANDS_KEPT);
        self.commands = commands;
    }

    fn perform(&mut self, token: Token, op: ChannelOp<L>) {
        match self.entries.get_mut(token) {
            Some(Entry::Connection(served)) => {
                served.connection.perform(op, &mut self.host);
                self.settle(token);
            }
            Some(Entry::Listener(_)) if matches!(op, ChannelOp::Close) => self.drop_entry(token),
            Some(Entry::Listener(_) | Entry::Connecting(_)) | None => {}
        }
    }

    fn wake_paused(&mut self) {
        for token in self.entries.tokens() {
            if let Some(connection) = self.connection_mut(token)
                && !connection.stages().may_read()
            {
                self.wake(token);
            }
        }
    }

    fn run_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        self.shared.core.take_woken(&mut woken);
        for token in woken.drain(..) {
            self.wake(token);
        }
        self.woken = woken;
    }

    fn wake(&mut self, token: Token) {
        if let Some(Entry::Connection(served)) = self.entries.get_mut(token) {
            // Cleared first: what is put into a mailbox from here on wakes the channel again.
            served.connection.channel().core().clear_woken();
            served.connection.woken(&mut self.host);
            self.settle(token);
        }
    }

    /// One pass over the channels that are ready now; what has more to do queues up behind them.
    fn run_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else { break };
            match self.entries.get_mut(token) {
                Some(Entry::Connection(served)) => {
                    served.in_ready = false;
                    if served.connection.wants_run() {
                        served.connection.run(&mut self.host);
                    }
                    self.settle(token);
                }
                Some(Entry::Listener(_)) => self.accept(token),
                Some(Entry::Connecting(_)) | None => {}
            }
        }
    }

    fn fire_timers(&mut self) {
        // Those that are due now, and no others: a stage that asks for a time that has come already gets it next turn.
        for token in self.timers.take_due(self.host.now) {
            match self.entries.get_mut(token) {
                Some(Entry::Connection(served)) => {
                    served.timer = None;
                    served.connection.fire_deadlines(&mut self.host);
                    self.settle(token);
                }
                Some(Entry::Connecting(_)) => self.time_out_connecting(token),
                Some(Entry::Listener(listener)) => {
                    let is_due = listener.resume();
                    self.ready.extend(is_due.then_some(token));
                }
                None => {}
            }
        }
        if self.shutdown.is_some_and(|deadline| deadline <= self.host.now) {
            self.end_all();
        }
    }

    fn flush(&mut self) {
        let mut to_flush = std::mem::take(&mut self.to_flush);
        for token in to_flush.drain(..) {
            if let Some(Entry::Connection(served)) = self.entries.get_mut(token) {
                served.in_flush = false;
                served.connection.flush(&mut self.host);
                self.settle(token);
            }
        }
        // What the socket would still take was queued again meanwhile, for the next turn.
        if self.to_flush.is_empty() {
            self.to_flush = to_flush;
        }
    }

    /// After anything that concerned a connection: puts it where it belongs, or ends it.
    fn settle(&mut self, token: Token) {
        let Some(Entry::Connection(served)) = self.entries.get_mut(token) else { return };
        let connection = &served.connection;
        if connection.has_ended() {
            self.end(token);
            return;
        }
        if !served.in_ready && connection.wants_run() {
            served.in_ready = true;
            self.ready.push_back(token);
        }
        if !served.in_flush && connection.wants_flush() {
            served.in_flush = true;
            self.to_flush.push(token);
        }
        // A deadline that has moved away is looked at when the old one comes; moving it costs nothing until then.
        if let Some(deadline) = connection.next_deadline()
            && served.timer.is_none_or(|timer| deadline < timer)
        {
            self.timers.replace(served.timer, deadline, token);
            served.timer = Some(deadline);
        }
    }

    /// The connection has ended.
    fn end(&mut self, token: Token) {
        if let Some(Entry::Connection(served)) = self.entries.remove(token) {
            self.timers.remove(served.timer, token);
            served.connection.finish(&mut self.host);
        }
    }

    fn drop_entry(&mut self, token: Token) {
        match self.entries.remove(token) {
            Some(Entry::Listener(listener)) => {
                self.timers.remove(listener.timer(), token);
                listener.finish();
            }
            Some(Entry::Connecting(connecting)) => {
                self.timers.remove(Some(connecting.deadline()), token);
                connecting.fail(ConnectError::LoopEnded);
            }
            Some(Entry::Connection(_)) | None => {}
        }
    }

    fn begin_shutdown(&mut self, deadline: Instant) {
        let deadline = self.shutdown.map_or(deadline, |earlier| earlier.min(deadline));
        self.shutdown = Some(deadline);
        // Whoever was woken by a message before this may have last words.
        self.run_woken();
        for token in self.entries.tokens() {
            match self.entries.get_mut(token) {
                Some(Entry::Connection(served)) => {
                    served.connection.shut_down(deadline);
                    self.settle(token);
                }
                Some(Entry::Connecting(_) | Entry::Listener(_)) => self.drop_entry(token),
                None => {}
            }
        }
    }
}

/// Room for this many posts stays allocated.
const COMMANDS_KEPT: usize = 1024;
