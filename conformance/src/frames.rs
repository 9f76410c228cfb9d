//! WebSocket frames of a server (RFC 6455, 5), read strictly: one message at a time, whatever frames it came in.
//!
//! What a client sends is written out in the case: `<<frame 81 hello>>` is a frame with a mask of zeros, which changes nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A message, or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text, which is UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A close frame: the code, if there is one, and the reason.
    Close(Option<u16>, String),
    /// A ping with its data.
    Ping(Vec<u8>),
    /// A pong with its data.
    Pong(Vec<u8>),
}

/// The message to expect: exactly one of them, with the reason beside a close.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Text.
    pub text: Option<String>,
    /// Text that contains this.
    pub text_contains: Option<String>,
    /// Bytes; templates are expanded.
    pub bytes: Option<String>,
    /// A close frame with one of these codes; 1005 is one without, and 1006 the end of the connection without such a frame.
    pub close: Option<Vec<u16>>,
    /// The reason beside it.
    pub reason: Option<String>,
    /// A pong with this data.
    pub pong: Option<String>,
}

impl Expected {
    /// What of it the message breaks.
    pub fn broken(&self, message: &Message, bytes: Option<Vec<u8>>) -> Option<String> {
        let fits = match message {
            Message::Text(given) => {
                self.text.as_ref() == Some(given)
                    || self.text_contains.as_ref().is_some_and(|part| given.contains(part.as_str()))
            }
            Message::Binary(given) => bytes.as_ref() == Some(given),
            Message::Close(code, reason) => {
                let code = code.unwrap_or(1005);
                self.close.as_ref().is_some_and(|codes| codes.contains(&code))
                    && self.reason.as_ref().is_none_or(|wanted| wanted == reason)
            }
            Message::Pong(given) => self.pong.as_ref().is_some_and(|pong| pong.as_bytes() == given),
            Message::Ping(_) => false,
        };
        (!fits).then(|| {
            let mut shown = format!("{message:?}");
            if let Some((end, _)) = shown.char_indices().nth(300) {
                shown.truncate(end);
                shown.push('…');
            }
            format!("the message is {shown}, not {}", serde_json::to_string(self).unwrap_or_default())
        })
    }
}

/// Reads one message from the start of `bytes`: it, and how many bytes it took; None where more are needed.
///
/// A control frame between the fragments of a message comes before it. The error names the rule that the bytes break.
pub fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let mut at = 0;
    let mut whole: Option<(u8, Vec<u8>)> = None;
    loop {
        let Some((first, payload, length)) = frame(&bytes[at..])? else { return Ok(None) };
        at += length;
        let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
        if opcode >= 8 {
            if !last || payload.len() > 125 {
                return Err("a control frame that is fragmented or longer than 125 bytes (RFC 6455, 5.5)".into());
            }
            // Only one in front of a message can be taken out alone; one inside is passed over.
            if whole.is_some() && opcode != 8 {
                continue;
            }
            return control(opcode, payload).map(|message| Some((message, at)));
        }
        whole = Some(match (whole, opcode) {
            (None, 1 | 2) => (opcode, payload),
            (Some((kind, mut content)), 0) => {
                content.extend_from_slice(&payload);
                (kind, content)
            }
            _ => return Err(format!("a frame with opcode {opcode} where it has no place (RFC 6455, 5.4)")),
        });
        if last && let Some((kind, content)) = whole.take() {
            let message = match kind {
                1 => Message::Text(utf8(content)?),
                _ => Message::Binary(content),
            };
            return Ok(Some((message, at)));
        }
    }
}

fn frame(bytes: &[u8]) -> Result<Option<(u8, Vec<u8>, usize)>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a frame with reserved bits (RFC 6455, 5.2)".into());
    }
    if second & 0x80 != 0 {
        return Err("a masked frame of a server (RFC 6455, 5.1)".into());
    }
    let (length, extra): (usize, usize) = match (second & 0x7f, rest) {
        (126, [high, low, ..]) => (usize::from(u16::from_be_bytes([*high, *low])), 2),
        (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, 8),
        (126 | 127, _) => return Ok(None),
        (short, _) => (usize::from(short), 0),
    };
    let payload = rest.get(extra..extra.saturating_add(length));
    Ok(payload.map(|payload| (*first, payload.to_vec(), 2 + extra + length)))
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Message, String> {
    match (opcode, &payload[..]) {
        (8, []) => Ok(Message::Close(None, String::new())),
        (8, [high, low, reason @ ..]) => {
            Ok(Message::Close(Some(u16::from_be_bytes([*high, *low])), utf8(reason.to_vec())?))
        }
        (8, _) => Err("a close frame with half a code (RFC 6455, 5.5.1)".into()),
        (9, _) => Ok(Message::Ping(payload)),
        (10, _) => Ok(Message::Pong(payload)),
        _ => Err(format!("a control frame with opcode {opcode} (RFC 6455, 5.2)")),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "text that is not UTF-8 (RFC 6455, 5.6)".into())
}

/// One frame of a client: its first byte and its payload, with a mask of zeros.
pub fn of_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..=125 => bytes.push(0x80 | short as u8),
        medium @ ..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_over_frames() {
        assert_eq!(parse(b"\x81\x02hi").unwrap(), Some((Message::Text("hi".into()), 4)));
        assert_eq!(parse(b"\x01\x01h\x89\x00\x80\x01i").unwrap(), Some((Message::Text("hi".into()), 8)));
        assert_eq!(parse(b"\x82\x7e\x00\x03abc").unwrap(), Some((Message::Binary(b"abc".to_vec()), 7)));
        assert_eq!(parse(b"\x88\x05\x03\xe8bye").unwrap(), Some((Message::Close(Some(1000), "bye".into()), 7)));
        assert_eq!(parse(b"\x88\x00").unwrap(), Some((Message::Close(None, String::new()), 2)));
        assert_eq!(parse(b"\x81\x02h").unwrap(), None);
    }

    #[test]
    fn what_breaks_the_rules_is_named() {
        for bad in [&b"\x81\x82\0\0\0\0hi"[..], b"\xc1\x00", b"\x80\x00", b"\x81\x01\xff", b"\x08\x00", b"\x88\x01\x03"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_frame_of_a_client_is_masked_with_zeros() {
        assert_eq!(of_client(0x81, b"hi"), b"\x81\x82\0\0\0\0hi");
        assert_eq!(of_client(0x82, &[7; 200])[..8], [0x82, 0xfe, 0, 200, 0, 0, 0, 0]);
        assert_eq!(of_client(0x82, &[7; 70_000])[..4], [0x82, 0xff, 0, 0]);
    }
}
