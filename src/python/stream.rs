//! A content that a handler makes piece by piece: its iterator, and the rules for what it may yield.
//!
//! `str` (as UTF-8) and what is like `bytes`; anything else breaks the content off, because to guess would be to send something
//! that nobody wrote. Empty pieces are passed over. Runs in the worker, attached; only owned bytes leave.

use pyo3::ffi;

use super::ffi::{Object, Raised};

/// The iterator behind a content.
pub struct Pieces<'i>(Object<'i>);

/// What it yielded, not empty.
pub struct Piece {
    /// The bytes to send.
    pub bytes: Vec<u8>,
    /// It was a `str`.
    pub is_text: bool,
}

/// Why there is no further piece, and no end either.
pub enum Broken<'i> {
    /// The iterator raised.
    Raised(Raised<'i>),
    /// It yielded what cannot be sent.
    NotAPiece(String),
}

impl<'i> Pieces<'i> {
    /// The pieces of an iterator; None for everything else, lists and other iterables included.
    pub fn of(value: &Object<'i>) -> Option<Pieces<'i>> {
        // SAFETY: attached, by the object's own proof; reads the type of a live object.
        (unsafe { ffi::PyIter_Check(value.as_ptr()) } != 0).then(|| Pieces(value.clone()))
    }

    /// The next piece; None at the end. Runs the handler's code.
    pub fn next(&self) -> Result<Option<Piece>, Broken<'i>> {
        let gil = self.0.gil();
        loop {
            // SAFETY: attached; a live iterator; a new reference, or null, at the end without an exception.
            let item = unsafe {
                let item = ffi::PyIter_Next(self.0.as_ptr());
                if item.is_null() && ffi::PyErr_Occurred().is_null() {
                    return Ok(None);
                }
                gil.own(item)
            };
            let piece = piece(&item.map_err(Broken::Raised)?)?;
            if !piece.bytes.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Nobody wants the rest: a generator's `finally` blocks and context managers run now, not when it happens to be freed.
    pub fn close(self) -> Result<(), Raised<'i>> {
        match self.0.attr(c"close") {
            Ok(close) => close.call(&[]).map(drop),
            // Iterators need not have it.
            Err(_) => Ok(()),
        }
    }
}

fn piece<'i>(item: &Object<'i>) -> Result<Piece, Broken<'i>> {
    let pointer = item.as_ptr();
    // SAFETY: attached; these macros only read the type of a live object.
    let (is_text, is_bytes_like) = unsafe {
        let bytes_like = ffi::PyBytes_Check(pointer) != 0
            || ffi::PyByteArray_Check(pointer) != 0
            || ffi::PyMemoryView_Check(pointer) != 0;
        (ffi::PyUnicode_Check(pointer) != 0, bytes_like)
    };
    if is_text {
        let bytes = item.to_str().map_err(Broken::Raised)?.as_bytes().to_vec();
        return Ok(Piece { bytes, is_text });
    }
    if !is_bytes_like {
        return Err(Broken::NotAPiece(format!("a content yields str or bytes, not {}", item.type_name())));
    }
    // SAFETY: attached; takes any object with a buffer; a new reference, or null with an exception (a released view).
    let bytes = unsafe { item.gil().own(ffi::PyBytes_FromObject(pointer)) };
    let bytes = bytes.map_err(Broken::Raised)?;
    let bytes = bytes.to_bytes().map_err(Broken::Raised)?.to_vec();
    Ok(Piece { bytes, is_text })
}
