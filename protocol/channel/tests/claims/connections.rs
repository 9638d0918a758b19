//! Connections that come about, or do not, and their number.

use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::BytesMut;
use folio_channel::{
    BindError, Channel, ChannelError, ChannelLimits, ConnectError, EventLoopConfig, EventLoopGroup,
    Responder, TransportKind, initializer,
};

use crate::frames::{Answer, answer, echo, frames, serving};
use crate::loopback::{
    assert_closed, client, eventually, loopback, one_loop, read_exactly, round_trip, server,
};

fn nothing() -> impl folio_channel::ChannelInitializer<()> {
    serving::<(), _, true>(echo)
}

#[test]
fn a_channel_knows_its_addresses_and_whose_child_it_is() {
    let seen: Arc<Mutex<Vec<Channel<()>>>> = Arc::default();
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| ()).unwrap();
    let remember = {
        let seen = Arc::clone(&seen);
        initializer(move |channel: &Channel<()>, _| {
            seen.lock().unwrap().push(channel.clone());
            Ok(())
        })
    };
    let listening = group.bind(loopback(), remember).unwrap();
    assert_eq!(listening.metadata().transport, TransportKind::TcpListener);
    assert!(listening.is_active() && listening.is_open());
    let stream = client(listening.local_address().unwrap());
    eventually("it was accepted", || !seen.lock().unwrap().is_empty());
    let child = seen.lock().unwrap()[0].clone();
    assert_eq!(child.parent(), Some(listening.id()));
    assert_eq!(child.remote_address(), Some(stream.local_addr().unwrap()));
    assert_eq!(child.local_address(), Some(stream.peer_addr().unwrap()));
    assert_ne!(child.id(), listening.id());
    assert_eq!(child.metadata().transport, TransportKind::Tcp);
    child.close().wait_for(Duration::from_secs(60)).unwrap();
    assert_closed(&stream);
}

#[test]
fn a_server_channel_that_is_closed_accepts_no_more_but_keeps_what_it_has() {
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| ()).unwrap();
    let listening = group.bind(loopback(), nothing()).unwrap();
    let address = listening.local_address().unwrap();
    let stream = client(address);
    round_trip(&stream, b"before");
    listening.close().wait_for(Duration::from_secs(60)).unwrap();
    assert!(!listening.is_open());
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(round_trip(&stream, b"after"), frames(["after"]));
    group.bind(address, nothing()).expect("the address is free again");
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_that_says_why() {
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| ()).unwrap();
    let taken = TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap();
    assert!(matches!(group.bind(address, nothing()), Err(BindError::InUse(at)) if at == address));
    let foreign = "192.0.2.1:9092".parse().unwrap(); // reserved for documentation: no machine has it
    assert!(matches!(group.bind(foreign, nothing()), Err(BindError::NoSuchAddress(at)) if at == foreign));
}

#[test]
fn a_client_channel_speaks_to_a_server_channel() {
    let (group, address) = server(ChannelLimits::default(), nothing());
    let (sender, answers) = mpsc::channel();
    let listen = move |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| {
        sender.send(request).unwrap();
        reply.none();
    };
    let connected = group.connect(address, serving::<(), _, false>(listen)).wait_for(Duration::from_secs(60));
    let channel = connected.unwrap().unwrap();
    assert_eq!(channel.remote_address(), Some(address));
    channel.write_and_flush(frames(["to the server and back"]).leak() as &'static [u8]).wait().unwrap();
    assert_eq!(answers.recv_timeout(Duration::from_secs(60)).unwrap(), "to the server and back");
    assert_eq!(group.counters().connections, 2, "both ends");
    channel.close().wait();
    eventually("both ends are gone", || group.counters().connections == 0);
}

#[test]
fn a_connection_that_is_refused_says_so() {
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| ()).unwrap();
    let free = TcpListener::bind(loopback()).unwrap().local_addr().unwrap();
    let refused = group.connect(free, nothing()).wait_for(Duration::from_secs(60)).unwrap();
    assert!(matches!(refused, Err(ConnectError::Refused(at)) if at == free), "{refused:?}");
    assert_eq!(group.counters().connections, 0);
}

#[test]
fn an_initializer_that_refuses_is_why_there_is_no_connection() {
    let (group, address) = server(ChannelLimits::default(), nothing());
    let refuse = initializer(|_: &Channel<()>, _| Err(ChannelError::internal("not today")));
    let refused = group.connect(address, refuse).wait_for(Duration::from_secs(60)).unwrap();
    assert!(
        matches!(&refused, Err(ConnectError::Initializer { source, .. }) if source.to_string().contains("today"))
    );
    eventually("nothing is left of it", || group.counters().connections == 0);
}

