//! Claims about what connections cost: memory and descriptors of a whole process. Each has the process to itself.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

#[path = "../claims/frames.rs"]
#[allow(dead_code, reason = "the other claims use more of it")]
mod frames;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelLimits, EventLoopConfig, EventLoopGroup, IdleTimeout, RequestHandler, Responder, Stage,
    initializer,
};
use frames::{Answer, Frames, Handle, echo, frame, frames, serving};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The process for one claim: what the one before it left to be closed in the background is closed.
fn alone() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::new(());
    static AT_FIRST: OnceLock<usize> = OnceLock::new();
    let process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    let at_first = *AT_FIRST.get_or_init(descriptors);
    eventually("the claim before has closed what it opened", || descriptors() <= at_first);
    process
}

/// Anonymous memory of this process, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn group(limits: ChannelLimits) -> EventLoopGroup<()> {
    let config = EventLoopConfig { loops: 1, limits, ..EventLoopConfig::default() };
    EventLoopGroup::start(config, |_, _| ()).unwrap()
}

fn bind(group: &EventLoopGroup<()>, init: impl folio_channel::ChannelInitializer<()>) -> SocketAddr {
    group.bind(SocketAddr::from(([127, 0, 0, 1], 0)), init).unwrap().local_address().unwrap()
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn round_trip(mut stream: &TcpStream) {
    stream.write_all(&frames(["hello"])).unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..], frames(["hello"]));
}

