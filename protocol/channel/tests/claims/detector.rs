//! One port, several protocols.

use std::sync::Arc;

use folio_channel::{
    ChannelError, CloseCause, EmbeddedChannel, ProtocolDetector, ProtocolTable, RequestHandler, Stage,
    initializer,
};

use crate::frames::{Frames, Handle, echo, frames};

fn channel() -> EmbeddedChannel<()> {
    let table = Arc::new(
        ProtocolTable::new()
            .serve(
                1..=9,
                "frames",
                initializer(|_, pipeline| {
                    pipeline.add_last(
                        "frames",
                        Stage::inbound(RequestHandler::new(Frames::<true>, Handle(echo))),
                    );
                    Ok(())
                }),
            )
            .refuse(0x16..=0x16, "TLS", "no certificate"),
    );
    EmbeddedChannel::new(
        (),
        initializer(move |_, pipeline| {
            pipeline.add_last("detector", Stage::inbound(ProtocolDetector::new(Arc::clone(&table))));
            Ok(())
        }),
    )
}

fn refusal(first: u8) -> String {
    let mut channel = channel();
    channel.write_inbound(&[first, 1, 2, 3]);
    match channel.close_cause() {
        Some(CloseCause::Failed(error)) if matches!(*error, ChannelError::Peer(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_byte_decides_and_the_successor_sees_it_too() {
    let mut channel = channel();
    assert_eq!(channel.stage_names(), ["detector"]);
    channel.write_inbound(&frames(["hello"])[..1]);
    assert_eq!(channel.stage_names(), ["frames"]);
    channel.write_inbound(&frames(["hello"])[1..]);
    assert_eq!(channel.read_outbound(), frames(["hello"]));
}

#[test]
fn a_protocol_that_is_not_served_is_refused_by_name_and_an_unknown_byte_by_its_value() {
    assert!(refusal(0x16).ends_with("first byte 0x16: TLS is not served here (no certificate)"));
    assert!(refusal(0x15).contains("first byte 0x15 belongs to no protocol"));
    assert!(refusal(0x00).contains("0x00"));
}

#[test]
#[should_panic(expected = "first byte 0x09 is both digits and frames")]
fn two_protocols_cannot_have_the_same_first_byte() {
    let nothing = || initializer::<(), _>(|_, _| Ok(()));
    let _ = ProtocolTable::new().serve(1..=9, "frames", nothing()).serve(9..=12, "digits", nothing());
}

#[test]
fn what_takes_the_detectors_place_may_be_a_transformation_and_another_detector() {
    // As TLS will: the stage that decrypts, and behind it a detector for what is inside.
    use folio_channel::{ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ReadBuf};
    struct Strip {
        is_first: bool,
    }
    impl ChannelHandler<()> for Strip {}
    impl ChannelInboundHandler<()> for Strip {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            if std::mem::take(&mut self.is_first) {
                input.consume(1);
            }
            ctx.forward(input);
            Ok(())
        }
    }
    let inner = Arc::new(ProtocolTable::new().serve(
        1..=9,
        "frames",
        initializer(|_, pipeline| {
            pipeline.add_last("frames", Stage::inbound(RequestHandler::new(Frames::<true>, Handle(echo))));
            Ok(())
        }),
    ));
    let outer = Arc::new(ProtocolTable::new().serve(
        0x16..=0x16,
        "stripped",
        initializer(move |_, pipeline| {
            pipeline.add_last("strip", Stage::inbound(Strip { is_first: true }));
            pipeline.add_last("inner", Stage::inbound(ProtocolDetector::new(Arc::clone(&inner))));
            Ok(())
        }),
    ));
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(move |_, pipeline| {
            pipeline.add_last("outer", Stage::inbound(ProtocolDetector::new(Arc::clone(&outer))));
            Ok(())
        }),
    );
    let mut input = vec![0x16];
    input.extend(frames(["inside"]));
    channel.write_inbound(&input);
    assert_eq!(channel.stage_names(), ["strip", "frames"]);
    assert_eq!(channel.read_outbound(), frames(["inside"]));
}
