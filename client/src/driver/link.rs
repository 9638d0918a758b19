//! The one connection of a client: whom it tries, in what order, and how long it waits in between.
//!
//! ```text
//!            needed                  an address            connected              preface read
//!   Idle ------------> Resolving ------------> Connecting ------------> Greeting -------------> Ready
//!     ^   (a round begins)  ^                       |                       |                     |
//!     |                     +---- next address or broker of the round <-----+                     |
//!     |                                             | none is left                                |
//!     |      needed, time over                      v                                             |
//!     +------------------------------------- Waiting (backoff) <--- lost before it answered anything
//!     +-------------------------------------------------------------------- lost after an answer -+
//! ```
//!
//! Every attempt has a number, and what an older one reports is ignored: a connection that was given up may have more
//! to say.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use folio_channel::{Channel, ConnectError};

use super::Driver;
use crate::backoff::Jitter;
use crate::protocol::Peer;
use crate::{CallError, ClientConfig, DEFAULT_PORT, StartError};

/// The connection and the way there.
pub(crate) struct Link {
    brokers: Brokers,
    state: State,
    attempt: u64,
    /// What is left to be tried in this round.
    round: VecDeque<Target>,
    /// The broker that worked last, or is being tried.
    current: usize,
    /// Rounds in a row without a connection that answered anything.
    failed_rounds: u32,
    answered: bool,
    trouble: Option<CallError>,
    jitter: Jitter,
}

pub(crate) enum State {
    Idle,
    Resolving,
    Connecting,
    Greeting { channel: Channel<Driver>, deadline: Instant },
    Ready { channel: Channel<Driver>, peer: Peer },
    Waiting { until: Instant },
}

/// What is to be done next for a connection.
pub(crate) enum Step {
    /// Find the addresses of a host, on a thread that may block, and report them under this attempt.
    Resolve { attempt: u64, host: Arc<str>, port: u16 },
    /// Connect, under this attempt.
    Connect { attempt: u64, address: SocketAddr },
    /// Nothing is left to be tried in this round; wait.
    RoundFailed,
}

/// Whom to try, in order; at least one.
#[derive(Clone, Debug)]
pub(crate) struct Brokers(Vec<Broker>);

/// A broker as it was configured.
#[derive(Clone, Debug)]
struct Broker {
    /// For people.
    name: Arc<str>,
    host: Arc<str>,
    port: u16,
}

#[derive(Clone, Debug)]
enum Target {
    Host(usize),
    Address(SocketAddr),
}

impl Link {
    pub(crate) fn new(brokers: Brokers) -> Self {
        Self {
            brokers,
            state: State::Idle,
            attempt: 0,
            round: VecDeque::new(),
            current: 0,
            failed_rounds: 0,
            answered: false,
            trouble: None,
            jitter: Jitter::random(),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The channel and what was agreed with the peer, when requests can be sent.
    pub(crate) fn ready(&self) -> Option<(&Channel<Driver>, &Peer)> {
        match &self.state {
            State::Ready { channel, peer } => Some((channel, peer)),
            _ => None,
        }
    }

    /// Whether this is the number of the attempt that counts.
    pub(crate) fn is_current(&self, attempt: u64) -> bool {
        attempt == self.attempt
    }

    /// Why there is no connection, if one was tried for and there is none.
    pub(crate) fn trouble(&self) -> Option<&CallError> {
        self.trouble.as_ref()
    }

    /// The name of the broker in use, or of the one tried last.
    pub(crate) fn broker(&self) -> &Arc<str> {
        &self.brokers.0[self.current].name
    }

    /// When something must happen though nothing else does.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Greeting { deadline, .. } => Some(deadline),
            State::Waiting { until } => Some(until),
            State::Idle | State::Resolving | State::Connecting | State::Ready { .. } => None,
        }
    }

    /// A connection is needed. What is to be done for it, unless something is being done already.
    pub(crate) fn needed(&mut self, now: Instant) -> Option<Step> {
        let due = match self.state {
            State::Idle => true,
            State::Waiting { until } => until <= now,
            _ => false,
        };
        if !due {
            return None;
        }
        let count = self.brokers.0.len();
        self.round = (0..count).map(|step| Target::Host((self.current + step) % count)).collect();
        Some(self.next_step())
    }

