//! What the broker costs beside its floors, in one run: `cargo run --release -p folio-broker --example floor`.
//!
//! * produce: CPU of the broker's threads per KiB, beside a bare thread that reads, checks CRC-32C and writes;
//! * consume: the same beside a bare thread that sends ranges of a mapped file with `writev`;
//! * round trip: one small produce at a time beside a bare echo on mio, everything pinned to one CPU.
//!
//! An argument, `produce`, `consume` or `trip`, runs that part alone. `send BYTES` is the floor of consuming without
//! the broker: what a bare thread spends that sends answers of so many bytes, one at a time; `tests/clients/bench`
//! holds what a real client costs against it. Topics are `durability = os`. The client is a bare socket that sends
//! frames made beforehand.

use std::error::Error;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use folio_broker::{Broker, Config, config::DurabilityClass};
use folio_mapped::{Part, SegmentMap, writev};
use folio_record::{BatchBuilder, Compression, NewRecord, Timestamp, crc32c};
use folio_wire::native::fetch::{FetchEntryV1, FetchRequestV1};
use folio_wire::native::preface::PREFACE_SIZE;
use folio_wire::native::produce::{Acks, ProduceEntryV1, ProduceRequestV1};
use folio_wire::native::topics::{TopicCreateRequestV1, TopicDeleteRequestV1};
use folio_wire::native::{Head, Message, Preface, encode_frame};
use mio::{Events, Interest, Poll, Token};

type Outcome<T> = Result<T, Box<dyn Error>>;

const KIB: usize = 1024;
const VOLUME: usize = 512 * KIB * KIB;
const ROUNDS: usize = 5;
const ROUND_TRIPS: usize = 30_000;

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let parts: Vec<String> = std::env::args().skip(1).collect();
    if let [part, size] = &parts[..]
        && part == "send"
    {
        return sends(dir.path(), size.parse()?);
    }
    let mut config = Config::new(dir.path().join("data"));
    config.listen = vec!["127.0.0.1:0".parse()?];
    config.topic.durability_set = DurabilityClass::Os;
    config.topic.retention = None;
    let broker = Broker::start(config)?;
    let address = broker.local_addrs()[0];

    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    for (size, window) in [(16 * KIB, 64), (64 * KIB, 16)] {
        if is_wanted("produce") {
            produces(address, dir.path(), size, window)?;
        }
        if is_wanted("consume") {
            consumes(address, dir.path(), size, window)?;
        }
    }
    if is_wanted("trip") {
        trips(address)?;
    }
    broker.shutdown();
    println!("{:?}", broker.wait());
    Ok(())
}

fn produces(address: SocketAddr, dir: &Path, size: usize, window: usize) -> Outcome<()> {
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let topic = format!("produce-{size}-{round}");
        let frame = fresh(address, &topic, size)?;
        warm(&dir.join("warm"))?;
        ours.push(cpu_per_kib(|| pump(connect(address)?, &frame, window, None))?);
        delete(address, &topic)?;
        floors.push(produce_floor(&dir.join("floor"), &frame, window)?);
    }
    report(&format!("produce {} KiB, {window} in flight", size / KIB), "ns/KiB", &mut ours, &mut floors);
    Ok(())
}

fn consumes(address: SocketAddr, dir: &Path, size: usize, window: usize) -> Outcome<()> {
    let topic = format!("consume-{size}");
    let frame = fresh(address, &topic, size)?;
    pump(connect(address)?, &frame, window, None)?;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let client = connect(address)?;
        warm(&dir.join("warm"))?;
        ours.push(cpu_per_kib(|| consume(client, &topic, size, window))?);
        floors.push(consume_floor(&dir.join("floor"), size, window)?);
    }
    delete(address, &topic)?;
    report(&format!("consume {} KiB, {window} in flight", size / KIB), "ns/KiB", &mut ours, &mut floors);
    Ok(())
}

/// Seconds of a processor for a GB that leaves in answers of `size` bytes: the median, alone on its line.
fn sends(dir: &Path, size: usize) -> Outcome<()> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(consume_floor(&dir.join("floor"), size, 1)? / KIB as f64);
    }
    all.sort_by(f64::total_cmp);
    println!("{:.4}", all[ROUNDS / 2]);
    Ok(())
}

