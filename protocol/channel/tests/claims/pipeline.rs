//! Stages, and the bytes between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelLimits,
    ChannelOutboundHandler, CloseCause, EmbeddedChannel, Outbound, ReadBuf, Stage, WriteError, initializer,
};
use folio_mapped::SegmentMap;

use crate::frames::{echo, frame, frames, serving};

type Log = Arc<Mutex<Vec<String>>>;

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

/// Passes everything on, and writes down what it sees.
struct Witness {
    name: &'static str,
    log: Log,
}

impl Witness {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

impl ChannelHandler<()> for Witness {
    fn handler_added(&mut self, _: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.note("added");
        Ok(())
    }

    fn handler_removed(&mut self, _: &mut ChannelHandlerContext<'_, ()>) {
        self.note("removed");
    }
}

impl ChannelInboundHandler<()> for Witness {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        self.note(&format!("read {}", String::from_utf8_lossy(input.as_slice())));
        ctx.forward(input);
        Ok(())
    }

    fn channel_active(&mut self, _: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.note("active");
        Ok(())
    }

    fn channel_inactive(&mut self, _: &mut ChannelHandlerContext<'_, ()>, cause: &CloseCause) {
        self.note(&format!("inactive: {cause}"));
    }
}

impl ChannelOutboundHandler<()> for Witness {
    fn write(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        self.note(&format!("write {} bytes", item.len()));
        ctx.write(item);
        Ok(())
    }
}

/// Sends everything back, in capitals, each byte as a part of its own.
struct Shout;

impl ChannelHandler<()> for Shout {}

impl ChannelInboundHandler<()> for Shout {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        for byte in input.split_to(input.len()) {
            ctx.write(Bytes::copy_from_slice(&[byte.to_ascii_uppercase()]));
        }
        Ok(())
    }
}

/// A stage that transforms in both directions, as TLS would.
struct Flip;

fn flip(bytes: &[u8]) -> BytesMut {
    bytes.iter().map(|byte| byte ^ 0x20).collect()
}

impl ChannelHandler<()> for Flip {}

impl ChannelInboundHandler<()> for Flip {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.fire_channel_read(flip(input.as_slice()));
        input.consume(input.len());
        Ok(())
    }
}

impl ChannelOutboundHandler<()> for Flip {
    fn write(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        let mut bytes = vec![0; item.len()];
        match item {
            Outbound::Bytes(heap) => bytes.copy_from_slice(&heap),
            Outbound::Mapped(slice) => slice.read_to(0, &mut bytes).map_err(std::io::Error::other)?,
        }
        ctx.write(flip(&bytes));
        Ok(())
    }
}

/// Consumes `limit` bytes, one by one, then puts another stage in its place, or goes.
struct Until {
    limit: usize,
    successor: Option<Stage<()>>,
}

impl ChannelHandler<()> for Until {}

impl ChannelInboundHandler<()> for Until {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        let count = self.limit.min(input.len());
        input.consume(count);
        self.limit -= count;
        if self.limit == 0 {
            let name = ctx.name();
            match self.successor.take() {
                Some(stage) => ctx.pipeline().replace(name, "successor", stage),
                None => ctx.pipeline().remove(name),
            };
        }
        Ok(())
    }
}

#[test]
fn received_bytes_go_from_the_first_stage_to_the_last_and_sent_bytes_the_other_way() {
    let log = Log::default();
    let mut channel = {
        let log = Arc::clone(&log);
        EmbeddedChannel::new(
            (),
            initializer(move |_, pipeline| {
                for name in ["first", "second"] {
                    pipeline.add_last(name, Stage::duplex(Witness { name, log: Arc::clone(&log) }));
                }
                pipeline.add_last("shout", Stage::inbound(Shout));
                Ok(())
            }),
        )
    };
    assert_eq!(lines(&log), ["first added", "second added", "first active", "second active"]);
    channel.write_inbound(b"ab");
    assert_eq!(channel.read_outbound(), b"AB");
    let expected = [
        "first read ab",
        "second read ab",
        "second write 1 bytes",
        "first write 1 bytes",
        "second write 1 bytes",
        "first write 1 bytes",
    ];
    assert_eq!(lines(&log), expected);
    channel.channel().close();
    channel.run_turn();
    assert_eq!(lines(&log), ["first inactive: closed by this side", "second inactive: closed by this side"]);
}