    /// No connection is needed at present.
    pub(crate) fn not_needed(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting { until } if until <= now) {
            self.state = State::Idle;
        }
    }

    /// What is to be tried next in this round.
    pub(crate) fn next_step(&mut self) -> Step {
        self.attempt += 1;
        let attempt = self.attempt;
        match self.round.pop_front() {
            Some(Target::Address(address)) => {
                self.state = State::Connecting;
                Step::Connect { attempt, address }
            }
            Some(Target::Host(index)) => {
                self.current = index;
                let Broker { host, port, .. } = self.brokers.0[index].clone();
                match host.parse::<IpAddr>() {
                    Ok(ip) => {
                        self.state = State::Connecting;
                        Step::Connect { attempt, address: SocketAddr::new(ip, port) }
                    }
                    Err(_) => {
                        self.state = State::Resolving;
                        Step::Resolve { attempt, host, port }
                    }
                }
            }
            None => Step::RoundFailed,
        }
    }

    /// The addresses of the host in question.
    pub(crate) fn resolved(&mut self, addresses: Vec<SocketAddr>) {
        for address in addresses.into_iter().rev() {
            self.round.push_front(Target::Address(address));
        }
    }

    /// All of the round have failed, or a connection broke before it was of any use: no other before `until`.
    pub(crate) fn wait(&mut self, now: Instant, config: &ClientConfig) {
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        let until = now + config.reconnect_backoff.after(self.failed_rounds, &mut self.jitter);
        self.attempt += 1;
        self.state = State::Waiting { until };
    }

    pub(crate) fn connected(&mut self, channel: Channel<Driver>, deadline: Instant) {
        self.state = State::Greeting { channel, deadline };
    }

    /// The peer speaks the protocol.
    pub(crate) fn greeted(&mut self, peer: Peer) {
        if let State::Greeting { channel, .. } = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Ready { channel, peer };
            self.answered = false;
            self.trouble = None;
        }
    }

    /// An answer has come: the connection is of use.
    pub(crate) fn answered(&mut self) {
        self.answered = true;
        self.failed_rounds = 0;
    }

    /// The connection is no more, or is given up. Whether it was of any use.
    pub(crate) fn lost(&mut self, trouble: CallError) -> bool {
        if let State::Greeting { channel, .. } | State::Ready { channel, .. } =
            std::mem::replace(&mut self.state, State::Idle)
        {
            channel.close();
        }
        self.attempt += 1;
        self.trouble = Some(trouble);
        std::mem::take(&mut self.answered)
    }
}

impl Brokers {
    /// Reads the addresses as they were configured.
    ///
    /// # Errors
    ///
    /// There is none, or one is no address.
    pub(crate) fn parse(config: &ClientConfig) -> Result<Self, StartError> {
        let brokers =
            config.brokers.iter().map(|broker| Broker::parse(broker)).collect::<Result<Vec<_>, _>>()?;
        if brokers.is_empty() {
            return Err(StartError::Config("no broker is configured".to_owned()));
        }
        Ok(Self(brokers))
    }
}

impl Broker {
    fn parse(text: &str) -> Result<Self, StartError> {
        let bad = |why: &str| StartError::Config(format!("{text:?} is not a broker's address: {why}"));
        // An IPv6 address stands in brackets when a port follows, and may do so when none does.
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or_else(|| bad("a port begins with a colon"))?))
            }
            None if text.parse::<IpAddr>().is_ok() => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(bad("no host is named"));
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("the port is not a number up to 65535"))?,
            None => DEFAULT_PORT,
        };
        let name = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { name: name.into(), host: host.into(), port })
    }
}

/// Looks a host up. Blocks.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
    let unreachable = |why: String| CallError::Unreachable { reason: format!("{host}: {why}").into() };
    let addresses: Vec<_> =
        (host, port).to_socket_addrs().map_err(|error| unreachable(error.to_string()))?.collect();
    if addresses.is_empty() { Err(unreachable("it has no address".to_owned())) } else { Ok(addresses) }
}

pub(crate) fn unreachable(error: &ConnectError) -> CallError {
    CallError::Unreachable { reason: error.to_string().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(brokers: &str) -> Link {
        Link::new(Brokers::parse(&ClientConfig::new(brokers)).unwrap())
    }

    fn connects_to(step: Step) -> String {
        match step {
            Step::Connect { address, .. } => address.to_string(),
            Step::Resolve { host, port, .. } => format!("lookup of {host}:{port}"),
            Step::RoundFailed => "nobody".to_owned(),
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, host, port) in [
            ("10.0.0.7:19092", "10.0.0.7", 19092),
            ("10.0.0.7", "10.0.0.7", 9092),
            ("kafka.example", "kafka.example", 9092),
            ("kafka.example:1", "kafka.example", 1),
            ("[::1]:9093", "::1", 9093),
            ("[::1]", "::1", 9092),
            ("::1", "::1", 9092),
        ] {
            let broker = Broker::parse(text).unwrap();
            assert_eq!((&*broker.host, broker.port), (host, port), "{text}");
        }
        for text in ["", ":9092", "host:port", "host:65536", "[::1]9092"] {
            assert!(Broker::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_round_tries_every_broker_once_and_then_waits() {
        let now = Instant::now();
        let mut link = link("10.0.0.1, localhost:1, 10.0.0.3");
        assert_eq!(connects_to(link.needed(now).unwrap()), "10.0.0.1:9092");
        assert!(link.needed(now).is_none(), "one at a time");
        assert_eq!(connects_to(link.next_step()), "lookup of localhost:1");
        link.resolved(vec!["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()]);
        assert_eq!(connects_to(link.next_step()), "[::1]:1");
        assert_eq!(connects_to(link.next_step()), "127.0.0.1:1");
        assert_eq!(connects_to(link.next_step()), "10.0.0.3:9092");
        assert!(matches!(link.next_step(), Step::RoundFailed));
        link.wait(now, &ClientConfig::default());
        assert!(link.needed(now).is_none());
        let until = link.next_deadline().unwrap();
        assert_eq!(
            connects_to(link.needed(until).unwrap()),
            "10.0.0.3:9092",
            "the one tried last is as good as any"
        );
    }

    #[test]
    fn what_an_attempt_reports_after_it_was_given_up_does_not_count() {
        let mut link = link("10.0.0.1");
        let Some(Step::Connect { attempt, .. }) = link.needed(Instant::now()) else { panic!("it connects") };
        assert!(link.is_current(attempt));
        link.wait(Instant::now(), &ClientConfig::default());
        assert!(!link.is_current(attempt));
    }
}
