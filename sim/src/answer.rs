//! What the server wrote, read by a simple parser that shares nothing with the server's own code.
//!
//! It sees the bytes in whatever pieces they were written, and gives whole answers. It is strict where the server must be: one
//! framing, no content where none may be, lower-case or not, nothing it does not understand.

use crate::random::hash;

/// One answer of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// It says `connection: close`.
    pub close: bool,
    /// The number in its `x-token` field: whose answer it is, as the handler saw it.
    pub token: Option<u64>,
    /// What `error` of the JSON names, for answers of polygil's own.
    pub error: String,
    /// Length and hash of the content.
    pub content: (u64, u64),
    /// What Content-Length says.
    pub content_length: Option<u64>,
    /// Its content is in chunks.
    pub chunked: bool,
}

/// How the end of an answer's content is told.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Length(usize),
    Chunked,
    WithTheConnection,
}

/// Takes bytes, gives answers.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    head: Option<(Answer, Ends)>,
    /// The chunks so far.
    content: Vec<u8>,
}

impl Reader {
    /// Takes in what the server wrote.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether an answer has begun and is not complete.
    pub fn is_inside(&self) -> bool {
        !self.buffer.is_empty() || self.head.is_some()
    }

    /// The next whole answer. `is_head` says whether it answers a HEAD request.
    pub fn next(&mut self, is_head: bool) -> Result<Option<Answer>, String> {
        if self.head.is_none() {
            let Some(end) = find(&self.buffer, b"\r\n\r\n") else { return Ok(None) };
            let answer = parse(&self.buffer[..end + 2])?;
            let bodiless = is_head || answer.status < 200 || matches!(answer.status, 204 | 304);
            let ends = match answer.content_length {
                Some(_) if answer.chunked => return Err("content-length beside transfer-encoding".to_owned()),
                _ if bodiless => Ends::Length(0),
                Some(length) => Ends::Length(length as usize),
                None if answer.chunked => Ends::Chunked,
                None if answer.close => Ends::WithTheConnection,
                None => return Err(format!("a {} without content-length", answer.status)),
            };
            self.buffer.drain(..end + 4);
            self.head = Some((answer, ends));
        }
        let is_whole = match self.head {
            Some((_, Ends::Length(length))) if self.buffer.len() >= length => {
                self.content = self.buffer.drain(..length).collect();
                true
            }
            Some((_, Ends::Chunked)) => self.chunks()?,
            _ => false,
        };
        Ok(if is_whole { self.whole() } else { None })
    }

    /// Length of the present answer's content if it is told before, and how much of that is missing.
    pub fn missing(&self) -> Option<(u64, u64)> {
        match self.head {
            Some((_, Ends::Length(length))) => Some((length as u64, length.saturating_sub(self.buffer.len()) as u64)),
            _ => None,
        }
    }

    /// Whether the present answer ends with the connection.
    pub fn ends_with_the_connection(&self) -> bool {
        matches!(self.head, Some((_, Ends::WithTheConnection)))
    }

    /// The connection has ended: the answer whose content ends with it.
    pub fn end(&mut self) -> Option<Answer> {
        if !self.ends_with_the_connection() {
            return None;
        }
        self.content = std::mem::take(&mut self.buffer);
        self.whole()
    }

    fn whole(&mut self) -> Option<Answer> {
        let (mut answer, _) = self.head.take()?;
        let content = std::mem::take(&mut self.content);
        answer.content = (content.len() as u64, hash(0, &content));
        if answer.token.is_none() {
            answer.error = error_code(&content);
        }
        Some(answer)
    }

    /// Takes the chunks that are there: a size in lower case without zeros in front, and nothing else. True behind the last.
    fn chunks(&mut self) -> Result<bool, String> {
        while let Some(line) = find(&self.buffer, b"\r\n") {
            let text = std::str::from_utf8(&self.buffer[..line]).unwrap_or_default();
            let size = usize::from_str_radix(text, 16).ok().filter(|size| format!("{size:x}") == text);
            let size = size.ok_or_else(|| format!("the chunk size {text:?}"))?;
            let (begin, end) = (line + 2, line + 2 + size);
            if self.buffer.len() < end + 2 {
                return Ok(false);
            }
            if &self.buffer[end..end + 2] != b"\r\n" {
                return Err(format!("no line end behind a chunk of {size} bytes"));
            }
            self.content.extend_from_slice(&self.buffer[begin..end]);
            self.buffer.drain(..end + 2);
            if size == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse(head: &[u8]) -> Result<Answer, String> {
    let text = std::str::from_utf8(head).map_err(|_| "a head that is not UTF-8".to_owned())?;
    let mut lines = text.split_terminator("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
    let mut answer =
        Answer { status: status.ok_or_else(|| format!("the status line {first:?}"))?, ..Answer::default() };
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("the field line {line:?}"))?;
        match name {
            "content-length" if answer.content_length.is_some() => return Err("two content-lengths".to_owned()),
            "content-length" => {
                answer.content_length = Some(value.parse().map_err(|_| format!("content-length {value:?}"))?);
            }
            "connection" => answer.close = value == "close",
            "x-token" => answer.token = value.parse().ok(),
            "transfer-encoding" if value == "chunked" && !answer.chunked => answer.chunked = true,
            "transfer-encoding" => return Err(format!("transfer-encoding {value:?}")),
            _ => {}
        }
    }
    Ok(answer)
}

/// `"error":"code"` at the end of the JSON.
fn error_code(content: &[u8]) -> String {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let code = text.rsplit_once("\"error\":\"").and_then(|(_, rest)| rest.split_once('"'));
    code.map_or_else(String::new, |(code, _)| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_whole_however_they_are_cut() {
        let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-token: 7\r\n\r\nabc\
            HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-token: 8\r\n\r\n2\r\nab\r\na\r\n0123456789\r\n0\r\n\r\n\
            HTTP/1.1 404 Not Found\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{\"error\":\"not_found\"}";
        let mut reader = Reader::default();
        let mut answers = Vec::new();
        for byte in text {
            reader.feed(&[*byte]);
            answers.extend(reader.next(false).unwrap());
        }
        let seen: Vec<_> = answers.iter().map(|answer| (answer.status, answer.token, answer.close)).collect();
        assert_eq!(seen, [(100, None, false), (200, Some(7), false), (200, Some(8), false), (404, None, true)]);
        assert_eq!(answers[2].content, (12, hash(0, b"ab0123456789")));
        assert_eq!(answers[3].error, "not_found");
        assert!(!reader.is_inside());
    }

    #[test]
    fn nonsense_is_told() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
        let chunk = |chunk: &str| format!("{chunked}\r\n{chunk}");
        for text in
            [chunk("01\r\na\r\n"), chunk("A\r\n"), chunk("1\r\nabc"), format!("{chunked}content-length: 1\r\n\r\na")]
        {
            let mut reader = Reader::default();
            reader.feed(text.as_bytes());
            assert!(reader.next(false).is_err(), "{text:?}");
        }
        for text in ["HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nx\r\n\r\n"] {
            let mut reader = Reader::default();
            reader.feed(text.as_bytes());
            assert!(reader.next(false).is_err(), "{text:?}");
        }
    }
}
