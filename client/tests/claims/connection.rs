//! Claims about the connection: beginning, breaking, coming back, ending.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use folio_client::{Backoff, CallError, Client, ClientConfig, ErrorCode, NewTopic, StartError};
use folio_wire::native::Kind;
use folio_wire::native::preface::PREFACE_SIZE;

use crate::fake_broker::{Deed, FakeBroker};
use crate::{SOON, config, connect, eventually};

/// An address where nobody listens.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn connecting_to_nobody_fails_at_once_and_says_whom_it_tried() {
    let address = nobody();
    let begin = Instant::now();
    let error = Client::connect(ClientConfig::new(&address)).unwrap_err();
    assert!(begin.elapsed() < SOON);
    let StartError::Connect(source) = &error else { panic!("{error}") };
    assert!(source.is_unreachable() && error.to_string().contains(&address), "{error}");
}

#[test]
fn addresses_that_are_none_are_refused_before_anything_is_tried() {
    for brokers in ["", "localhost:notaport", ":9092"] {
        let error = Client::start(ClientConfig::new(brokers)).unwrap_err();
        assert!(matches!(error, StartError::Config(_)), "{error}");
    }
}

#[test]
fn the_next_broker_is_tried_when_one_is_not_there() {
    let broker = FakeBroker::start();
    let brokers = format!("{},localhost:{}", nobody(), broker.address().port());
    let client = Client::connect(ClientConfig::new(&brokers)).unwrap();
    let broker_in_use = client.ready().wait().unwrap();
    assert_eq!(*broker_in_use, *format!("localhost:{}", broker.address().port()));
}

#[test]
fn what_does_not_speak_the_protocol_is_told_from_what_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = Client::connect(ClientConfig::new(&address)).unwrap_err();
    let StartError::Connect(CallError::Protocol { broker, .. }) = &error else { panic!("{error}") };
    assert_eq!(**broker, *address);
}

#[test]
fn who_closes_at_the_first_bytes_is_told_from_who_is_not_there_and_from_who_goes_later() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            // With what was sent unread the peer's end is a reset, and without that an ordinary one.
            let mut bytes = [0; PREFACE_SIZE];
            let read = if number == 0 { 4 } else { PREFACE_SIZE };
            let _ = std::io::Read::read_exact(&mut stream.unwrap(), &mut bytes[..read]);
        }
    });
    for _ in 0..2 {
        let error = Client::connect(ClientConfig::new(&address)).unwrap_err();
        let StartError::Connect(CallError::NotGreeted { broker, .. }) = &error else { panic!("{error}") };
        assert_eq!(**broker, *address);
        assert!(error.to_string().contains("Kafka's brokers"), "{error}");
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config = ClientConfig::new(&address).connect_timeout(Duration::from_millis(50));
    let error = Client::connect(config).unwrap_err();
    assert!(matches!(error, StartError::Connect(CallError::TimedOut { .. })), "{error}");
}

#[test]
fn a_broken_connection_is_made_again_and_what_may_be_repeated_is() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let admin = connect(&broker).admin();
    for round in 1..=5 {
        assert_eq!(admin.list_topics(false).wait().unwrap().len(), 1);
        assert_eq!(broker.connections(), round);
        broker.close_all_connections();
    }
    broker.plan(|asked| if asked.before == 6 { Deed::Close } else { Deed::Serve });
    assert_eq!(admin.list_topics(false).wait().unwrap().len(), 1, "the second attempt is answered");
}

#[test]
fn what_must_not_be_repeated_is_not() {
    let broker = FakeBroker::start_with_plan(|asked| match asked.kind {
        Kind::TopicCreate => Deed::ServeAndClose,
        _ => Deed::Serve,
    });
    let admin = connect(&broker).admin();
    let error = admin.create_topic(NewTopic::new("t", 1)).wait().unwrap_err();
    assert!(matches!(error, CallError::Disconnected { .. }), "{error}");
    assert_eq!(broker.asked(Kind::TopicCreate), 1);
    assert_eq!(admin.list_topics(false).wait().unwrap().len(), 1, "it was done nevertheless");
}

#[test]
fn a_request_without_an_answer_ends_in_time_and_the_connection_with_it() {
    let broker = FakeBroker::start_with_plan(|asked| match (asked.kind, asked.before) {
        (Kind::Status, 0) => Deed::Ignore,
        _ => Deed::Serve,
    });
    let client = Client::connect(config(&broker).request_timeout(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    let error = client.admin().status(false).wait().unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.admin().status(false).wait().unwrap().version, "fake");
    assert_eq!(broker.connections(), 2);
}

#[test]
fn answers_overtake_one_another_and_find_their_requests() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let client = connect(&broker);
    let mut consumer =
        client.consumer(folio_client::ConsumerConfig::new().wait_max(Duration::from_secs(60))).unwrap();
    consumer.assign([(folio_client::TopicPartition::new("t", 0), folio_client::Position::Latest)]);
    eventually("a fetch is parked", || broker.asked(Kind::Fetch) == 1);
    let calls: Vec<_> = (0..100).map(|_| client.admin().status(true)).collect();
    for call in calls {
        assert_eq!(call.wait().unwrap().counters, [("answers".to_owned(), 42)]);
    }
}

#[test]
fn a_call_waits_for_the_broker_to_come_back_but_not_for_ever() {
    let broker = FakeBroker::start();
    let address = broker.address();
    let client = Client::connect(config(&broker).request_timeout(SOON)).unwrap();
    drop(broker);
    let call = client.admin().status(false);
    let broker = FakeBroker::start_at(address, 1 << 20, |_| Deed::Serve);
    call.wait().unwrap();
    drop(broker);

    let client =
        Client::start(ClientConfig::new(&nobody()).request_timeout(Duration::from_millis(100))).unwrap();
    let error = client.admin().status(false).wait().unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[test]
fn a_broker_that_hangs_up_at_once_is_not_called_without_pause() {
    let broker = FakeBroker::start_with_plan(|_| Deed::Close).with_topic("t", 1);
    let pause = Backoff { first: Duration::from_millis(100), most: Duration::from_millis(100) };
    let settings = config(&broker).reconnect_backoff(pause).request_timeout(Duration::from_secs(2));
    let client = Client::connect(settings).unwrap();
    assert!(client.admin().list_topics(false).wait().is_err());
    assert!((2..=25).contains(&broker.connections()), "{} connections", broker.connections());
}

#[test]
fn what_the_broker_refuses_carries_its_code_and_its_words() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let admin = connect(&broker).admin();
    let error = admin.create_topic(NewTopic::new("t", 1)).wait().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_EXISTS));
    assert_eq!(error.to_string(), "topic t exists (topic exists)");
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let broker = FakeBroker::start().with_topic("t", 1);
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("ends-at-last")).count()
    };
    let client = Client::connect(config(&broker).client_id("ends-at-last")).unwrap();
    let producer = client.producer(folio_client::ProducerConfig::new()).unwrap();
    let consumer = client.consumer(folio_client::ConsumerConfig::new()).unwrap();
    drop(client);
    producer.send(folio_client::ProducerRecord::to("t").value("x")).unwrap().wait().unwrap();
    assert_eq!(threads(), 1);
    drop((producer, consumer));
    let deadline = Instant::now() + SOON;
    while threads() > 0 {
        assert!(Instant::now() < deadline, "the thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
}
