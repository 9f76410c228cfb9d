//! What a handler returned → status, headers and content bytes: the table of return values, in Rust.
//!
//! Runs in the worker, attached; only owned bytes leave. A value that the table does not name is refused with a message that
//! names its type and where it stood, never guessed at. What the headers may *say* is judged here only as far as types go;
//! framing (CR and LF, Content-Length) is `http::encode`'s to refuse, for every response alike.

use std::borrow::Cow;

use pyo3::ffi;

use super::ffi::{Gil, Object, PyResult, Raised};
use super::json::Encoder;
use super::stream::Pieces;
use crate::http::Response;

const JSON: &[u8] = b"application/json";
const TEXT: &[u8] = b"text/plain; charset=utf-8";
const OCTETS: &[u8] = b"application/octet-stream";

/// The converter of one interpreter: its classes, looked up once.
pub struct Converter<'i> {
    encoder: Encoder<'i>,
    response: Object<'i>,
    type_error: Object<'i>,
    memory_error: Object<'i>,
    bytes_max: usize,
}

/// Why a value has no response.
pub enum Refused<'i> {
    /// The table has no row for it; says which type, where, and what would do.
    Unserializable(String),
    /// Its content is larger than all contents may be, or than the memory that is left.
    NoRoom,
    /// An exception that is not about serialization went through Python code that conversion ran: the budget's interrupt,
    /// SystemExit, KeyboardInterrupt.
    Interrupted(Raised<'i>),
}

type Headers = Vec<(Cow<'static, str>, Cow<'static, [u8]>)>;

/// A handler's value as a response.
pub enum Converted<'i> {
    /// All of it.
    Whole(Response),
    /// Its head, and the content that is still to be made; without a content-type unless the handler gave one.
    Streamed(Response, Pieces<'i>),
}

/// A content and the media type that goes with it unless the handler says another.
struct Content<'i> {
    media_type: Option<&'static [u8]>,
    body: Body<'i>,
}

enum Body<'i> {
    Bytes(Vec<u8>),
    Pieces(Pieces<'i>),
}

