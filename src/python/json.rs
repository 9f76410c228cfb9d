//! Python values as JSON text, byte for byte what the standard library writes.
//!
//! The contract is one expression: `json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False,
//! default=polygil._convert.dataclass_to_dict).encode()`. Where that raises, [`write`] raises as well, and where it gives bytes, [`write`]
//! gives the same ones; property tests hold the two side by side. It is written in Rust because it is on every answer's
//! path: no `str` is built, no list of chunks joined, nothing encoded at the end.
//!
//! The order of the questions (`str`, the three singletons, `int`, `float`, `list` or `tuple`, `dict`, the rest) and the oddities
//! of subclasses follow CPython's `Modules/_json.c`, `encoder_listencode_obj` and `encoder_encode_key_value`.

use std::cell::Cell;
use std::ffi::c_int;

use pyo3::ffi;

use super::ffi::{Gil, Object, PyResult, Recursion};

/// What [`write`] needs of its interpreter, looked up once.
pub struct Encoder<'i> {
    /// Turns a dataclass instance into a dict of its fields; raises TypeError for everything else.
    default: Object<'i>,
    value_error: Object<'i>,
    type_error: Object<'i>,
    memory_error: Object<'i>,
    /// Bytes of JSON at most.
    bytes_max: usize,
    /// Memory for [`Writer::open`].
    open: Cell<Vec<*mut ffi::PyObject>>,
}

impl<'i> Encoder<'i> {
    /// Looks up what the encoder uses; imports `polygil._convert`.
    ///
    /// What would be longer than `bytes_max` is a MemoryError, as is memory that there is not.
    pub fn new(gil: Gil<'i>, bytes_max: usize) -> PyResult<'i, Self> {
        let builtins = gil.import(c"builtins")?;
        Ok(Self {
            default: gil.import(c"polygil._convert")?.attr(c"dataclass_to_dict")?,
            value_error: builtins.attr(c"ValueError")?,
            type_error: builtins.attr(c"TypeError")?,
            memory_error: builtins.attr(c"MemoryError")?,
            bytes_max,
            open: Cell::default(),
        })
    }

    /// Appends `value` as JSON to `out`. On an error `out` may hold a part of it.
    ///
    /// Raises TypeError (no conversion), ValueError (NaN, infinities, cycles, integers over the digit limit),
    /// UnicodeEncodeError (lone surrogates) and RecursionError, as `json.dumps` and `str.encode` do.
    pub fn write(&self, value: &Object<'i>, out: &mut Vec<u8>) -> PyResult<'i, ()> {
        let mut writer = Writer { encoder: self, gil: value.gil(), open: self.open.take(), out };
        let written = writer.value(value);
        writer.open.clear();
        self.open.set(writer.open);
        written
    }
}

/// As much is written without asking for room: an ordinary number, a literal, what stands between two values.
const SCALAR_BYTES_MAX: usize = 32;

struct Writer<'e, 'i, 'o> {
    encoder: &'e Encoder<'i>,
    gil: Gil<'i>,
    /// The containers around the value being written, outermost first: meeting one again is a cycle.
    open: Vec<*mut ffi::PyObject>,
    out: &'o mut Vec<u8>,
}

impl<'i> Writer<'_, 'i, '_> {
    fn value(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        self.room_for(SCALAR_BYTES_MAX)?;
        let pointer = value.as_ptr();
        // SAFETY: attached, by the writer's `gil`; `value` is live; these macros only read its type and its address.
        unsafe {
            if ffi::PyUnicode_Check(pointer) != 0 {
                self.string(value)
            } else if pointer == ffi::Py_None() {
                self.literal(b"null")
            } else if pointer == ffi::Py_True() {
                self.literal(b"true")
            } else if pointer == ffi::Py_False() {
                self.literal(b"false")
            } else if ffi::PyLong_Check(pointer) != 0 {
                self.int(value)
            } else if ffi::PyFloat_Check(pointer) != 0 {
                self.float(value)
            } else if ffi::PyList_Check(pointer) != 0 {
                self.list(value)
            } else if ffi::PyTuple_Check(pointer) != 0 {
                self.tuple(value)
            } else if ffi::PyDict_Check(pointer) != 0 {
                self.dict(value)
            } else {
                self.other(value)
            }
        }
    }

    /// Makes room for so many bytes more, or says that there is none. A JSON text is longer than its value where that names one
    /// object many times, so its size is nothing that a handler has paid for.
    #[inline]
    fn room_for(&mut self, bytes: usize) -> PyResult<'i, ()> {
        if bytes <= self.out.capacity() - self.out.len() { Ok(()) } else { self.more_room(bytes) }
    }