fn trips(address: SocketAddr) -> Outcome<()> {
    rustix::thread::sched_setaffinity(None, &one_cpu())?;
    pin_all_threads()?;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let topic = format!("trip-{round}");
        let mut client = connect(address)?;
        create(&mut client, &topic)?;
        ours.push(round_trips(client, &produce_frame(&topic, 100)?, None)?);
        floors.push(round_trip_floor(&produce_frame(&topic, 100)?)?);
    }
    report("round trip of a small produce, p50", "us", &mut ours, &mut floors);
    Ok(())
}

fn report(what: &str, unit: &str, ours: &mut [f64], floors: &mut [f64]) {
    ours.sort_by(f64::total_cmp);
    floors.sort_by(f64::total_cmp);
    let (our, floor) = (ours[ours.len() / 2], floors[floors.len() / 2]);
    println!(
        "{what}: {our:.1} {unit} (least {:.1}), floor {floor:.1} (least {:.1}): {:.2}x",
        ours[0],
        floors[0],
        our / floor
    );
}

/// CPU time of all threads but this one while `work` runs, in ns per KiB of `VOLUME`.
fn cpu_per_kib(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let before = cpu_of_others()?;
    work()?;
    let spent = cpu_of_others()? - before;
    Ok(spent as f64 / (VOLUME / KIB) as f64)
}

fn cpu_of_others() -> Outcome<u64> {
    let own = std::fs::read_link("/proc/thread-self")?;
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if path.file_name() != own.file_name()
            && let Ok(text) = std::fs::read_to_string(path.join("schedstat"))
        {
            sum += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
    }
    Ok(sum)
}

fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&Preface::ours(64 << 20).encode())?;
    stream.read_exact(&mut [0; PREFACE_SIZE])?;
    Ok(stream)
}

/// Makes a topic, and the frame that fills it.
fn fresh(address: SocketAddr, topic: &str, size: usize) -> Outcome<BytesMut> {
    create(&mut connect(address)?, topic)?;
    produce_frame(topic, size)
}

fn create(stream: &mut TcpStream, topic: &str) -> Outcome<()> {
    let request = TopicCreateRequestV1 { name: topic, partitions: 1, configs: Vec::new() };
    stream.write_all(&framed(&request, &[])?)?;
    read_answer(stream)?;
    Ok(())
}

/// Gives its pages back.
fn delete(address: SocketAddr, topic: &str) -> Outcome<()> {
    let mut stream = connect(address)?;
    stream.write_all(&framed(&TopicDeleteRequestV1 { name: topic }, &[])?)?;
    read_answer(&mut stream)?;
    thread::sleep(std::time::Duration::from_millis(500));
    Ok(())
}

/// Leaves as many free pages as a round writes: pages that a virtual machine has not touched for a while cost many
/// times as much as others, whoever touches them.
fn warm(path: &Path) -> Outcome<()> {
    let mut file = File::create_new(path)?;
    let zeros = vec![0; 1024 * KIB];
    for _ in 0..(VOLUME + VOLUME / 8) / zeros.len() {
        file.write_all(&zeros)?;
    }
    Ok(std::fs::remove_file(path)?)
}

fn framed<T: Message + serde::Serialize>(header: &T, records: &[u8]) -> Outcome<BytesMut> {
    let mut frame = BytesMut::new();
    encode_frame(&mut frame, Head::request::<T>(1), header, records.len())?;
    frame.extend_from_slice(records);
    Ok(frame)
}

fn read_answer(stream: &mut TcpStream) -> Outcome<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut rest = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut rest)?;
    Ok(rest)
}

fn batch(size: usize) -> Outcome<Vec<u8>> {
    let mut builder = BatchBuilder::new(Compression::None, size + KIB);
    let value = vec![b'x'; size.min(KIB - 8)];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let timestamp = Timestamp::new(i64::try_from(now)?);
    while builder.size() + value.len() <= size.max(KIB) {
        builder.append(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] })?;
        if size < KIB {
            break;
        }
    }
    builder.build().ok_or_else(|| "an empty batch".into())
}