fn eventually(what: &str, state: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !state() {
        assert!(Instant::now() < deadline, "in a minute not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    const CONNECTIONS: usize = 1000;
    let _alone = alone();
    allow_descriptors(4 * CONNECTIONS);
    let group = group(ChannelLimits::default());
    let address = bind(
        &group,
        initializer(|_, pipeline| {
            pipeline.add_last("idle", Stage::inbound(IdleTimeout::new(Duration::from_secs(600))));
            pipeline.add_last("requests", Stage::inbound(RequestHandler::new(Frames::<true>, Handle(echo))));
            Ok(())
        }),
    );
    round_trip(&client(address)); // the loop's own buffers are there now
    let before = memory();
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| client(address)).collect();
    streams.iter().for_each(round_trip); // each has read and written
    let each = memory().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes of anonymous memory for each of {CONNECTIONS} idle connections");
    assert_eq!(group.counters().connections, CONNECTIONS as u64);
    assert!(each < 4096, "{each} bytes for an idle connection");
}

#[test]
fn peers_that_flood_requests_and_read_nothing_cost_bounded_memory_and_get_everything_later() {
    const PEERS: usize = 20;
    const REQUESTS: usize = 3000;
    const ANSWER: usize = 10_000;
    let _alone = alone();
    let amplify = |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| {
        reply.send(Answer::Raw(Bytes::from(vec![request[0]; ANSWER]).into()));
    };
    let group = group(ChannelLimits::default());
    let address = bind(&group, serving::<(), _, true>(amplify));
    let before = memory();
    let flood: Vec<u8> = (0..REQUESTS).flat_map(|number| frame(&[(number % 251) as u8; 100])).collect();
    let streams: Vec<_> = (0..PEERS).map(|_| client(address)).collect();
    let mut left: Vec<&[u8]> = Vec::new();
    for mut stream in &streams {
        // As much as the kernel and the server take; what is left is sent while the answers are read.
        stream.set_nonblocking(true).unwrap();
        let mut flood = &flood[..];
        let deadline = Instant::now() + Duration::from_millis(200);
        while !flood.is_empty() && Instant::now() < deadline {
            match stream.write(flood) {
                Ok(count) => flood = &flood[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        stream.set_nonblocking(false).unwrap();
        left.push(flood);
    }
    let grown = memory().saturating_sub(before);
    println!("{} KiB for {PEERS} peers that are owed {} MB each", grown >> 10, REQUESTS * ANSWER / 1_000_000);
    assert!(grown < 32 << 20, "{grown} bytes");
    for (mut stream, left) in streams.iter().zip(left) {
        std::thread::scope(|scope| {
            scope.spawn(move || { stream }.write_all(left).unwrap());
            let mut answer = vec![0; ANSWER];
            for number in 0..REQUESTS {
                stream.read_exact(&mut answer).unwrap();
                assert!(answer.iter().all(|byte| usize::from(*byte) == number % 251), "answer {number}");
            }
        });
    }
}

#[test]
fn peers_that_send_half_a_unit_and_wait_cost_what_they_sent() {
    const PEERS: usize = 200;
    let _alone = alone();
    allow_descriptors(1000);
    let group = group(ChannelLimits::default());
    let address = bind(&group, serving::<(), _, true>(echo));
    round_trip(&client(address));
    let before = memory();
    let streams: Vec<_> = (0..PEERS).map(|_| client(address)).collect();
    for mut stream in &streams {
        stream.write_all(&[200; 150]).unwrap(); // 50 bytes short of a frame
    }
    let reads = || group.counters().reads;
    eventually("all was read", || reads() > PEERS as u64);
    let each = memory().saturating_sub(before) / PEERS;
    println!("{each} bytes for each of {PEERS} connections with half a unit");
    assert!(each < 8192, "{each} bytes");
    for mut stream in &streams {
        stream.write_all(&[200; 51]).unwrap();
        let mut answer = [0; 201];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [200; 201]);
    }
}

#[test]
fn thousands_of_connections_that_come_and_go_leave_nothing_behind() {
    let _alone = alone();
    let group = group(ChannelLimits::default());
    let address = bind(&group, serving::<(), _, true>(echo));
    let storm = |count: usize| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    for number in 0..count / 4 {
                        let mut stream = client(address);
                        // In turn: ends in order, ends in the middle of a request, is reset, has never said a word.
                        match (number + thread) % 4 {
                            0 => round_trip(&stream),
                            1 => stream.write_all(&frames(["hello"])[..3]).unwrap(),
                            2 => {
                                stream.write_all(&frames(["hello"])).unwrap();
                                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                            }
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        eventually("all channels have ended", || group.counters().connections == 0);
    };
    storm(1000);
    let before = (descriptors(), memory());
    storm(6000);
    let after = (descriptors(), memory());
    assert_eq!(group.counters().accepted, 7000);
    assert_eq!(after.0, before.0, "descriptors");
    assert!(after.1 < before.1 + (2 << 20), "{} bytes became {}", before.1, after.1);
    round_trip(&client(address));
}

#[test]
fn a_group_that_has_ended_leaves_nothing_behind() {
    let _alone = alone();
    let once = || {
        let config = EventLoopConfig { loops: 4, ..EventLoopConfig::default() };
        let group = EventLoopGroup::start(config, |_, _| ()).unwrap();
        let address = bind(&group, serving::<(), _, true>(echo));
        let streams: Vec<_> = (0..20).map(|_| client(address)).collect();
        streams.iter().for_each(round_trip);
        group.shutdown(Duration::from_secs(60));
        group.join().unwrap();
    };
    once();
    let before = descriptors();
    (0..20).for_each(|_| once());
    assert_eq!(descriptors(), before);
}

#[test]
fn without_descriptors_a_new_peer_is_told_so_and_the_others_are_served() {
    let _alone = alone();
    let group = group(ChannelLimits::default());
    let address = bind(&group, serving::<(), _, true>(echo));
    let (first, waiting) = (client(address), client(address));
    round_trip(&first);
    round_trip(&waiting);
    drop(waiting);
    eventually("one has gone", || group.counters().connections == 1);

    // The one descriptor that is left is the client's end of the connection.
    let limit = getrlimit(Resource::Nofile);
    let highest = descriptors_up_to();
    setrlimit(Resource::Nofile, Rlimit { current: Some(highest), maximum: limit.maximum }).unwrap();
    let refused = std::panic::catch_unwind(|| {
        let mut hogs = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hogs.push(file);
        }
        hogs.pop();
        let mut refused = TcpStream::connect(address).unwrap();
        refused.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        let ended = refused.read_to_end(&mut rest);
        round_trip(&first);
        ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    });
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(refused.unwrap(), "the connection was closed, not left waiting");
    assert_eq!(group.counters().refused_no_descriptor, 1);
    round_trip(&client(address));
}

/// A limit that lets the descriptors that are open be, and few more.
fn descriptors_up_to() -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let highest = open.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok()).max();
    highest.unwrap() + 8
}

fn allow_descriptors(count: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.current.unwrap_or(u64::MAX).max(count as u64);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
}