    #[cold]
    fn more_room(&mut self, bytes: usize) -> PyResult<'i, ()> {
        let fits = self.out.len().saturating_add(bytes) <= self.encoder.bytes_max.saturating_add(SCALAR_BYTES_MAX);
        if fits && self.out.try_reserve(bytes).is_ok() {
            return Ok(());
        }
        Err(self.gil.exception(&self.encoder.memory_error, "no room for the JSON"))
    }

    fn literal(&mut self, text: &[u8]) -> PyResult<'i, ()> {
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn string(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        let text = value.to_str()?;
        self.room_for(text.len())?;
        write_string(text, self.out);
        Ok(())
    }

    /// `int.__repr__`, whatever a subclass (IntEnum) says of itself.
    fn int(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        let mut overflow: c_int = 0;
        // SAFETY: attached; an int or a subclass, so there is no conversion that could raise: only overflow.
        let small = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &raw mut overflow) };
        if overflow == 0 {
            self.out.extend_from_slice(itoa::Buffer::new().format(small).as_bytes());
            return Ok(());
        }
        // SAFETY: attached; int's own repr on an int; a new str, or null where the digits pass sys.int_info's limit.
        let digits = unsafe {
            let repr = ffi::PyLong_Type.tp_repr.expect("int has a repr");
            self.gil.own(repr(value.as_ptr()))?
        };
        let digits = digits.to_str()?.as_bytes();
        self.room_for(digits.len())?;
        self.out.extend_from_slice(digits);
        Ok(())
    }

    /// `float.__repr__`, whatever a subclass says of itself; NaN and the infinities are not JSON (RFC 8259, 6).
    fn float(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        // SAFETY: attached; a float or a subclass.
        let number = unsafe { ffi::PyFloat_AS_DOUBLE(value.as_ptr()) };
        if !number.is_finite() {
            let message = format!("Out of range float values are not JSON compliant: {}", value.display());
            return Err(self.gil.exception(&self.encoder.value_error, &message));
        }
        write_float(number, self.out);
        Ok(())
    }

    /// The size is asked again at each item: `default` runs Python code, which may shorten the list.
    fn list(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        // SAFETY: reads the type.
        if unsafe { ffi::PyList_CheckExact(value.as_ptr()) } == 0 {
            return self.sequence_subclass(value);
        }
        self.array(value, Object::list_item)
    }

    fn tuple(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        // SAFETY: reads the type.
        if unsafe { ffi::PyTuple_CheckExact(value.as_ptr()) } == 0 {
            return self.sequence_subclass(value);
        }
        self.array(value, Object::tuple_item)
    }

    /// A subclass speaks for itself through its iterator (`PySequence_Fast` takes only exact types as they are).
    fn sequence_subclass(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        self.nested(value, |writer| {
            // SAFETY: attached; any object; a new list of what it iterates over, or null with an exception.
            let items = unsafe { writer.gil.own(ffi::PySequence_List(value.as_ptr()))? };
            writer.items(&items, Object::list_item)
        })
    }

    fn array(
        &mut self,
        value: &Object<'i>,
        item: impl Fn(&Object<'i>, isize) -> Option<Object<'i>>,
    ) -> PyResult<'i, ()> {
        self.nested(value, |writer| writer.items(value, item))
    }

    fn items(
        &mut self,
        value: &Object<'i>,
        item: impl Fn(&Object<'i>, isize) -> Option<Object<'i>>,
    ) -> PyResult<'i, ()> {
        self.out.push(b'[');
        for (index, item) in (0..).map_while(|index| item(value, index)).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(&item)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn dict(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        // SAFETY: attached; a dict. An empty one is `{}` even where a subclass's items() says otherwise, as in _json.c.
        if unsafe { ffi::PyDict_Size(value.as_ptr()) } == 0 {
            return self.literal(b"{}");
        }
        // SAFETY: reads the type.
        if unsafe { ffi::PyDict_CheckExact(value.as_ptr()) } == 0 {
            return self.dict_subclass(value);
        }
        self.nested(value, |writer| {
            writer.out.push(b'{');
            for (index, (key, item)) in value.dict_items().enumerate() {
                writer.member(&key, &item, index == 0)?;
            }
            writer.out.push(b'}');
            Ok(())
        })
    }

    /// A subclass speaks for itself through `items()` (OrderedDict, defaultdict, ChainMap-like dicts).
    fn dict_subclass(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        self.nested(value, |writer| {
            // SAFETY: attached; a mapping; a new list, or null with an exception.
            let items = unsafe { writer.gil.own(ffi::PyMapping_Items(value.as_ptr()))? };
            writer.out.push(b'{');
            for (index, pair) in (0..).map_while(|index| items.list_item(index)).enumerate() {
                let (Some(key), Some(item), None) = (pair.tuple_item(0), pair.tuple_item(1), pair.tuple_item(2)) else {
                    return Err(writer.gil.exception(&writer.encoder.value_error, "items must return 2-tuples"));
                };
                writer.member(&key, &item, index == 0)?;
            }
            writer.out.push(b'}');
            Ok(())
        })
    }

    fn member(&mut self, key: &Object<'i>, item: &Object<'i>, first: bool) -> PyResult<'i, ()> {
        if !first {
            self.out.push(b',');
        }
        self.key(key)?;
        self.out.push(b':');
        self.value(item)
    }

    /// Keys are strings in JSON: numbers and the singletons become one, anything else is refused.
    fn key(&mut self, key: &Object<'i>) -> PyResult<'i, ()> {
        let pointer = key.as_ptr();
        // SAFETY: attached; `key` is live; these macros only read its type and its address.
        unsafe {
            if ffi::PyUnicode_Check(pointer) != 0 {
                return self.string(key);
            }
            self.out.push(b'"');
            if ffi::PyFloat_Check(pointer) != 0 {
                self.float(key)?;
            } else if pointer == ffi::Py_True() {
                self.literal(b"true")?;
            } else if pointer == ffi::Py_False() {
                self.literal(b"false")?;
            } else if pointer == ffi::Py_None() {
                self.literal(b"null")?;
            } else if ffi::PyLong_Check(pointer) != 0 {
                self.int(key)?;
            } else {
                let message = format!("keys must be str, int, float, bool or None, not {}", key.type_name());
                return Err(self.gil.exception(&self.encoder.type_error, &message));
            }
        }
        self.out.push(b'"');
        Ok(())
    }

    fn other(&mut self, value: &Object<'i>) -> PyResult<'i, ()> {
        self.nested(value, |writer| {
            let replacement = writer.encoder.default.call(&[value])?;
            writer.value(&replacement)
        })
    }

    /// One level deeper: counted against the interpreter's recursion limit, and watched for cycles.
    fn nested(&mut self, container: &Object<'i>, body: impl FnOnce(&mut Self) -> PyResult<'i, ()>) -> PyResult<'i, ()> {
        let _level = Recursion::enter(self.gil, c" while encoding a JSON object")?;
        if self.open.contains(&container.as_ptr()) {
            return Err(self.gil.exception(&self.encoder.value_error, "Circular reference detected"));
        }
        self.open.push(container.as_ptr());
        body(self)?;
        self.open.pop();
        Ok(())
    }
}