#[test]
fn a_stage_that_transforms_sees_both_directions_and_keeps_the_order() {
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("flip", Stage::duplex(Flip)).add_last("flop", Stage::duplex(Flip));
            pipeline.add_last("again", Stage::duplex(Flip)).add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"HELLO"); // three flips: the last stage sees `hello`, and its answer is flipped thrice
    assert_eq!(channel.read_outbound(), b"hello");
}

#[test]
fn a_request_split_at_every_byte_is_answered_once_and_whole() {
    let request = frames(["a", "", "three", "and a longer one"]);
    for at in 0..=request.len() {
        let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
        channel.write_inbound(&request[..at]);
        channel.write_inbound(&request[at..]);
        assert_eq!(channel.read_outbound(), request, "split at {at}");
        assert_eq!(channel.unconsumed(), 0);
    }
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    for byte in &request {
        channel.write_inbound(std::slice::from_ref(byte));
    }
    assert_eq!(channel.read_outbound(), request);
}

#[test]
fn a_hundred_requests_in_one_read_are_answered_by_one_write_of_one_part() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let requests: Vec<u8> = (0..100_u8).flat_map(|number| frame(&[number; 20])).collect();
    channel.write_inbound(&requests);
    let writes = channel.take_writes();
    assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
    assert!(matches!(&writes[0][0], Outbound::Bytes(bytes) if bytes[..] == requests[..]));
}

#[test]
fn a_stage_replaced_in_mid_stream_leaves_its_unread_bytes_to_its_successor() {
    for cut in 0..8 {
        let mut channel = EmbeddedChannel::new(
            (),
            initializer(|_, pipeline| {
                let successor = Some(Stage::inbound(Shout));
                pipeline.add_last("until", Stage::inbound(Until { limit: 3, successor }));
                Ok(())
            }),
        );
        channel.write_inbound(&b"123body"[..cut]);
        channel.write_inbound(&b"123body"[cut..]);
        assert_eq!(channel.read_outbound(), b"BODY", "cut at {cut}");
        assert_eq!(channel.stage_names(), ["successor"]);
    }
}

#[test]
fn a_stage_removed_in_mid_stream_leaves_its_unread_bytes_to_the_next() {
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("until", Stage::inbound(Until { limit: 3, successor: None }));
            pipeline.add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"123body");
    assert_eq!(channel.read_outbound(), b"BODY");
    assert_eq!(channel.stage_names(), ["shout"]);
}

#[test]
fn edits_posted_through_a_handle_are_applied_in_order_between_two_units_of_input() {
    let log = Log::default();
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    let witness = |name| Stage::duplex(Witness { name, log: Arc::clone(&log) });
    channel.write_inbound(b"before");
    let pipeline = channel.channel().pipeline();
    pipeline.add_first("b", witness("b")).add_before("b", "a", witness("a")).add_after(
        "b",
        "c",
        witness("c"),
    );
    pipeline.add_last("z", Stage::inbound(Shout)).remove("z").replace("b", "d", witness("d"));
    channel.write_inbound(b"x");
    assert_eq!(channel.stage_names(), ["a", "d", "c", "shout"]);
    assert_eq!(channel.read_outbound(), b"BEFOREX");
    let seen = lines(&log);
    // Each was told once that it is active, though the channel was active long before.
    assert_eq!(seen.iter().filter(|line| line.ends_with("active")).count(), 4, "{seen:?}");
    let reads: Vec<_> = seen.iter().filter(|line| line.contains("read")).collect();
    assert_eq!(reads, ["a read x", "d read x", "c read x"]);
}

#[test]
fn an_edit_that_cannot_be_made_closes_the_channel() {
    type EditBadly = fn(&mut EmbeddedChannel<()>);
    let bad: [EditBadly; 3] = [
        |channel| {
            channel.channel().pipeline().remove("nobody");
        },
        |channel| {
            channel.channel().pipeline().add_last("shout", Stage::inbound(Shout));
        },
        |channel| {
            channel.channel().pipeline().replace("nobody", "somebody", Stage::inbound(Shout));
        },
    ];
    for edit in bad {
        let mut channel = EmbeddedChannel::new(
            (),
            initializer(|_, pipeline| {
                pipeline.add_last("shout", Stage::inbound(Shout));
                Ok(())
            }),
        );
        edit(&mut channel);
        channel.channel().flush();
        channel.run_turn();
        let cause = channel.close_cause().unwrap();
        assert!(
            matches!(&cause, CloseCause::Failed(error) if matches!(**error, ChannelError::Internal(_))),
            "{cause}"
        );
    }
}

