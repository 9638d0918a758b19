//! What the pipeline costs: one small request at a time over loopback TCP, against two floors in the same run.
//!
//! ```text
//! cargo run --release -p folio-channel --example pipeline_floor [-- ROUNDS REQUESTS]
//! ```
//!
//! * `read/write`: a thread that blocks in `read`, then writes what it read;
//! * `bare mio`: an edge-triggered loop, `epoll_wait`, `read`, `write`, and nothing else;
//! * `pipeline`: an event loop of this crate with a request handler, a trivial codec and a trivial service: the answer
//!   given in the call;
//! * `turn_end`: the same, but the request is parked, and answered when the turn ends, through its mailbox: the way of
//!   a produce request.
//!
//! Client and servers are pinned to one CPU; short rounds alternate between the servers, so that whatever else the
//! machine does hits all of them alike. The server's CPU is the process's less the client thread's.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use folio_channel::{
    ChannelError, ChannelInitializer, Codec, EventLoopConfig, EventLoopGroup, LoopLocal, OutboundQueue,
    ReadBuf, Reply, RequestHandler, Responder, Service, Stage, initializer,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const REQUEST_BYTES: usize = 64;
const BURST: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let requests: usize = arguments.next().map_or(Ok(1000), |text| text.parse())?;

    // Inherited by every thread that is started from here on.
    let mut cpus = CpuSet::new();
    cpus.set(0);
    sched_setaffinity(None, &cpus)?;

    let config = || EventLoopConfig { loops: 1, ..EventLoopConfig::default() };
    let plain = EventLoopGroup::start(config(), |_, _| ())?;
    let parking = EventLoopGroup::start(config(), |_, _| Parked::default())?;
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let address_of = |channel: Option<SocketAddr>| channel.ok_or("a server without an address");
    let mut contenders = [
        Contender::connect("read/write", start_read_write()?)?,
        Contender::connect("bare mio", start_mio()?)?,
        Contender::connect("pipeline", address_of(plain.bind(loopback, serving(Echo))?.local_address())?)?,
        Contender::connect("turn_end", address_of(parking.bind(loopback, serving(Park))?.local_address())?)?,
    ];
    for contender in &mut contenders {
        contender.round(requests)?;
        contender.forget();
    }
    for _ in 0..rounds {
        for contender in &mut contenders {
            contender.round(requests)?;
        }
    }
    let counters = plain.counters();
    for _ in 0..rounds {
        for contender in &mut contenders {
            contender.burst_round(requests)?;
        }
    }

    println!(
        "{rounds} rounds of {requests} requests of {REQUEST_BYTES} bytes, client and server on one CPU; us"
    );
    println!(
        "{:<12} {:>8} {:>8} {:>8} {:>12} {:>14}",
        "server", "p50", "p99", "min", "CPU/request", "p50 / bare mio"
    );
    for contender in &mut contenders {
        contender.times.sort_unstable();
    }
    let floor = contenders[1].percentile(0.50);
    for contender in &contenders {
        let p50 = contender.percentile(0.50);
        println!(
            "{:<12} {:>8.2} {:>8.2} {:>8.2} {:>12.2} {:>14.3} {:>22.3}",
            contender.name,
            p50,
            contender.percentile(0.99),
            contender.percentile(0.0),
            contender.server_cpu.as_secs_f64() * 1e6 / contender.times.len() as f64,
            p50 / floor,
            contender.burst_cpu.as_secs_f64() * 1e6 / (rounds * requests) as f64,
        );
    }
    let answered = ((rounds + 1) * requests) as f64;
    println!(
        "pipeline: {:.3} epoll_wait, {:.3} read, {:.3} writev per request",
        counters.polls as f64 / answered,
        counters.reads as f64 / answered,
        counters.writes as f64 / answered
    );
    Ok(())
}

/// A client of one server, and what it has measured.
struct Contender {
    name: &'static str,
    stream: TcpStream,
    times: Vec<Duration>,
    server_cpu: Duration,
    burst_cpu: Duration,
}

impl Contender {
    fn connect(name: &'static str, address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { name, stream, times: Vec::new(), server_cpu: Duration::ZERO, burst_cpu: Duration::ZERO })
    }