/// Appends a finite number as `float.__repr__` writes it: the fewest digits that are read back as the same number, of these the nearest
/// to it, and between two the even one. zmij finds the same digits as CPython's `_Py_dg_dtoa`, many times faster; the form is CPython's
/// (`Python/pystrtod.c`, `format_float_short`): with an exponent where the point would be more than 16 places to the right or 4 to the
/// left.
fn write_float(number: f64, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number.abs());
    let (text, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let exponent: i32 = exponent.parse().expect("an exponent that fits");
    // The digits of both, without zeros before and behind; one zero where there are no others.
    let mut digits = [b'0'; 40];
    digits[..whole.len()].copy_from_slice(whole.as_bytes());
    let end = whole.len() + fraction.len();
    digits[whole.len()..end].copy_from_slice(fraction.as_bytes());
    let zeros = digits[..end].iter().take_while(|digit| **digit == b'0').count();
    let behind = digits[..end].iter().rev().take_while(|digit| **digit == b'0').count();
    let (digits, point) = if zeros == end {
        (&digits[..1], 1)
    } else {
        (&digits[zeros..end - behind], whole.len() as i32 + exponent - zeros as i32)
    };
    let count = digits.len();

    if number.is_sign_negative() {
        out.push(b'-');
    }
    // `point` digits stand before the point.
    if point > 16 || point <= -4 {
        let exponent = point - 1;
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let point = point as usize;
        out.extend_from_slice(&digits[..point.min(count)]);
        out.resize(out.len() + point.saturating_sub(count), b'0');
        out.push(b'.');
        out.extend_from_slice(if point < count { &digits[point..] } else { b"0" });
    }
}

/// Appends a JSON string: quote, backslash and the controls below U+0020 escaped, everything else as it is.
fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