#[test]
fn a_handler_is_never_entered_while_one_is_running() {
    /// Writes, edits, wakes and closes while it is being called, and holds a lock all the time.
    struct Busy {
        running: Arc<Mutex<()>>,
        calls: usize,
    }
    impl Busy {
        fn act(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            let _guard = self.running.try_lock().map_err(|_| ChannelError::internal("re-entered"))?;
            self.calls += 1;
            if self.calls < 20 {
                ctx.write(&b"."[..]);
                ctx.channel().wake();
                ctx.pause_reading();
                ctx.resume_reading();
                ctx.fire_channel_read(BytesMut::from(&b"x"[..]));
            }
            Ok(())
        }
    }
    impl ChannelHandler<()> for Busy {}
    impl ChannelInboundHandler<()> for Busy {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            input.consume(input.len());
            self.act(ctx)
        }
        fn channel_woken(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            self.act(ctx)
        }
    }
    impl ChannelOutboundHandler<()> for Busy {
        fn write(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            item: Outbound,
        ) -> Result<(), ChannelError> {
            let _guard = self.running.try_lock().map_err(|_| ChannelError::internal("re-entered"))?;
            ctx.write(item);
            Ok(())
        }
    }
    let running = Arc::new(Mutex::new(()));
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(move |_, pipeline| {
            for name in ["one", "two", "three"] {
                pipeline.add_last(name, Stage::duplex(Busy { running: Arc::clone(&running), calls: 0 }));
            }
            pipeline.add_last("end", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"go");
    channel.run_until_idle();
    assert!(channel.channel().is_open());
    assert!(channel.read_outbound().len() > 20);
}

#[test]
fn an_error_closes_the_channel_after_what_was_answered_before_it() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let mut input = frames(["good"]);
    input.push(0xff);
    channel.write_inbound(&input);
    assert_eq!(channel.read_outbound(), frames(["good"]));
    let cause = channel.close_cause().unwrap();
    assert_eq!(cause.to_string(), "the peer broke the protocol: a frame of 255 bytes");
    assert!(
        !channel.channel().is_open() && !channel.channel().is_active() && !channel.channel().is_writable()
    );
}

#[test]
fn bytes_that_leave_the_last_stage_are_a_bug_that_closes_the_channel() {
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("flip", Stage::duplex(Flip));
            Ok(())
        }),
    );
    channel.write_inbound(b"x");
    assert!(channel.close_cause().unwrap().to_string().contains("hands bytes on"));
}

#[test]
fn closing_sends_what_was_written_before_and_reads_no_more() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(2);
    channel.write_inbound(&frames(["first"]));
    let closed = channel.channel().close();
    channel.run_turn();
    channel.write_inbound(&frames(["second"]));
    assert!(!closed.is_done() && !channel.channel().is_open());
    channel.set_socket_room(100);
    assert_eq!(channel.read_outbound(), frames(["first"]));
    assert!(matches!(closed.get(), Some(CloseCause::Local)));
}

#[test]
fn a_peer_that_takes_nothing_is_not_waited_for_longer_than_the_close_linger() {
    let limits = ChannelLimits { close_linger: Duration::from_secs(3), ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(echo));
    channel.set_socket_room(0);
    channel.write_inbound(&frames(["answer"]));
    channel.channel().close();
    channel.run_turn();
    channel.advance(Duration::from_secs(2));
    channel.set_socket_room(1); // progress: it is waited for again
    channel.advance(Duration::from_millis(2999));
    assert!(channel.close_cause().is_none());
    channel.advance(Duration::from_millis(1));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Local)));
}

#[test]
fn a_write_is_done_when_the_socket_has_taken_it_and_fails_when_the_channel_ends_before() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(3);
    let first = channel.channel().write(&b"abc"[..]);
    let second = channel.channel().write(&b"de"[..]);
    assert!(!first.is_done());
    channel.channel().flush();
    channel.run_turn();
    assert!(matches!(first.get(), Some(Ok(()))));
    assert!(second.get().is_none());
    channel.finish_inbound();
    channel.advance(Duration::from_secs(60)); // beyond every linger
    assert!(matches!(second.get(), Some(Err(WriteError::Closed))));
    let late = channel.channel().write_and_flush(&b"f"[..]);
    channel.run_turn();
    assert!(matches!(late.get(), Some(Err(WriteError::Closed))));
}

