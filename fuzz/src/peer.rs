//! The other implementation: `http-net`, which shares no code with polygil, as a client that reads our answers and as a server
//! that reads the same requests.

use http_net::{BodyFraming, ClientConn, ClientEvent, HttpError, Limits, Request, ServerConn, ServerEvent};

/// Field lines: names in lower case, values without the white space around them.
pub type Fields = Vec<(String, Vec<u8>)>;

/// A response as its client read it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Its fields, in order.
    pub fields: Fields,
    /// Its content.
    pub body: Vec<u8>,
    /// Whether the client would send another request on the connection.
    pub reusable: bool,
    /// Whether its end was in it, and not the connection's.
    pub delimited: bool,
}

impl Answer {
    /// The values of the fields of this name, which is in lower case.
    pub fn named(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(given, _)| given == name).map(|(_, value)| &value[..]).collect()
    }
}

fn wide() -> Limits {
    Limits::new()
        .with_max_start_line(1 << 20)
        .with_max_headers(1 << 16)
        .with_max_header_bytes(1 << 20)
        .with_max_field_line(1 << 20)
        .with_max_body(1 << 20)
}

/// Reads one response to a request of this method; gives what stands behind it, too.
pub fn response<'b>(method: &str, bytes: &'b [u8]) -> Result<(Answer, &'b [u8]), String> {
    let mut client = ClientConn::with_limits(wide());
    let request = Request::new(method, "/").header("host", "a");
    client.send_request(&request, &mut Vec::new()).map_err(|error| error.to_string())?;
    let mut rest = bytes;
    let mut answer = Answer {
        status: 0,
        reason: String::new(),
        fields: Vec::new(),
        body: Vec::new(),
        reusable: false,
        delimited: true,
    };
    loop {
        match client.poll().map_err(|error| error.to_string())? {
            ClientEvent::NeedInput if rest.is_empty() && !answer.delimited => client.feed_eof(),
            ClientEvent::NeedInput => {
                let taken = client.feed(rest);
                if taken == 0 {
                    return Err("the response is not whole".into());
                }
                rest = &rest[taken..];
            }
            ClientEvent::Response(head) => {
                answer.status = head.status();
                answer.reason = head.reason().to_owned();
                answer.fields = fields(head.headers());
                answer.delimited = head.framing() != BodyFraming::UntilClose;
                answer.reusable = head.keep_alive();
            }
            ClientEvent::Body(bytes) => answer.body.extend_from_slice(bytes),
            ClientEvent::ResponseEnd => break,
            other => return Err(format!("{other:?}")),
        }
    }
    let left = client.remaining_input().len() + rest.len();
    Ok((answer, &bytes[bytes.len() - left..]))
}

/// All responses in `bytes`, each to a request of the method at its place; the last of these stands for all that follow.
pub fn responses(methods: &[&str], mut bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let method = methods.get(answers.len()).or(methods.last()).copied().unwrap_or("GET");
        let (answer, rest) = response(method, bytes)?;
        answers.push(answer);
        bytes = rest;
    }
    Ok(answers)
}

/// A request as the other server read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The method, as sent.
    pub method: String,
    /// The target, as sent.
    pub target: String,
    /// The fields, in order.
    pub fields: Fields,
    /// The content, decoded.
    pub body: Vec<u8>,
}

/// How the other server's reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There was nothing left, or nothing left that it would look at.
    Closed,
    /// It refused.
    Refused(HttpError),
}

/// Everything that the other server reads in `bytes` and the end of input.
pub fn requests(bytes: &[u8]) -> (Vec<Read>, End) {
    let mut server = ServerConn::with_limits(wide());
    let mut read: Vec<Read> = Vec::new();
    let mut present = None;
    let mut rest = bytes;
    let mut out = Vec::new();
    loop {
        match server.poll() {
            Err(error) => return (read, End::Refused(error)),
            Ok(ServerEvent::NeedInput) if rest.is_empty() => server.feed_eof(),
            Ok(ServerEvent::NeedInput) => {
                let taken = server.feed(rest);
                assert!(taken > 0, "the other server takes input when it asks for it");
                rest = &rest[taken..];
            }
            Ok(ServerEvent::Request(head)) => {
                present = Some(Read {
                    method: head.method_str().to_owned(),
                    target: head.target().to_owned(),
                    fields: fields(head.headers()),
                    body: Vec::new(),
                });
            }
            Ok(ServerEvent::Body(bytes)) => {
                if let Some(request) = &mut present {
                    request.body.extend_from_slice(bytes);
                }
            }
            Ok(ServerEvent::RequestEnd) => {
                read.extend(present.take());
                if server.respond(&http_net::Response::new(200), &mut out).is_err() {
                    return (read, End::Closed);
                }
            }
            Ok(_) => return (read, End::Closed),
        }
    }
}

fn fields<'h, V: AsRef<[u8]>>(headers: impl Iterator<Item = (&'h str, V)>) -> Fields {
    headers.map(|(name, value)| (name.to_ascii_lowercase(), value.as_ref().to_vec())).collect()
}