fn produce_frame(topic: &str, size: usize) -> Outcome<BytesMut> {
    let records = batch(size)?;
    let entry = ProduceEntryV1 { topic, partition: 0, record_bytes: u32::try_from(records.len())? };
    framed(&ProduceRequestV1 { acks: Acks::One, timeout_ms: 30_000, entries: vec![entry] }, &records)
}

/// Keeps `window` frames in flight until `VOLUME` is through; an answer is `answer` bytes, or length-prefixed.
fn pump(mut stream: TcpStream, frame: &[u8], window: usize, answer: Option<usize>) -> Outcome<()> {
    let total = VOLUME / frame.len();
    let (mut sent, mut done, mut held) = (0, 0, Vec::new());
    let mut buffer = vec![0; 64 * KIB];
    while done < total {
        while sent < total && sent - done < window {
            stream.write_all(frame)?;
            sent += 1;
        }
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Err("the connection was closed".into());
        }
        held.extend_from_slice(&buffer[..got]);
        let mut at = 0;
        while let Some(size) =
            answer.or_else(|| length_of(&held[at..])).filter(|size| held.len() - at >= *size)
        {
            at += size;
            done += 1;
        }
        held.drain(..at);
    }
    Ok(())
}

fn length_of(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|length| 4 + u32::from_le_bytes(*length) as usize)
}

fn produce_floor(path: &Path, frame: &[u8], window: usize) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut socket, _) = listener.accept()?;
    let (size, path) = (frame.len(), path.to_owned());
    let _ = std::fs::remove_file(&path);
    warm(&path)?;
    let server = thread::spawn(move || -> std::io::Result<u64> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, VOLUME as u64)?;
        let mut buffer = vec![0; 256 * KIB];
        let (mut at, mut acked) = (0, 0);
        loop {
            let got = socket.read(&mut buffer)?;
            if got == 0 {
                return thread_cpu();
            }
            std::hint::black_box(crc32c(&buffer[..got]));
            std::os::unix::fs::FileExt::write_all_at(&file, &buffer[..got], at)?;
            at += got as u64;
            let due = at / size as u64 - acked;
            if due > 0 {
                socket.write_all(&vec![0; due as usize * 60])?;
                acked += due;
            }
        }
    });
    pump(client, frame, window, Some(60))?;
    let spent = server.join().map_err(|_| "the floor's thread panicked")??;
    Ok(spent as f64 / (VOLUME / KIB) as f64)
}

fn thread_cpu() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

fn consume(mut stream: TcpStream, topic: &str, size: usize, window: usize) -> Outcome<()> {
    let records = batch(size)?;
    let count = folio_record::UnverifiedBatch::split_first(&records)?.0.verify()?.header().count;
    let request = |number: usize| {
        let offset = number as i64 * i64::from(count);
        let max_bytes = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let entry = FetchEntryV1 { topic, partition: 0, offset, max_bytes, leader_epoch: -1 };
        framed(&FetchRequestV1 { max_wait_ms: 500, min_bytes: 1, max_bytes, entries: vec![entry] }, &[])
    };
    let total = VOLUME / produce_frame(topic, size)?.len();
    let (mut sent, mut done) = (0, 0);
    let mut buffer = vec![0; 1024 * KIB];
    let (mut held, mut due) = (Vec::new(), 0);
    while done < total {
        let mut out = BytesMut::new();
        while sent < total && sent - done < window {
            out.extend_from_slice(&request(sent)?);
            sent += 1;
        }
        stream.write_all(&out)?;
        let got = stream.read(&mut buffer)?;
        if got == 0 {
            return Err("the connection was closed".into());
        }
        let mut rest = &buffer[..got];
        while !rest.is_empty() {
            if due == 0 {
                let take = rest.len().min(4 - held.len());
                held.extend_from_slice(&rest[..take]);
                rest = &rest[take..];
                if let Some(length) = length_of(&held) {
                    if length - 4 < records.len() {
                        return Err(format!("answer {done} has {} bytes", length - 4).into());
                    }
                    due = length - 4;
                    held.clear();
                }
            }
            let take = rest.len().min(due);
            due -= take;
            rest = &rest[take..];
            done += usize::from(take > 0 && due == 0);
        }
    }
    Ok(())
}

