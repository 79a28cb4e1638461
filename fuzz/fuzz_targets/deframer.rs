//! The control stream, in both directions, cut into chunks at random. What is
//! decoded and accepted keeps its bounds and survives encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_proto::control::{
    ClientMessage, MAX_NAME_BYTES, MAX_ROOM_BYTES, MAX_TOKEN_BYTES, RelayMessage, client_message,
};
use wzp_proto::framing::{Deframer, FramingError, encode};

// The first byte chooses the limit, the second the length of the chunks; the
// rest is the stream.
fuzz_target!(|input: (u8, u8, &[u8])| {
    let (limit, chunk, stream) = input;
    let (limit, chunk) = (usize::from(limit) * 8, usize::from(chunk).max(1));
    from_client(limit, chunk, stream);
    from_relay(limit, chunk, stream);
});

/// As a relay reads it: never more than the message that has begun needs.
fn from_client(limit: usize, chunk: usize, stream: &[u8]) {
    let mut deframer = Deframer::new(limit);
    let mut rest = stream;
    let mut held = 0;
    while !rest.is_empty() {
        let missing = match deframer.missing() {
            Ok(missing) => missing,
            Err(error) => return check_error(&error, limit),
        };
        assert!(missing > 0, "a whole message was left");
        let (now, later) = rest.split_at(missing.min(chunk).min(rest.len()));
        held += now.len();
        assert!(held <= limit + 3, "more than a message and its length");
        deframer.push(now);
        rest = later;
        match deframer.decode::<ClientMessage>() {
            Ok(Some(message)) => {
                held = 0;
                check_client(message);
            }
            Ok(None) => {}
            Err(error) => return check_error(&error, limit),
        }
    }
}

fn from_relay(limit: usize, chunk: usize, stream: &[u8]) {
    let mut deframer = Deframer::new(limit);
    for bytes in stream.chunks(chunk) {
        deframer.push(bytes);
        loop {
            match deframer.decode::<RelayMessage>() {
                Ok(Some(message)) => {
                    let mut again = Deframer::new(usize::MAX);
                    again.push(&encode(&message));
                    assert_eq!(again.decode(), Ok(Some(message)));
                }
                Ok(None) => break,
                Err(error) => return check_error(&error, limit),
            }
        }
    }
}

fn check_client(message: ClientMessage) {
    let mut again = Deframer::new(usize::MAX);
    again.push(&encode(&message));
    assert_eq!(again.decode(), Ok(Some(message.clone())));
    if let Ok(Some(client_message::Message::Hello(hello))) = message.checked() {
        assert!((1..=MAX_ROOM_BYTES).contains(&hello.room.len()));
        assert!(hello.name.len() <= MAX_NAME_BYTES);
        assert!(hello.token.len() <= MAX_TOKEN_BYTES);
    }
}

fn check_error(error: &FramingError, limit: usize) {
    match error {
        FramingError::TooLong { limit: told } => assert_eq!(*told, limit),
        FramingError::Malformed(reason) => assert!(!reason.is_empty()),
        FramingError::Invalid(invalid) => panic!("decoding does not look at bounds: {invalid}"),
    }
}