    fn round(&mut self, requests: usize) -> io::Result<()> {
        let request = request();
        let mut answer = [0; REQUEST_BYTES];
        let (process, client) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
        for _ in 0..requests {
            let begun = Instant::now();
            self.stream.write_all(&request)?;
            self.stream.read_exact(&mut answer)?;
            self.times.push(begun.elapsed());
        }
        if answer != request {
            return Err(io::Error::other("the answer is not the request"));
        }
        let (process, client) =
            (cpu(ClockId::ProcessCPUTime) - process, cpu(ClockId::ThreadCPUTime) - client);
        self.server_cpu += process.saturating_sub(client);
        Ok(())
    }

    /// The same number of requests, a hundred in one `write`.
    fn burst_round(&mut self, requests: usize) -> io::Result<()> {
        let burst = request().repeat(BURST);
        let mut answers = vec![0; burst.len()];
        let (process, client) = (cpu(ClockId::ProcessCPUTime), cpu(ClockId::ThreadCPUTime));
        for _ in 0..requests / BURST {
            self.stream.write_all(&burst)?;
            self.stream.read_exact(&mut answers)?;
        }
        let (process, client) =
            (cpu(ClockId::ProcessCPUTime) - process, cpu(ClockId::ThreadCPUTime) - client);
        self.burst_cpu += process.saturating_sub(client);
        Ok(())
    }

    fn forget(&mut self) {
        self.times.clear();
        self.server_cpu = Duration::ZERO;
    }

    /// Of the sorted times.
    fn percentile(&self, share: f64) -> f64 {
        let at = (self.times.len() as f64 * share) as usize;
        self.times[at.min(self.times.len() - 1)].as_secs_f64() * 1e6
    }
}

fn request() -> [u8; REQUEST_BYTES] {
    let mut request = [7; REQUEST_BYTES];
    request[..4].copy_from_slice(&(REQUEST_BYTES as u32 - 4).to_le_bytes());
    request
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn start_read_write() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
        }
    });
    Ok(address)
}

fn start_mio() -> io::Result<SocketAddr> {
    use mio::{Events, Interest, Poll, Token};
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let mut poll = Poll::new()?;
        poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        loop {
            poll.poll(&mut events, None)?;
            for event in &events {
                if !event.is_readable() {
                    continue;
                }
                match stream.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => stream.write_all(&buffer[..count])?, // a short read has emptied the socket
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    });
    Ok(address)
}

/// `u32 length of what follows | payload`, answered by the same.
struct LengthPrefixed;

impl Codec for LengthPrefixed {
    type Request = BytesMut;
    type Response = BytesMut;

    const IN_ORDER: bool = true;

    fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<BytesMut>, ChannelError> {
        let mut bytes = input.as_slice();
        if bytes.len() < 4 {
            return Ok(None);
        }
        let len = bytes.get_u32_le() as usize;
        if len > 1 << 20 {
            return Err(ChannelError::peer("a frame of more than 1 MiB"));
        }
        if bytes.len() < len {
            return Ok(None);
        }
        input.consume(4);
        Ok(Some(input.split_to(len)))
    }

    fn encode(&mut self, response: BytesMut, out: &mut OutboundQueue) -> Result<(), ChannelError> {
        out.tail().put_u32_le(response.len() as u32);
        out.tail().put_slice(&response);
        Ok(())
    }
}

fn serving<L: LoopLocal, S>(service: S) -> impl ChannelInitializer<L>
where
    S: Service<L, Request = BytesMut, Response = BytesMut> + Copy + Sync,
{
    initializer(move |_, pipeline| {
        pipeline.add_last("requests", Stage::inbound(RequestHandler::new(LengthPrefixed, service)));
        Ok(())
    })
}

#[derive(Clone, Copy)]
struct Echo;

impl Service<()> for Echo {
    type Request = BytesMut;
    type Response = BytesMut;

    fn call(&mut self, (): &mut (), request: BytesMut, reply: Responder<'_, BytesMut>) {
        reply.send(request);
    }
}

#[derive(Default)]
struct Parked(Vec<(BytesMut, Reply<BytesMut>)>);

impl LoopLocal for Parked {
    type Message = ();

    fn message(&mut self, (): ()) {}

    fn turn_end(&mut self, _: Instant) {
        for (request, reply) in self.0.drain(..) {
            reply.send(request);
        }
    }
}

#[derive(Clone, Copy)]
struct Park;

impl Service<Parked> for Park {
    type Request = BytesMut;
    type Response = BytesMut;

    fn call(&mut self, local: &mut Parked, request: BytesMut, reply: Responder<'_, BytesMut>) {
        local.0.push((request, reply.later()));
    }
}
