//! How groups end: in order, by a deadline, by a panic.

use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_channel::{
    BindError, ChannelLimits, CloseCause, ConnectError, EventLoopConfig, EventLoopGroup, PreparedGroup,
    Responder,
};

use crate::frames::{Answer, answer, echo, frames, serving};
use crate::loopback::{
    Parked, assert_closed, client, loopback, one_loop, parking, read_exactly, round_trip, server,
};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_shutdown_lets_everyone_have_what_they_are_owed_and_then_ends_without_delay() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let (group, address) = server(ChannelLimits::default(), parking(sender));
    let idle = client(address);
    let mut waiting = client(address);
    waiting.write_all(&frames(["owed"])).unwrap();
    let (request, reply) = requests.recv_timeout(LONG).unwrap();
    let begun = Instant::now();
    let ended = group.shutdown(Duration::from_secs(600));
    assert_closed(&idle); // it is owed nothing
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    waiting.write_all(&frames(["too late"])).unwrap();
    reply.send(answer(request));
    assert_eq!(read_exactly(&waiting, 5), frames(["owed"]));
    assert_closed(&waiting);
    ended.wait_for(LONG).unwrap().unwrap();
    assert!(begun.elapsed() < LONG, "it did not wait for its deadline");
    group.join().unwrap();
}

#[test]
fn a_shutdown_closes_what_is_left_at_its_deadline() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let (group, address) = server(ChannelLimits::default(), parking(sender));
    let mut waiting = client(address);
    waiting.write_all(&frames(["never answered"])).unwrap();
    let (_, reply) = requests.recv_timeout(LONG).unwrap();
    let begun = Instant::now();
    group.shutdown(Duration::from_millis(200)).wait_for(LONG).unwrap().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(reply.is_closed());
    assert_closed(&waiting);
}

#[test]
fn after_the_end_nothing_can_be_asked_of_a_group_and_everything_says_so() {
    let (group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    let channel = group.connect(address, serving::<(), _, true>(echo)).wait_for(LONG).unwrap().unwrap();
    let handle = group.handles()[0].clone();
    handle.send(()).unwrap();
    group.shutdown(LONG).wait_for(LONG).unwrap().unwrap();
    assert_eq!(handle.send(()), Err(()));
    assert!(matches!(channel.close().wait_for(LONG), Some(CloseCause::Shutdown)));
    assert!(channel.write_and_flush(&b"x"[..]).wait_for(LONG).unwrap().is_err());
    let connect = group.connect(address, serving::<(), _, true>(echo));
    assert!(matches!(connect.wait_for(LONG), Some(Err(ConnectError::LoopEnded(_)))));
    assert!(matches!(group.bind(loopback(), serving::<(), _, true>(echo)), Err(BindError::LoopEnded(_))));
}

#[test]
fn dropping_a_group_ends_it() {
    let (group, address) = server(ChannelLimits::default(), serving::<(), _, true>(echo));
    let stream = client(address);
    round_trip(&stream, b"x");
    let ended = group.ended();
    drop(group);
    assert_closed(&stream);
    ended.wait_for(LONG).unwrap().unwrap();
}

#[test]
fn a_panic_on_one_loop_ends_the_group_and_is_reported() {
    let config = EventLoopConfig { loops: 3, ..EventLoopConfig::default() };
    let group = EventLoopGroup::start(config, |_, _| ()).unwrap();
    let fragile = |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| {
        assert!(request != "boom", "a bug for the test");
        reply.send(answer(request));
    };
    let address = group.bind(loopback(), serving::<(), _, true>(fragile)).unwrap().local_address().unwrap();
    let mut streams: Vec<_> = (0..6).map(|_| client(address)).collect();
    for stream in &streams {
        round_trip(stream, b"fine");
    }
    streams[0].write_all(&frames(["boom"])).unwrap();
    for stream in &streams {
        assert_closed(stream);
    }
    let panicked = group.ended().wait_for(LONG).unwrap().unwrap_err();
    assert!(panicked.message.contains("a bug for the test"), "{panicked}");
    assert!(panicked.index < 3);
    assert_eq!(group.join().unwrap_err().index, panicked.index);
}

#[test]
fn a_panic_closes_the_channels_of_its_loop_and_says_what_ended_them() {
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| ()).unwrap();
    let fragile = |(): &mut (), _: BytesMut, _: Responder<'_, Answer>| panic!("a bug for the test");
    let address = group.bind(loopback(), serving::<(), _, true>(fragile)).unwrap().local_address().unwrap();
    let channel = group.connect(address, serving::<(), _, true>(fragile)).wait_for(LONG).unwrap().unwrap();
    channel.write_and_flush(&b"\x00"[..]);
    assert!(matches!(channel.close_future().wait_for(LONG), Some(CloseCause::LoopEnded)));
    assert!(!channel.is_open() && !channel.is_active());
}

#[test]
fn a_factory_that_panics_is_reported_like_any_panic() {
    let config = EventLoopConfig { loops: 2, ..EventLoopConfig::default() };
    let group =
        EventLoopGroup::start(config, |index, _| assert!(index == 0, "no state for loop {index}")).unwrap();
    let panicked = group.join().unwrap_err();
    assert_eq!((panicked.index, panicked.message.as_str()), (1, "no state for loop 1"));
}

#[test]
fn the_handles_of_a_prepared_group_take_messages_before_any_loop_runs() {
    struct Inbox(mpsc::Sender<(usize, u32)>, usize);
    impl folio_channel::LoopLocal for Inbox {
        type Message = u32;
        fn message(&mut self, message: u32) {
            self.0.send((self.1, message)).unwrap();
        }
    }
    let config = EventLoopConfig { loops: 2, ..EventLoopConfig::default() };
    let prepared = PreparedGroup::<Inbox>::new(config).unwrap();
    let handles = prepared.handles().to_vec();
    for (number, handle) in (0..).zip(&handles) {
        handle.send(number).unwrap();
    }
    let (sender, messages) = mpsc::channel();
    let _group = prepared.start(move |index, handle| {
        assert_eq!(handle.index(), index);
        Inbox(sender.clone(), index)
    });
    let mut received: Vec<_> = (0..2).map(|_| messages.recv_timeout(LONG).unwrap()).collect();
    received.sort_unstable();
    assert_eq!(received, [(0, 0), (1, 1)]);
}

#[test]
fn a_prepared_group_that_is_never_started_leaves_nobody_waiting() {
    let prepared = PreparedGroup::<()>::new(one_loop(ChannelLimits::default())).unwrap();
    let handle = prepared.handles()[0].clone();
    drop(prepared);
    assert_eq!(handle.send(()), Err(()));
}