#[test]
fn a_deadline_comes_at_its_time_and_not_before_however_often_it_was_moved() {
    struct Alarm {
        after: Duration,
    }
    impl ChannelHandler<()> for Alarm {}
    impl ChannelInboundHandler<()> for Alarm {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            let seconds = u64::from(input.as_slice()[0]);
            input.consume(input.len());
            self.after = Duration::from_secs(seconds);
            ctx.set_deadline(Some(ctx.now() + self.after));
            Ok(())
        }
        fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.write(&b"!"[..]);
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("alarm", Stage::inbound(Alarm { after: Duration::ZERO }));
            Ok(())
        }),
    );
    let second = Duration::from_secs(1);
    channel.write_inbound(&[5]);
    channel.advance(4 * second);
    channel.write_inbound(&[5]); // moved away
    channel.advance(4 * second);
    assert_eq!(channel.read_outbound(), b"");
    channel.write_inbound(&[2]); // moved away a little
    channel.write_inbound(&[1]); // and nearer
    channel.advance(second / 2);
    assert_eq!(channel.read_outbound(), b"");
    channel.advance(second / 2);
    assert_eq!(channel.read_outbound(), b"!");
    channel.advance(100 * second);
    assert_eq!(channel.read_outbound(), b"", "once is once");
}

#[test]
fn a_mapped_part_reaches_the_socket_as_a_mapped_part_in_its_place() {
    let map = SegmentMap::heap(64);
    let range = map.appender().unwrap().append(&[std::io::IoSlice::new(b"from the map")]).unwrap();
    let slice = map.slice(range).unwrap();
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(9);
    channel.channel().write(&b"head "[..]);
    channel.channel().write(slice);
    channel.channel().write_and_flush(&b" tail"[..]);
    channel.run_turn();
    channel.set_socket_room(100);
    let writes = channel.take_writes();
    let is_mapped: Vec<Vec<bool>> = writes
        .iter()
        .map(|parts| parts.iter().map(|part| matches!(part, Outbound::Mapped(_))).collect())
        .collect();
    assert_eq!(is_mapped, [vec![false, true], vec![true, false]]);
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("flip", Stage::duplex(Flip));
            Ok(())
        }),
    );
    let slice = map.slice(5..12).unwrap();
    channel.channel().write_and_flush(slice);
    channel.run_turn();
    assert_eq!(channel.read_outbound(), b"THE\0MAP", "a stage that transforms has copied it out");
}

#[test]
fn input_that_never_becomes_a_unit_is_bounded() {
    struct Never;
    impl ChannelHandler<()> for Never {}
    impl ChannelInboundHandler<()> for Never {
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
    }
    let limits = ChannelLimits { unfinished_bytes_max: 100_000, ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits(
        (),
        limits,
        initializer(|_, pipeline| {
            pipeline.add_last("never", Stage::inbound(Never));
            Ok(())
        }),
    );
    for _ in 0..10 {
        channel.write_inbound(&[0; 10_000]);
    }
    assert_eq!(channel.unconsumed(), 100_000);
    assert!(channel.channel().is_open());
    channel.write_inbound(&[0]);
    assert!(channel.close_cause().unwrap().to_string().contains("no whole unit"));
}

#[test]
fn with_auto_read_off_nothing_is_read_but_what_was_asked_for() {
    let limits = ChannelLimits { read_buffer_bytes: 4096, ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits(
        (),
        limits,
        initializer(|_, pipeline| {
            pipeline.add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    assert!(channel.channel().config().is_auto_read());
    channel.channel().config().set_auto_read(false);
    channel.run_turn();
    channel.write_inbound(&[b'a'; 5000]);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 0);
    channel.channel().read();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 4096, "one read of one buffer");
    channel.channel().config().set_auto_read(true);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 5000 - 4096);
}

#[test]
fn a_turn_reads_a_bounded_number_of_bytes_of_a_channel() {
    let limits = ChannelLimits {
        read_buffer_bytes: 4096,
        read_bytes_per_turn: 10_000,
        outbound_heap_bytes_high: 1 << 20,
        ..ChannelLimits::default()
    };
    let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(echo));
    let request: Vec<u8> = frame(&[7; 99]).repeat(1000);
    channel.write_inbound(&request);
    let mut turns = 1;
    let mut answered = channel.read_outbound();
    assert!((9_900..=10_000).contains(&answered.len()), "{}", answered.len());
    while answered.len() < request.len() {
        channel.run_turn();
        turns += 1;
        let more = channel.read_outbound();
        assert!((1..=10_100).contains(&more.len()), "{}", more.len());
        answered.extend(more);
    }
    assert_eq!(answered, request);
    assert_eq!(turns, 10);
}

#[test]
fn what_a_channel_is_and_how_it_stands_can_be_asked_from_anywhere() {
    let channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let handle = channel.channel().clone();
    std::thread::spawn(move || {
        assert!(handle.is_open() && handle.is_registered() && handle.is_active() && handle.is_writable());
        assert_eq!(handle.metadata().transport, folio_channel::TransportKind::Embedded);
        assert!(handle.local_address().is_none() && handle.remote_address().is_none());
        assert!(handle.parent().is_none());
        assert!(!handle.close_future().is_done());
        assert_eq!(handle.config().limits().in_flight_max, 1024);
        assert_eq!(handle.event_loop().index(), 0);
    })
    .join()
    .unwrap();
}

/// Holds back what is written: until the turn's end, or for as long as the channel is not writable.
struct Batch {
    held: Vec<Outbound>,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Batch {
    fn release(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) {
        if !self.held.is_empty() && ctx.is_writable() {
            self.batches.lock().unwrap().push(self.held.len());
            self.held.drain(..).for_each(|item| ctx.write(item));
        }
    }
}

impl ChannelHandler<()> for Batch {}

impl ChannelInboundHandler<()> for Batch {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.forward(input);
        Ok(())
    }

    fn channel_writability_changed(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
    ) -> Result<(), ChannelError> {
        self.release(ctx);
        Ok(())
    }
}

impl ChannelOutboundHandler<()> for Batch {
    fn write(&mut self, _: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        self.held.push(item);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.release(ctx);
        Ok(())
    }

    fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }
}

