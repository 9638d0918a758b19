//! Over real sockets: edges, fairness, order, half-closed and vanished peers.

use std::io::{IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelInitializer, ChannelLimits, EventLoopConfig, EventLoopGroup, LoopLocal, Reply, Responder,
};
use folio_mapped::SegmentMap;

use crate::frames::{Answer, answer, echo, frame, frames, serving};

/// Waits for a state, for at most a minute.
pub(crate) fn eventually(what: &str, state: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !state() {
        assert!(Instant::now() < deadline, "in a minute not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn one_loop(limits: ChannelLimits) -> EventLoopConfig {
    EventLoopConfig { loops: 1, limits, ..EventLoopConfig::default() }
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A group of one loop without state, and where it listens.
pub(crate) fn server(
    limits: ChannelLimits,
    init: impl ChannelInitializer<()>,
) -> (EventLoopGroup<()>, SocketAddr) {
    let group = EventLoopGroup::start(one_loop(limits), |_, _| ()).unwrap();
    let channel = group.bind(loopback(), init).unwrap();
    (group, channel.local_address().unwrap())
}

pub(crate) fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

pub(crate) fn read_exactly(mut stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// One request and its answer.
pub(crate) fn round_trip(mut stream: &TcpStream, payload: &[u8]) -> Vec<u8> {
    stream.write_all(&frame(payload)).unwrap();
    read_exactly(stream, payload.len() + 1)
}

/// Nothing comes any more: the other end has closed.
pub(crate) fn assert_closed(mut stream: &TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
}

/// Hands requests to the test.
pub(crate) type Parked = (BytesMut, Reply<Answer>);

pub(crate) fn parking(requests: mpsc::Sender<Parked>) -> impl ChannelInitializer<()> {
    let park = move |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| {
        requests.send((request, reply.later())).unwrap();
    };
    serving::<(), _, true>(park)
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_answered_whole() {
    let (_group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    let mut stream = client(address);
    let requests = frames(["a", "", "bcd"]);
    for byte in &requests {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(read_exactly(&stream, requests.len()), requests);
}

#[test]
fn pipelined_requests_that_arrive_together_are_answered_by_one_read_and_one_write() {
    let (group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    let mut stream = client(address);
    round_trip(&stream, b"warm");
    let before = group.counters();
    let requests = frame(&[5; 20]).repeat(100);
    stream.write_all(&requests).unwrap();
    assert_eq!(read_exactly(&stream, requests.len()), requests);
    let after = group.counters();
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (1, 1));
    assert_eq!(after.turns - before.turns, 1);
}

#[test]
fn what_arrived_with_one_edge_is_served_to_its_end_over_many_turns() {
    // Ten times as much as a turn takes from a channel; after that the peer is silent, and no edge will come.
    let limits =
        ChannelLimits { read_buffer_bytes: 4096, read_bytes_per_turn: 8192, ..ChannelLimits::default() };
    let (_group, address) = server(limits, serving::<(), _, true>(echo));
    let mut stream = client(address);
    let requests: Vec<u8> = (0..800_u32).flat_map(|number| frame(&[number as u8; 100])).collect();
    stream.write_all(&requests).unwrap();
    assert_eq!(read_exactly(&stream, requests.len()), requests);
}

#[test]
fn a_peer_that_never_stops_sending_does_not_starve_another() {
    let limits = ChannelLimits { read_bytes_per_turn: 64 << 10, ..ChannelLimits::default() };
    let (_group, address) = server(limits, serving::<(), _, true>(echo));
    let flood = client(address);
    let (done, stop) = mpsc::channel::<()>();
    let writer = {
        let mut flood = flood.try_clone().unwrap();
        std::thread::spawn(move || {
            let burst = frame(&[1; 200]).repeat(1000);
            // At least once, however soon the others are done.
            while flood.write_all(&burst).is_ok() && stop.try_recv().is_err() {}
            flood.shutdown(Shutdown::Write).unwrap();
        })
    };
    let reader = {
        let mut flood = flood.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut flood, &mut std::io::sink()).unwrap())
    };
    let quiet = client(address);
    for number in 0..200_u8 {
        assert_eq!(round_trip(&quiet, &[number; 3]), frame(&[number; 3]));
    }
    done.send(()).unwrap();
    writer.join().unwrap();
    let flooded = reader.join().unwrap();
    assert!(flooded > 0 && flooded % 201 == 0, "{flooded} bytes");
}

#[test]
fn a_peer_that_reads_nothing_does_not_slow_another() {
    let big = Bytes::from(vec![3; 100_000]);
    let amplify = move |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| match request.first() {
        Some(b'b') => reply.send(Answer::Raw(big.clone().into())),
        _ => reply.send(answer(request)),
    };
    let (_group, address) = server(ChannelLimits::default(), serving::<(), _, true>(amplify));
    let mut slow = client(address);
    slow.write_all(&frame(b"b").repeat(500)).unwrap(); // 50 MB of answers: more than any socket buffer
    let quick = client(address);
    let begun = Instant::now();
    for _ in 0..500 {
        round_trip(&quick, b"quick");
    }
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    assert!(read_exactly(&slow, 50_000_000).iter().all(|byte| *byte == 3), "and the slow one gets all of it");
}

#[test]
fn answers_from_other_threads_arrive_in_the_order_of_the_requests() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let (_group, address) = server(ChannelLimits::default(), parking(sender));
    let mut stream = client(address);
    let all: Vec<u8> = (0..200_u8).flat_map(|number| frame(&[number])).collect();
    stream.write_all(&all).unwrap();
    let mut parked: Vec<Parked> = (0..200).map(|_| requests.recv().unwrap()).collect();
    let odd: Vec<Parked> = parked.extract_if(.., |(request, _)| request[0] % 2 == 1).collect();
    let threads = [odd, parked].map(|half| {
        std::thread::spawn(move || {
            for (request, reply) in half.into_iter().rev() {
                reply.send(answer(request));
            }
        })
    });
    assert_eq!(read_exactly(&stream, all.len()), all);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_peer_that_has_finished_sending_is_answered_and_then_closed() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let (group, address) = server(ChannelLimits::default(), parking(sender));
    let mut stream = client(address);
    stream.write_all(&frames(["late"])).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (request, reply) = requests.recv().unwrap();
    reply.send(answer(request));
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all, frames(["late"]));
    eventually("the channel has ended", || group.counters().connections == 0);
    assert_eq!(group.counters().failed, 0);
}

#[test]
fn a_request_and_the_end_that_arrive_together_are_both_seen() {
    let (group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    for _ in 0..50 {
        let mut stream = client(address);
        stream.write_all(&frames(["x"])).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all, frames(["x"]));
    }
    eventually("all channels have ended", || group.counters().connections == 0);
}

#[test]
fn a_peer_that_vanishes_while_it_is_not_being_read_is_noticed() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let limits = ChannelLimits { in_flight_max: 1, ..ChannelLimits::default() };
    let (group, address) = server(limits, parking(sender));
    let mut stream = client(address);
    stream.write_all(&frames(["a", "b"])).unwrap();
    let (_, reply) = requests.recv().unwrap();
    // Unread bytes of ours in a socket that is closed make it a reset.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    eventually("the reset was noticed", || group.counters().connections == 0);
    assert_eq!(group.counters().failed, 1);
    assert!(reply.is_closed());
}

#[test]
fn the_last_words_before_an_error_arrive_though_the_peer_had_sent_more() {
    let (_group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    for _ in 0..50 {
        let mut stream = client(address);
        let mut input = frames(["last words"]);
        input.push(0xff);
        input.extend([0; 5000]);
        stream.write_all(&input).unwrap();
        assert_eq!(read_exactly(&stream, 11), frames(["last words"]));
        assert_closed(&stream);
    }
}

#[test]
fn a_file_truncated_under_a_mapped_answer_closes_that_channel_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let map = SegmentMap::open(file, 1 << 20, 0).unwrap();
    let range = map.appender().unwrap().append(&[IoSlice::new(&[7; 1 << 18])]).unwrap();
    let slice = map.slice(range).unwrap();
    let serve = move |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| match request.first() {
        Some(b'm') => reply.send(Answer::Raw(slice.clone().into())),
        _ => reply.send(answer(request)),
    };
    let (group, address) = server(ChannelLimits::default(), serving::<(), _, true>(serve));
    let mut stream = client(address);
    stream.write_all(&frames(["m"])).unwrap();
    assert!(read_exactly(&stream, 1 << 18).iter().all(|byte| *byte == 7));

    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 16).unwrap();
    let other = client(address);
    round_trip(&other, b"still here");
    stream.write_all(&frames(["m"])).unwrap();
    assert_closed(&stream);
    eventually("the error was counted", || group.counters().failed == 1);
    round_trip(&other, b"still here");
}

#[test]
fn the_deadline_of_the_loops_state_is_kept_without_any_event() {
    struct Clock {
        next: Instant,
        ticks: mpsc::Sender<Instant>,
    }
    impl LoopLocal for Clock {
        type Message = ();
        fn message(&mut self, (): ()) {}
        fn turn_end(&mut self, now: Instant) {
            if now >= self.next {
                self.ticks.send(now).unwrap_or_default();
                self.next = now + Duration::from_millis(5);
            }
        }
        fn next_deadline(&self) -> Option<Instant> {
            Some(self.next)
        }
    }
    let (sender, ticks) = mpsc::channel();
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), move |_, _| Clock {
        next: Instant::now(),
        ticks: sender.clone(),
    })
    .unwrap();
    let times: Vec<_> = (0..10).map(|_| ticks.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(5)));
    assert!(group.counters().turns < 1000, "it slept meanwhile");
}

#[test]
fn a_loop_told_to_spin_polls_on_after_a_request_and_one_that_is_not_sleeps() {
    for (spin, polls_on) in [(Duration::from_millis(50), true), (Duration::ZERO, false)] {
        let config = EventLoopConfig { spin, ..one_loop(ChannelLimits::default()) };
        let group = EventLoopGroup::start(config, |_, _| ()).unwrap();
        let address = group.bind(loopback(), serving::<(), _, true>(echo)).unwrap().local_address().unwrap();
        let stream = client(address);
        round_trip(&stream, b"x");
        let before = group.counters().polls;
        if polls_on {
            // Others run beside this, and may leave it no processor while it spins.
            eventually("it polls on", || {
                let before = group.counters().polls;
                round_trip(&stream, b"x");
                std::thread::sleep(spin);
                group.counters().polls > before + 100
            });
            eventually("it stops", || {
                let polls = group.counters().polls;
                std::thread::sleep(Duration::from_millis(60));
                group.counters().polls == polls
            });
        } else {
            std::thread::sleep(Duration::from_millis(20));
            assert!(group.counters().polls <= before + 2);
        }
        assert_eq!(round_trip(&stream, b"y"), frames(["y"]));
    }
}
