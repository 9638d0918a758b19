//! Bytes of a record in JSON: text as it is, anything else in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// `null`, a string, or `{"base64": "..."}` for bytes that are not UTF-8.
pub(crate) fn json_bytes(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_text_and_other_bytes_are_told_apart() {
        assert_eq!(json_bytes(None), Value::Null);
        assert_eq!(json_bytes(Some(b"")), json!(""));
        assert_eq!(json_bytes(Some("ä".as_bytes())), json!("ä"));
        assert_eq!(json_bytes(Some(&[0xff, 0x00])), json!({ "base64": "/wA=" }));
    }
}
