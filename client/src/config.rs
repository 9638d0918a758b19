//! How a client reaches its brokers.

use std::time::Duration;

use crate::Backoff;

/// How a [`Client`](crate::Client) reaches its brokers. The defaults suit a broker on this machine as well as one far
/// away.
///
/// ```
/// use std::time::Duration;
/// use folio_client::ClientConfig;
///
/// let config = ClientConfig::new("10.0.0.7:9092, 10.0.0.8:9092").request_timeout(Duration::from_secs(5));
/// assert_eq!(config.brokers.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where brokers listen, as `host:port` or `host` (port 9092). They are tried in this order, beginning with the
    /// one that worked last. Default `127.0.0.1:9092`.
    pub brokers: Vec<String>,
    /// The name under which the broker's log and its figures know this client. Default `folio-client`.
    pub client_id: String,
    /// How long one connection attempt may take, until the broker has shown that it speaks the protocol. Default 10 s.
    pub connect_timeout: Duration,
    /// How long an answer may take. A connection that leaves a request without an answer for so long is given up, and
    /// a new one made. Also how long a call waits for a connection to come back. Default 30 s.
    pub request_timeout: Duration,
    /// Waiting times between connection attempts once all brokers have failed. Default 50 ms to 1 s.
    pub reconnect_backoff: Backoff,
    /// Waiting times before a request that the broker refused for the moment is sent again. Default 50 ms to 1 s.
    pub retry_backoff: Backoff,
    /// Requests on their way to the broker or back, on the one connection. More wait here. Default 256.
    pub requests_in_flight_max: usize,
    /// Largest frame that is accepted of the broker. Larger ones end the connection. Default 64 MiB.
    pub frame_bytes_max: usize,
}

/// The port of a broker whose address names none.
pub const DEFAULT_PORT: u16 = 9092;

impl ClientConfig {
    /// A configuration with these brokers (`host:port`, comma-separated) and defaults for all else.
    pub fn new(brokers: &str) -> Self {
        Self {
            brokers: brokers.split(',').map(str::trim).filter(|b| !b.is_empty()).map(str::to_owned).collect(),
            client_id: "folio-client".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            reconnect_backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
            retry_backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1) },
            requests_in_flight_max: 256,
            frame_bytes_max: 64 << 20,
        }
    }

    /// Sets [`client_id`](Self::client_id).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`request_timeout`](Self::request_timeout).
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets [`reconnect_backoff`](Self::reconnect_backoff).
    #[must_use]
    pub fn reconnect_backoff(mut self, backoff: Backoff) -> Self {
        self.reconnect_backoff = backoff;
        self
    }

    /// Sets [`retry_backoff`](Self::retry_backoff).
    #[must_use]
    pub fn retry_backoff(mut self, backoff: Backoff) -> Self {
        self.retry_backoff = backoff;
        self
    }

    /// Sets [`requests_in_flight_max`](Self::requests_in_flight_max).
    #[must_use]
    pub fn requests_in_flight_max(mut self, most: usize) -> Self {
        self.requests_in_flight_max = most;
        self
    }

    /// Sets [`frame_bytes_max`](Self::frame_bytes_max).
    #[must_use]
    pub fn frame_bytes_max(mut self, most: usize) -> Self {
        self.frame_bytes_max = most;
        self
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self::new("127.0.0.1:9092")
    }
}