impl<'i> Converter<'i> {
    /// Looks up what conversion uses; imports `polygil`. `bytes_max` bounds a content that is made at once.
    pub fn new(gil: Gil<'i>, bytes_max: u64) -> PyResult<'i, Self> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Self {
            encoder: Encoder::new(gil, bytes_max)?,
            memory_error: gil.import(c"builtins")?.attr(c"MemoryError")?,
            bytes_max,
            response: gil.import(c"polygil")?.attr(c"Response")?,
            type_error: gil.import(c"builtins")?.attr(c"TypeError")?,
        })
    }

    /// The response for a handler's return value, in the memory of `spare`, which is empty.
    pub fn response(&self, value: &Object<'i>, spare: Response) -> Result<Converted<'i>, Refused<'i>> {
        let Response { headers, body, .. } = spare;
        // SAFETY: attached; reads the type of a live object. Exact tuples only: a namedtuple is somebody's record.
        if unsafe { ffi::PyTuple_CheckExact(value.as_ptr()) } != 0 {
            return self.tuple(value, body);
        }
        if value.is_instance(&self.response) {
            return self.response_object(value, body);
        }
        let content = self.content(value, body)?;
        let status = if value.is_none() { 204 } else { 200 };
        assemble(status, headers, content)
    }

    /// `{"detail": …}` under the exception's own status and headers.
    pub fn http_exception(&self, exception: &Object<'i>) -> Result<Response, Refused<'i>> {
        let status = self.status(&self.attribute(exception, c"status_code")?)?;
        let headers = self.headers(&self.attribute(exception, c"headers")?)?;
        let detail = self.attribute(exception, c"detail")?;
        if matches!(status, 204 | 304) {
            return Ok(whole(status, headers, None, Vec::new()));
        }
        let mut body = b"{\"detail\":".to_vec();
        self.json(&detail, &mut body)?;
        body.push(b'}');
        bodiless(status, body.is_empty())?;
        Ok(whole(status, headers, Some(JSON), body))
    }

    /// The JSON of any value, as the converter writes it (422 details, tests).
    pub fn json(&self, value: &Object<'i>, out: &mut Vec<u8>) -> Result<(), Refused<'i>> {
        self.encoder.write(value, out).map_err(|raised| self.refuse(value, raised))
    }

    fn tuple(&self, value: &Object<'i>, body: Vec<u8>) -> Result<Converted<'i>, Refused<'i>> {
        let items = value.tuple_items();
        let (content, status, headers) = match items.as_slice() {
            [content, status] => (content, status, Vec::new()),
            [content, status, headers] => (content, status, self.headers(headers)?),
            _ => {
                let length = items.len();
                return Err(Refused::Unserializable(format!(
                    "a tuple of {length} is not a response: return (value, status) or (value, status, headers)"
                )));
            }
        };
        let status = self.status(status)?;
        assemble(status, headers, self.content(content, body)?)
    }

    fn response_object(&self, value: &Object<'i>, body: Vec<u8>) -> Result<Converted<'i>, Refused<'i>> {
        let status = self.status(&self.attribute(value, c"status_code")?)?;
        let mut headers = self.headers(&self.attribute(value, c"headers")?)?;
        let content = self.attribute(value, c"content")?;
        let media_type = self.attribute(value, c"media_type")?;
        let mut content = self.content(&content, body)?;
        if !media_type.is_none() && !names(&headers, "content-type") {
            content.media_type = None;
            let media_type = self.field_text(&media_type, "media_type")?;
            headers.push((Cow::Borrowed("content-type"), media_type.into()));
        }
        assemble(status, headers, content)
    }

    /// The rows of the table that are a content by themselves; bytes go into `body`, which is empty.
    fn content(&self, value: &Object<'i>, mut body: Vec<u8>) -> Result<Content<'i>, Refused<'i>> {
        let bytes = |media_type, bytes| Ok(Content { media_type, body: Body::Bytes(bytes) });
        let pointer = value.as_ptr();
        // SAFETY: attached; these macros only read the type of a live object.
        let (is_str, is_bytes_like, is_json) = unsafe {
            (
                ffi::PyUnicode_Check(pointer) != 0,
                ffi::PyBytes_Check(pointer) != 0
                    || ffi::PyByteArray_Check(pointer) != 0
                    || ffi::PyMemoryView_Check(pointer) != 0,
                ffi::PyDict_Check(pointer) != 0
                    || ffi::PyList_Check(pointer) != 0
                    || ffi::PyLong_Check(pointer) != 0
                    || ffi::PyFloat_Check(pointer) != 0,
            )
        };
        if value.is_none() {
            return bytes(None, body);
        }
        if is_str {
            let text = value.to_str().map_err(|raised| self.refuse(value, raised))?;
            self.append(text.as_bytes(), &mut body)?;
            return bytes(Some(TEXT), body);
        }
        if is_bytes_like {
            // SAFETY: attached; takes any object with a buffer; a new reference, or null with an exception (a released view).
            let octets = unsafe { value.gil().own(ffi::PyBytes_FromObject(pointer)) };
            let octets = octets.map_err(|raised| self.refuse(value, raised))?;
            self.append(octets.to_bytes().map_err(|raised| self.refuse(value, raised))?, &mut body)?;
            return bytes(Some(OCTETS), body);
        }
        if is_json || is_dataclass_instance(value) {
            body.reserve(64);
            self.json(value, &mut body)?;
            return bytes(Some(JSON), body);
        }
        if let Some(pieces) = Pieces::of(value) {
            return Ok(Content { media_type: None, body: Body::Pieces(pieces) });
        }
        Err(Refused::Unserializable(format!(
            "a handler returned {}, which has no response: return dict, list, int, float, bool, str, bytes, None, a dataclass, \
             a generator of str or bytes, (value, status[, headers]) or polygil.Response",
            value.type_name()
        )))
    }

    /// Copies a content, if it may be so large and there is memory for it.
    fn append(&self, content: &[u8], body: &mut Vec<u8>) -> Result<(), Refused<'i>> {
        if content.len() > self.bytes_max || body.try_reserve(content.len()).is_err() {
            return Err(Refused::NoRoom);
        }
        body.extend_from_slice(content);
        Ok(())
    }

    fn status(&self, value: &Object<'i>) -> Result<u16, Refused<'i>> {
        // SAFETY: attached; reads the type of a live object.
        let is_int = unsafe { ffi::PyLong_Check(value.as_ptr()) != 0 && ffi::PyBool_Check(value.as_ptr()) == 0 };
        let status = if is_int { value.to_i64().ok().and_then(|status| u16::try_from(status).ok()) } else { None };
        status.filter(|status| (200..=599).contains(status)).ok_or_else(|| {
            Refused::Unserializable(format!("a status is an int from 200 to 599, not {}", self.shown(value)))
        })
    }

    /// A mapping of names to values (or to lists of values), or an iterable of pairs.
    fn headers(&self, value: &Object<'i>) -> Result<Headers, Refused<'i>> {
        if value.is_none() {
            return Ok(Vec::new());
        }
        let wrong = |found: &Object<'i>| {
            Refused::Unserializable(format!(
                "headers are a dict of str to str, or a list of (name, value) pairs, not {}",
                found.type_name()
            ))
        };
        // SAFETY: attached; checks the type, then asks a dict for its items.
        let pairs = unsafe {
            if ffi::PyDict_Check(value.as_ptr()) != 0 {
                value.gil().own(ffi::PyDict_Items(value.as_ptr()))
            } else {
                value.gil().own(ffi::PySequence_List(value.as_ptr()))
            }
        };
        let pairs = pairs.map_err(|raised| self.interrupted(raised).unwrap_or_else(|| wrong(value)))?;
        // SAFETY: attached; a list; a new tuple of its items.
        let pairs = unsafe { value.gil().own(ffi::PyList_AsTuple(pairs.as_ptr())) };
        let pairs = pairs.map_err(Refused::Interrupted)?.tuple_items();
        let mut headers = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let items = pair.tuple_items();
            let [name, value] = items.as_slice() else { return Err(wrong(&pair)) };
            let name = String::from_utf8(self.field_text(name, "a header's name")?);
            let name = name.map_err(|_| Refused::Unserializable("a header's name is ASCII".into()))?;
            let value = self.field_text(value, &format!("header {name:?}"))?;
            headers.push((Cow::Owned(name), Cow::Owned(value)));
        }
        Ok(headers)
    }

    /// A `str` as the octets of a field value: ISO-8859-1, as the request's values are read.
    fn field_text(&self, value: &Object<'i>, what: &str) -> Result<Vec<u8>, Refused<'i>> {
        // SAFETY: attached; reads the type; encoding gives a new bytes object, or null with an exception.
        unsafe {
            if ffi::PyUnicode_Check(value.as_ptr()) == 0 {
                return Err(Refused::Unserializable(format!("{what} is a str, not {}", value.type_name())));
            }
            let bytes = value.gil().own(ffi::PyUnicode_AsLatin1String(value.as_ptr()));
            let bytes = bytes.and_then(|bytes| bytes.to_bytes().map(<[u8]>::to_vec));
            bytes.map_err(|_| Refused::Unserializable(format!("{what} has characters outside ISO-8859-1")))
        }
    }

    fn attribute(&self, value: &Object<'i>, name: &std::ffi::CStr) -> Result<Object<'i>, Refused<'i>> {
        value.attr(name).map_err(|raised| self.refuse(value, raised))
    }

    /// A value in a message: its repr's beginning.
    fn shown(&self, value: &Object<'i>) -> String {
        // SAFETY: attached; a live object; a new str, or null with an exception.
        let repr = unsafe { value.gil().own(ffi::PyObject_Repr(value.as_ptr())) };
        let repr = repr.and_then(|repr| repr.to_str().map(|text| text.chars().take(60).collect()));
        repr.unwrap_or_else(|_| value.type_name())
    }

    fn refuse(&self, value: &Object<'i>, raised: Raised<'i>) -> Refused<'i> {
        if raised.is(&self.memory_error) {
            return Refused::NoRoom;
        }
        let type_name = value.type_name();
        self.interrupted_or(raised, |raised| {
            let summary = raised.summary();
            let kind = if raised.is(&self.type_error) { "cannot be written as JSON" } else { "cannot be written" };
            Refused::Unserializable(format!("the handler's {type_name} {kind}: {summary}"))
        })
    }

    fn interrupted(&self, raised: Raised<'i>) -> Option<Refused<'i>> {
        let ordinary = is_ordinary(&raised);
        (!ordinary).then_some(Refused::Interrupted(raised))
    }

    fn interrupted_or(&self, raised: Raised<'i>, ordinary: impl FnOnce(Raised<'i>) -> Refused<'i>) -> Refused<'i> {
        if is_ordinary(&raised) { ordinary(raised) } else { Refused::Interrupted(raised) }
    }
}

/// Whether it is an `Exception`: what a failed conversion raises. The others (HandlerTimeout, SystemExit) are not about it.
fn is_ordinary(raised: &Raised<'_>) -> bool {
    // SAFETY: attached, by the exception's own proof; PyExc_Exception is a static type, live in every interpreter.
    unsafe { raised.is(&raised.0.gil().share(ffi::PyExc_Exception)) }
}

/// An instance (not the class itself) of something that `@dataclass` made.
fn is_dataclass_instance(value: &Object<'_>) -> bool {
    // SAFETY: attached; every live object has a type; a type object is not an instance of a dataclass.
    unsafe {
        let class = value.gil().share(ffi::Py_TYPE(value.as_ptr()).cast());
        ffi::PyType_Check(value.as_ptr()) == 0 && class.attr(c"__dataclass_fields__").is_ok()
    }
}

fn names(headers: &[(Cow<'static, str>, Cow<'static, [u8]>)], name: &str) -> bool {
    headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
}

fn assemble<'i>(status: u16, headers: Headers, content: Content<'i>) -> Result<Converted<'i>, Refused<'i>> {
    match content.body {
        Body::Bytes(body) => {
            bodiless(status, body.is_empty())?;
            Ok(Converted::Whole(whole(status, headers, content.media_type, body)))
        }
        Body::Pieces(pieces) => {
            bodiless(status, false)?;
            let head = Response { status, headers, body: Vec::new(), close: false };
            Ok(Converted::Streamed(head, pieces))
        }
    }
}

fn bodiless<'i>(status: u16, is_empty: bool) -> Result<(), Refused<'i>> {
    if matches!(status, 204 | 205 | 304) && !is_empty {
        return Err(Refused::Unserializable(format!("a response with status {status} has no content (RFC 9110, 15)")));
    }
    Ok(())
}

fn whole(status: u16, mut headers: Headers, media_type: Option<&'static [u8]>, body: Vec<u8>) -> Response {
    if let Some(media_type) = media_type
        && !matches!(status, 204 | 205 | 304)
    {
        default_type(&mut headers, media_type);
    }
    Response { status, headers, body, close: false }
}

/// The content-type, unless the handler gave one.
fn default_type(headers: &mut Headers, media_type: &'static [u8]) {
    if !names(headers, "content-type") {
        headers.insert(0, (Cow::Borrowed("content-type"), Cow::Borrowed(media_type)));
    }
}

/// The content-type of a content that is made in pieces, by its first one, unless the handler gave one.
pub fn type_by_first_piece(head: &mut Response, is_text: bool) {
    default_type(&mut head.headers, if is_text { TEXT } else { OCTETS });
}
