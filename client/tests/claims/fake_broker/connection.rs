//! A connection of a fake broker: requests read, decided about, answered now or later.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use folio_client::ErrorCode;
use folio_wire::native::fetch::FetchRequestV1;
use folio_wire::native::header::decode;
use folio_wire::native::preface::{PREFACE_SIZE, Preface};
use folio_wire::native::{Flags, Frame, Head, Kind, UnsupportedV1, decode_frame};

use super::answers::{encode, status};
use super::{Deed, Shared, streams};

pub(super) struct Connection<'a> {
    shared: &'a Arc<Shared>,
    stream: &'a TcpStream,
    writer: Arc<Mutex<TcpStream>>,
    streams: streams::Streams,
}

type Io<T> = std::io::Result<T>;

impl<'a> Connection<'a> {
    pub(super) fn serve(shared: &'a Arc<Shared>, stream: &'a TcpStream) -> Io<()> {
        let writer = Arc::new(Mutex::new(stream.try_clone()?));
        let mut connection = Self { shared, stream, writer, streams: Arc::default() };
        let mut preface = [0; PREFACE_SIZE];
        connection.stream.read_exact(&mut preface)?;
        assert!(Preface::decode(&preface).unwrap().is_some(), "the client sends a preface");
        connection.writer.lock().unwrap().write_all(&Preface::ours(shared.frame_max).encode())?;
        loop {
            let mut bytes = vec![0; 4];
            connection.stream.read_exact(&mut bytes)?;
            let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            bytes.resize(4 + length as usize, 0);
            connection.stream.read_exact(&mut bytes[4..])?;
            let frame = decode_frame(&bytes, shared.frame_max).unwrap().unwrap();
            connection.request(&frame)?;
        }
    }

    fn request(&mut self, frame: &Frame<'_>) -> Io<()> {
        let kind = Kind::supported(frame.head.kind, frame.head.version).unwrap();
        let (deed, error) = self.shared.decide(kind);
        match deed {
            Deed::Ignore => return Ok(()),
            Deed::Close => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Deed::Hold => {
                let held = self.shared.held.lock().unwrap();
                let wait = self.shared.released.wait_timeout_while(held, crate::SOON, |held| *held);
                assert!(!*wait.unwrap().0, "nobody released what is held");
            }
            Deed::Refuse(_) | Deed::Serve | Deed::ServeAndClose | Deed::CutAnswer(_) | Deed::Spoil(_) => {}
        }
        if kind == Kind::Fetch && matches!(deed, Deed::Serve | Deed::Hold) {
            return self.fetch_later(frame);
        }
        if matches!(kind, Kind::JoinGroup | Kind::SyncGroup) && matches!(deed, Deed::Serve) {
            self.meet_later(kind, frame);
            return Ok(());
        }
        let answer = self.answer(kind, frame, error);
        match deed {
            Deed::ServeAndClose => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Deed::CutAnswer(size) => {
                self.writer.lock().unwrap().write_all(&answer[..size.min(answer.len())])?;
                Err(std::io::ErrorKind::ConnectionAborted.into())
            }
            Deed::Spoil(spoil) => {
                let mut answer = answer;
                spoil(&mut answer);
                self.writer.lock().unwrap().write_all(&answer)
            }
            _ if frame.head.flags.contains(Flags::NO_ANSWER) => Ok(()),
            _ => self.writer.lock().unwrap().write_all(&answer),
        }
    }

    fn answer(&self, kind: Kind, frame: &Frame<'_>, error: ErrorCode) -> Vec<u8> {
        let (head, records) = (frame.head, frame.records);
        match kind {
            Kind::Metadata => encode(head, &self.shared.metadata(&frame.header().unwrap(), error), &[]),
            Kind::Produce => {
                encode(head, &self.shared.produce(&frame.header().unwrap(), records, error), &[])
            }
            Kind::Fetch => {
                let (answer, records) = self.shared.fetch(&frame.header().unwrap(), error);
                encode(head, &answer, &records)
            }
            Kind::ListOffsets => {
                encode(head, &self.shared.list_offsets(&frame.header().unwrap(), error), &[])
            }
            Kind::TopicCreate => encode(head, &self.shared.topic_create(&frame.header().unwrap()), &[]),
            Kind::TopicList => encode(head, &self.shared.topic_list(), &[]),
            Kind::TopicDescribe => encode(head, &self.shared.topic_describe(&frame.header().unwrap()), &[]),
            Kind::TopicDelete => encode(head, &self.shared.topic_delete(&frame.header().unwrap()), &[]),
            Kind::Status => encode(head, &status(&frame.header().unwrap()), &[]),
            Kind::PartitionsCreate
            | Kind::RecordsDelete
            | Kind::ConfigDescribe
            | Kind::ConfigAlter
            | Kind::GroupList
            | Kind::GroupDescribe
            | Kind::GroupReset
            | Kind::GroupUndo
            | Kind::GroupDelete => {
                unreachable!("claims about these are made with a real broker")
            }
            Kind::InitProducer => encode(head, &self.shared.init_producer(error), &[]),
            Kind::Subscribe | Kind::Credit | Kind::Unsubscribe
                if self.shared.streams.load(Ordering::SeqCst) =>
            {
                streams::answer(self.shared, &self.streams, &self.writer, frame, error)
            }
            Kind::Subscribe => {
                let head = Head { kind: Kind::Unsupported.number(), ..head };
                let (kind, lowest, highest) = (Kind::Subscribe.number(), 0, 0);
                encode(head, &UnsupportedV1 { error: ErrorCode::UNSUPPORTED, kind, lowest, highest }, &[])
            }
            Kind::JoinGroup
            | Kind::SyncGroup
            | Kind::Heartbeat
            | Kind::LeaveGroup
            | Kind::CommitOffsets
            | Kind::FetchOffsets => self.shared.of_group(kind, head, frame.header, error),
            Kind::Unsupported
            | Kind::DescribeProducers
            | Kind::Batches
            | Kind::Credit
            | Kind::Unsubscribe
            | Kind::SubscriptionEnd => unreachable!("nobody asks for that"),
        }
    }

    /// Members wait for one another beside the connection, which reads on.
    fn meet_later(&self, kind: Kind, frame: &Frame<'_>) {
        let (head, header) = (frame.head, frame.header.to_vec());
        let (shared, writer) = (Arc::clone(self.shared), Arc::clone(&self.writer));
        std::thread::spawn(move || {
            let answer = shared.of_group(kind, head, &header, ErrorCode::NONE);
            let _ = writer.lock().unwrap().write_all(&answer);
        });
    }

    /// Fetches wait beside the connection, which reads on.
    fn fetch_later(&self, frame: &Frame<'_>) -> Io<()> {
        let (head, header) = (frame.head, frame.header.to_vec());
        let (shared, writer) = (Arc::clone(self.shared), Arc::clone(&self.writer));
        std::thread::spawn(move || {
            let request: FetchRequestV1<'_> = decode(&header).unwrap();
            let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.into());
            loop {
                let (answer, records) = shared.fetch(&request, ErrorCode::NONE);
                let left = deadline.saturating_duration_since(Instant::now());
                let failed = answer.entries.iter().any(|entry| !entry.error.is_none());
                if failed || records.len() >= request.min_bytes as usize || left.is_zero() {
                    let _ = writer.lock().unwrap().write_all(&encode(head, &answer, &records));
                    return;
                }
                let left = left.min(Duration::from_millis(10));
                drop(shared.changed.wait_timeout(shared.state(), left).unwrap());
            }
        });
        Ok(())
    }
}
