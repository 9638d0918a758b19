//! Mapped parts that have waited for their socket: those that left memory are read in by somebody else, and in order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use folio_channel::{EmbeddedChannel, LoopLocal, Responder, Resume};
use folio_mapped::{MapSlice, SegmentMap};

use crate::frames::{Answer, frame, serving};

const SIZE: usize = 4 << 20;
/// Nobody has waited yet.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(20);

/// Keeps what is to be read in.
struct Reader {
    slice: MapSlice,
    asked: Vec<(Vec<MapSlice>, Resume<Self>)>,
}

impl LoopLocal for Reader {
    type Message = ();

    fn message(&mut self, (): ()) {}

    fn read_in(&mut self, slices: Vec<MapSlice>, resume: Resume<Self>) {
        self.asked.push((slices, resume));
    }
}

fn send_it(local: &mut Reader, _: BytesMut, reply: Responder<'_, Answer>) {
    reply.send(Answer::Raw(local.slice.clone().into()));
}

/// A file that is on the disk, and in no memory.
struct Cold {
    _dir: tempfile::TempDir,
    file: File,
    bytes: Vec<u8>,
}

impl Cold {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("log");
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 1000) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        Self { _dir: dir, file, bytes }
    }

    fn cool(&self) {
        self.file.sync_data().unwrap();
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }

    /// A channel that answers everything with all of it, and whose socket has taken the first 100,000 bytes of one.
    fn begun(&self) -> EmbeddedChannel<Reader> {
        let map: Arc<_> = SegmentMap::open(self.file.try_clone().unwrap(), SIZE as u64, SIZE as u64).unwrap();
        let reader = Reader { slice: map.slice(0..SIZE as u64).unwrap(), asked: Vec::new() };
        let mut channel = EmbeddedChannel::new(reader, serving::<Reader, _, true>(send_it));
        channel.set_socket_room(100_000);
        channel.write_inbound(&frame(b"all of it"));
        channel.run_until_idle();
        channel
    }
}

/// After a while the socket takes whatever there is.
fn take_all<L: LoopLocal>(channel: &mut EmbeddedChannel<L>, waited: Duration) {
    channel.advance(waited);
    channel.set_socket_room(usize::MAX);
    channel.run_until_idle();
}

#[test]
fn what_has_left_memory_while_it_waited_is_read_in_elsewhere_before_it_is_sent() {
    let cold = Cold::new();
    let mut channel = cold.begun();
    cold.cool();
    take_all(&mut channel, LATER);
    let mut sent = channel.read_outbound();
    assert_eq!(sent.len(), 100_000, "nothing goes by way of the disk");

    let mut times = 0;
    while let Some((slices, resume)) = channel.local().asked.pop() {
        let bytes: usize = slices.iter().map(MapSlice::len).sum();
        assert!(bytes <= 256 << 10, "{bytes} bytes at once");
        assert!(slices[0].range().start >= sent.len() as u64);
        slices.iter().for_each(|slice| slice.populate().unwrap());
        assert!(channel.local().asked.is_empty(), "one after the other");
        drop(resume);
        channel.run_until_idle();
        let more = channel.read_outbound();
        assert!(more.len() >= bytes, "what was read in is sent");
        sent.extend(more);
        times += 1;
    }
    assert!(times > 0);
    assert!(sent == cold.bytes, "all of it, in order");
}

#[test]
fn what_is_still_in_memory_or_has_not_waited_goes_at_once() {
    for (is_cold, waited) in [(false, LATER), (true, SOON)] {
        let file = Cold::new();
        let mut channel = file.begun();
        if is_cold {
            file.cool();
        }
        take_all(&mut channel, waited);
        assert!(channel.local().asked.is_empty());
        assert!(channel.read_outbound() == file.bytes);
    }
}

#[test]
fn where_memory_is_gone_again_at_once_the_channel_goes_on_all_the_same() {
    let cold = Cold::new();
    let mut channel = cold.begun();
    cold.cool();
    take_all(&mut channel, LATER);
    let mut sent = channel.read_outbound();
    // Nobody reads anything in.
    while let Some((_, resume)) = channel.local().asked.pop() {
        drop(resume);
        channel.run_until_idle();
        let more = channel.read_outbound();
        assert!(!more.is_empty());
        sent.extend(more);
    }
    assert!(sent == cold.bytes);
}

#[test]
fn a_loop_without_anybody_to_read_for_it_waits_itself() {
    let cold = Cold::new();
    let map = SegmentMap::open(cold.file.try_clone().unwrap(), SIZE as u64, SIZE as u64).unwrap();
    let slice = map.slice(0..SIZE as u64).unwrap();
    let send = move |(): &mut (), _: BytesMut, reply: Responder<'_, Answer>| {
        reply.send(Answer::Raw(slice.clone().into()));
    };
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(send));
    channel.set_socket_room(100_000);
    channel.write_inbound(&frame(b"all of it"));
    cold.cool();
    take_all(&mut channel, LATER);
    assert!(channel.read_outbound() == cold.bytes);
}
