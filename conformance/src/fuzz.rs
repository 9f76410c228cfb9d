//! Requests that nobody wrote: from a grammar, and by mutation of the suite's own; the same seed gives the same requests.

/// Numbers from a seed (SplitMix64): the same everywhere, for ever.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"];
const TARGETS: [&str; 18] = [
    "/value/int",
    "/value/dict",
    "/value/str",
    "/value/none",
    "/value/float",
    "/path/7",
    "/path/x",
    "/path/text/a%20b",
    "/path/rest/a/b",
    "/query?text=a&number=1",
    "/query?tag=a&tag=b",
    "/body",
    "/body/raw",
    "/echo/x",
    "/nowhere",
    "/",
    "*",
    "http://<<host>>/value/int",
];
const FIELDS: [&str; 20] = [
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: +3",
    "Content-Type: application/json",
    "X-A: b",
    "X-A:  b ",
    "X-A:",
    "X A: b",
    "X-A : b",
    ": b",
    "Host: other",
    "X-A: a\r\n b",
    "Cookie: a=b; c=d",
    "Accept: */*",
    "Upgrade: h2c",
];
const BODIES: [&str; 8] =
    ["", "[1]", "{\"a\":1}", "3\r\n[1]\r\n0\r\n\r\n", "0\r\n\r\n", "3;x\r\n[1]\r\n0\r\nT: u\r\n\r\n", "\"x\"", "{bad"];
const WORDS: [&str; 16] = [
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    "%00",
    "%2f",
    "chunked",
    "HTTP/1.1",
    "HTTP/1.0",
    "\u{ff}",
    "Content-Length: 1\r\n",
    "0\r\n\r\n",
];

/// The bytes of a request, with `<<host>>` where the server's address belongs. `seeds` are requests to mutate.
pub fn generate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = if seeds.is_empty() || random.below(2) == 0 {
        grammar(random)
    } else {
        seeds[random.below(seeds.len())].clone()
    };
    if random.below(4) > 0 {
        for _ in 0..1 + random.below(3) {
            mutate(random, &mut bytes, seeds);
        }
    }
    bytes
}

fn grammar(random: &mut Random) -> Vec<u8> {
    let version = random.one(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let mut text = format!("{} {} {version}\r\nHost: <<host>>\r\n", random.one(&METHODS), random.one(&TARGETS));
    for _ in 0..random.below(4) {
        text.push_str(random.one(&FIELDS));
        text.push_str("\r\n");
    }
    let body = random.one(&BODIES);
    if !body.is_empty() && random.below(2) == 0 {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] = (random.draw() & 0xff) as u8,
        1 => {
            bytes.remove(at);
        }
        2 => {
            let word: Vec<u8> = random.one(&WORDS).chars().map(|char| char as u8).collect();
            bytes.splice(at..at, word);
        }
        3 => {
            // A line twice.
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |found| found + 1);
            let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |found| at + found + 1);
            let line = bytes[start..end].to_vec();
            bytes.splice(start..start, line);
        }
        4 if !seeds.is_empty() => {
            let other = &seeds[random.below(seeds.len())];
            let cut = random.below(other.len().max(1));
            bytes.truncate(at);
            bytes.extend_from_slice(&other[cut..]);
        }
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let requests = |seed| {
            let mut random = Random::new(seed);
            (0..50).map(|_| generate(&mut random, &[b"GET / HTTP/1.1\r\n\r\n".to_vec()])).collect::<Vec<_>>()
        };
        assert_eq!(requests(7), requests(7));
        assert_ne!(requests(7), requests(8));
    }
}