#[test]
fn a_connection_that_takes_too_long_is_given_up_and_the_backlog_is_what_was_asked_for() {
    // A loop that is kept busy accepts nothing: the kernel completes connections for it until the backlog is full
    // (a few more than asked for), and lets the others wait.
    for (backlog, all_fit) in [(2, false), (1024, true)] {
        let (busy, is_busy) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let block = move |(): &mut (), request: BytesMut, reply: Responder<'_, Answer>| {
            busy.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            reply.send(answer(request));
        };
        let limits = ChannelLimits { backlog, ..ChannelLimits::default() };
        let (_group, address) = server(limits, serving::<(), _, true>(block));
        let mut first = client(address);
        first.write_all(&frames(["block"])).unwrap();
        is_busy.recv_timeout(Duration::from_secs(60)).unwrap();

        let after = Duration::from_secs(2);
        let limits = ChannelLimits { connect_timeout: after, ..ChannelLimits::default() };
        let group = EventLoopGroup::start(one_loop(limits), |_, _| ()).unwrap();
        let attempts: Vec<_> = (0..20).map(|_| group.connect(address, nothing())).collect();
        let results = attempts.iter().map(|attempt| attempt.wait_for(Duration::from_secs(60)).unwrap());
        let failures: Vec<_> = results.filter_map(Result::err).collect();
        assert_eq!(failures.is_empty(), all_fit, "{failures:?}");
        for failure in &failures {
            let (limit, at) = (after, address);
            assert!(
                matches!(failure, ConnectError::TimedOut { address, after } if (*address, *after) == (at, limit)),
                "{failure}"
            );
        }
        assert_eq!(group.counters().connections, 20 - failures.len() as u64);
        release.send(()).unwrap();
        assert_eq!(read_exactly(&first, 6), frames(["block"]));
    }
}

#[test]
fn one_connection_too_many_is_closed_at_once_and_counted() {
    let limits = ChannelLimits { connections_max: 2, ..ChannelLimits::default() };
    let (group, address) = server(limits, nothing());
    let (first, second) = (client(address), client(address));
    round_trip(&first, b"1");
    round_trip(&second, b"2");
    assert_closed(&client(address));
    assert_eq!(group.counters().refused_over_limit, 1);
    drop(first);
    eventually("there is room again", || group.counters().connections == 1);
    round_trip(&client(address), b"3");
    round_trip(&second, b"still here");
}

#[test]
fn a_turn_accepts_a_bounded_number_of_connections_and_the_next_turn_more() {
    let limits = ChannelLimits { accepts_per_turn: 1, ..ChannelLimits::default() };
    let (group, address) = server(limits, nothing());
    let streams: Vec<_> = (0..50).map(|_| client(address)).collect();
    for stream in &streams {
        round_trip(stream, b"hello");
    }
    assert_eq!(group.counters().accepted, 50);
    assert!(group.counters().turns >= 50);
}

#[test]
fn connections_are_spread_over_the_loops() {
    let config = EventLoopConfig { loops: 3, ..EventLoopConfig::default() };
    let group = EventLoopGroup::start(config, |_, _| ()).unwrap();
    let (sender, loops) = mpsc::channel();
    let remember = initializer(move |channel: &Channel<()>, _| {
        sender.send(channel.event_loop().index()).unwrap();
        Ok(())
    });
    let address = group.bind(loopback(), remember).unwrap().local_address().unwrap();
    let _streams: Vec<_> = (0..30).map(|_| client(address)).collect();
    let mut counts = [0; 3];
    for _ in 0..30 {
        counts[loops.recv_timeout(Duration::from_secs(60)).unwrap()] += 1;
    }
    assert_eq!(counts, [10, 10, 10]);
}

#[test]
fn a_channel_future_can_be_awaited_by_any_executor_and_listened_to() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (group, address) = server(ChannelLimits::default(), nothing());
    let connect = async {
        let channel = group.connect(address, nothing()).await?;
        let cause = channel.close().await;
        Ok::<_, ConnectError>(cause.to_string())
    };
    let mut connect = std::pin::pin!(connect);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let cause = loop {
        match connect.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(cause) => break cause.unwrap(),
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(60)),
        }
    };
    assert_eq!(cause, "closed by this side");

    let (sender, heard) = mpsc::channel();
    let connected = group.connect(address, nothing());
    for _ in 0..2 {
        let sender = sender.clone();
        connected.on_done(move |result| sender.send(result.is_ok()).unwrap());
    }
    assert!(heard.recv_timeout(Duration::from_secs(60)).unwrap());
    assert!(heard.recv_timeout(Duration::from_secs(60)).unwrap());
    connected.on_done(move |result| sender.send(result.is_ok()).unwrap());
    assert!(heard.try_recv().unwrap(), "at once, for it is done");
}