fn consume_floor(path: &Path, size: usize, window: usize) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut socket, _) = listener.accept()?;
    let _ = std::fs::remove_file(path);
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let map = SegmentMap::open(file, VOLUME as u64, 0)?;
    let mut appender = map.appender()?;
    appender.allocate(VOLUME as u64)?;
    let chunk = vec![b'x'; 1024 * KIB];
    for _ in 0..VOLUME / chunk.len() {
        appender.append(&[IoSlice::new(&chunk)])?;
    }
    warm(&path.with_extension("warm"))?;
    let server = thread::spawn(move || -> std::io::Result<u64> {
        let before = thread_cpu()?;
        let mut buffer = vec![0; 64 * KIB];
        let (mut at, mut request) = (0, 0);
        while at + size <= VOLUME {
            let got = socket.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            request += got;
            let due = request / 60;
            request %= 60;
            let slices: Vec<_> = (0..due)
                .filter_map(|number| {
                    map.slice((at + number * size) as u64..(at + (number + 1) * size) as u64)
                })
                .collect();
            at += due * size;
            let parts: Vec<Part<'_>> =
                slices.iter().flat_map(|slice| [Part::Heap(&[0; 60]), Part::Map(slice)]).collect();
            if !parts.is_empty() && writev(socket.as_fd(), &parts)? < due * (size + 60) {
                return Err(std::io::Error::other("a short write on a blocking socket"));
            }
        }
        Ok(thread_cpu()? - before)
    });
    let total = VOLUME / size;
    let mut asked = 0;
    let mut got = 0;
    let mut buffer = vec![0; 1024 * KIB];
    while got < total * (size + 60) {
        let done = got / (size + 60);
        let due = (total - asked).min(window - (asked - done));
        client.write_all(&vec![0; due * 60])?;
        asked += due;
        match client.read(&mut buffer)? {
            0 => break,
            read => got += read,
        }
    }
    drop(client);
    let spent = server.join().map_err(|_| "the floor's thread panicked")??;
    Ok(spent as f64 / (VOLUME / KIB) as f64)
}

fn one_cpu() -> rustix::thread::CpuSet {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(0);
    cpus
}

fn pin_all_threads() -> Outcome<()> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let id: i32 = task?.file_name().to_string_lossy().parse()?;
        rustix::thread::sched_setaffinity(rustix::thread::Pid::from_raw(id), &one_cpu())?;
    }
    Ok(())
}

/// The median of single round trips, in microseconds.
fn round_trips(mut stream: TcpStream, frame: &[u8], answer: Option<usize>) -> Outcome<f64> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 4 * KIB];
    let mut all = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let at = Instant::now();
        stream.write_all(frame)?;
        let mut got = 0;
        while got < 4 || got < answer.or_else(|| length_of(&buffer[..got])).unwrap_or(4) {
            match stream.read(&mut buffer[got..])? {
                0 => return Err("the connection was closed".into()),
                read => got += read,
            }
        }
        all.push(at.elapsed());
    }
    all.sort_unstable();
    Ok(all[ROUND_TRIPS / 2].as_nanos() as f64 / 1000.0)
}

fn round_trip_floor(frame: &[u8]) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let server = thread::spawn(move || -> std::io::Result<()> {
        let mut socket = mio::net::TcpStream::from_std(socket);
        let mut poll = Poll::new()?;
        poll.registry().register(&mut socket, Token(0), Interest::READABLE)?;
        let mut events = Events::with_capacity(8);
        let mut buffer = vec![0; 64 * KIB];
        loop {
            poll.poll(&mut events, None)?;
            loop {
                match socket.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(got) => socket.write_all(&buffer[..got])?,
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
    });
    let median = round_trips(client, frame, Some(frame.len()))?;
    server.join().map_err(|_| "the floor's thread panicked")??;
    Ok(median)
}
