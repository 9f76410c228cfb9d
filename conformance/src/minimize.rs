//! Shrinks bytes while two servers still differ on them in the same way.
//!
//! First whole lines, then content with its length put right, then ever smaller runs of bytes (delta debugging). The bytes that come out
//! are such that taking away any one line or byte more hides the difference, unless the number of tries was up first.

/// How often two servers are asked at most.
const TRIES_MAX: usize = 1500;

/// Returns the smallest bytes found for which `differs` holds; it must hold for `bytes`.
pub fn minimize(bytes: &[u8], differs: &mut dyn FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes.to_vec();
    let mut tries = 0;
    let mut holds = |candidate: &[u8]| {
        tries += 1;
        tries <= TRIES_MAX && differs(candidate)
    };
    loop {
        let before = best.len();
        drop_lines(&mut best, &mut holds);
        shorten_content(&mut best, &mut holds);
        let mut size = best.len() / 2;
        while size > 0 {
            drop_runs(&mut best, size, &mut holds);
            size /= 2;
        }
        if best.len() == before {
            return best;
        }
    }
}

fn drop_lines(best: &mut Vec<u8>, holds: &mut dyn FnMut(&[u8]) -> bool) {
    let mut at = 0;
    while let Some(end) = best[at..].iter().position(|byte| *byte == b'\n') {
        let without = [&best[..at], &best[at + end + 1..]].concat();
        if end > 1 && holds(&without) {
            *best = without;
        } else {
            at += end + 1;
        }
    }
}

fn shorten_content(best: &mut Vec<u8>, holds: &mut dyn FnMut(&[u8]) -> bool) {
    loop {
        let Some(head) = best.windows(4).position(|window| window == b"\r\n\r\n") else { return };
        let text: String = best[..head + 2].iter().map(|byte| char::from(*byte)).collect();
        let lower = text.to_ascii_lowercase();
        let Some(field) = lower.find("\r\ncontent-length:") else { return };
        let value = field + "\r\ncontent-length:".len();
        let end = value + lower[value..].find("\r\n").unwrap_or(0);
        let content = &best[head + 4..];
        if lower[value..end].trim().parse() != Ok(content.len()) || content.is_empty() {
            return;
        }
        let shorter = &content[..content.len() / 2];
        let line = format!(" {}", shorter.len());
        let candidate = [&best[..value], line.as_bytes(), &best[end..head + 4], shorter].concat();
        if !holds(&candidate) {
            return;
        }
        *best = candidate;
    }
}

fn drop_runs(best: &mut Vec<u8>, size: usize, holds: &mut dyn FnMut(&[u8]) -> bool) {
    let mut at = 0;
    while at < best.len() {
        let end = (at + size).min(best.len());
        let without = [&best[..at], &best[end..]].concat();
        if !without.is_empty() && holds(&without) {
            *best = without;
        } else {
            at = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let bytes = b"POST /a/long/path HTTP/1.1\r\nHost: a\r\nX-A: b\r\nX-Bad: 1\r\nContent-Length: 8\r\n\r\n12345678";
        let mut tried = 0;
        let smallest = minimize(bytes, &mut |candidate| {
            tried += 1;
            candidate.windows(5).any(|window| window == b"X-Bad") && candidate.windows(2).any(|pair| pair == b"\n1")
        });
        assert_eq!(smallest, b"X-Bad\n1");
        assert!(tried <= TRIES_MAX);
    }

    #[test]
    fn content_is_shortened_together_with_its_length() {
        let whole = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let (head, content) = text.split_once("\r\n\r\n")?;
            let length: usize = head.split_once("Content-Length: ")?.1.parse().ok()?;
            let right = length == content.len() && content.starts_with("{\"") && text.starts_with("POST");
            right.then_some(())
        };
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 16\r\n\r\n{\"a\":1,\"b\":2345}";
        let smallest = minimize(bytes, &mut |candidate| whole(candidate).is_some());
        assert_eq!(smallest, b"POSTContent-Length: 2\r\n\r\n{\"");
    }
}