#[test]
fn a_stage_may_hold_back_what_is_written_until_the_turn_ends_or_the_channel_is_writable() {
    let batches: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut channel = {
        let batches = Arc::clone(&batches);
        let limits = ChannelLimits { outbound_heap_bytes_high: 4, ..ChannelLimits::default() };
        EmbeddedChannel::with_limits(
            (),
            limits,
            initializer(move |_, pipeline| {
                let batch = |held| Stage::duplex(Batch { held, batches: Arc::clone(&batches) });
                pipeline.add_last("batch", batch(Vec::new())).add_last("batch behind", batch(Vec::new()));
                pipeline.add_last("shout", Stage::inbound(Shout));
                Ok(())
            }),
        )
    };
    channel.write_inbound(b"abc");
    assert_eq!(channel.read_outbound(), b"ABC");
    assert_eq!(std::mem::take(&mut *batches.lock().unwrap()), [3, 3], "one batch of each stage");

    channel.set_socket_room(0);
    channel.write_inbound(b"defg");
    channel.channel().write_and_flush(&b"late"[..]);
    channel.run_until_idle();
    assert_eq!(channel.pending(), 4, "the rest is held back");
    let closed = channel.channel().close();
    channel.run_until_idle();
    assert!(!closed.is_done(), "what is held back is waited for");
    channel.set_socket_room(100);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), b"DEFGlate");
    assert!(closed.is_done());
}

#[test]
fn a_deadline_that_has_passed_already_comes_once_a_turn() {
    struct Hasty(u32);
    impl ChannelHandler<()> for Hasty {}
    impl ChannelInboundHandler<()> for Hasty {
        fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.set_deadline(Some(ctx.now()));
            Ok(())
        }
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
        fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            self.0 += 1;
            ctx.write(&b"."[..]);
            ctx.set_deadline(Some(ctx.now()));
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("hasty", Stage::inbound(Hasty(0)));
            Ok(())
        }),
    );
    channel.read_outbound();
    channel.run_turn();
    channel.run_turn();
    assert_eq!(channel.read_outbound(), b"..");
}

#[test]
fn a_wake_up_that_comes_while_the_channel_is_being_woken_is_not_lost() {
    struct Insomniac(u32);
    impl ChannelHandler<()> for Insomniac {}
    impl ChannelInboundHandler<()> for Insomniac {
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
        fn channel_woken(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.write(&b"."[..]);
            if self.0 > 0 {
                self.0 -= 1;
                ctx.channel().wake();
            }
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("insomniac", Stage::inbound(Insomniac(5)));
            Ok(())
        }),
    );
    channel.channel().wake();
    channel.channel().wake(); // the same, for nobody has looked yet
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), b"......");
}
