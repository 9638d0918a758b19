//! Bytes of unknown origin as what the members of a group tell each other: an error or a message, never a panic. What
//! is read is written, in the newest version, and read the same.

#![no_main]

use folio_wire::consumer_protocol::{Assignment, Subscription, VERSION_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(subscription) = Subscription::decode(input) {
        let bytes = subscription.encode(VERSION_MAX).expect("what was read has lengths that can be said");
        assert_eq!(Subscription::decode(&bytes), Ok(subscription));
    }
    if let Ok(assignment) = Assignment::decode(input) {
        let bytes = assignment.encode(VERSION_MAX).expect("what was read has lengths that can be said");
        assert_eq!(Assignment::decode(&bytes), Ok(assignment));
    }
});
