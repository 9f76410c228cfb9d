//! Owned and borrowed references that cannot leave their interpreter: the floor on which everything in `python` stands.
//!
//! [`Gil<'i>`] is the proof that this thread is attached to one interpreter, and `'i` is that interpreter's brand: each
//! attachment ([`crate::python::interpreter::Interpreter::run`]) makes a new, invariant lifetime, so an [`Object<'i>`] of one
//! interpreter cannot be stored where another's belongs, cannot be sent to another thread (`*mut` makes it `!Send`), and
//! cannot outlive the attachment. Those are compile errors, not rules to remember.
//!
//! What this file must never do: use PyO3's safe layer, whose process-wide state (`Python::attach`, `PyOnceLock`, the pool
//! of deferred decrefs) belongs to the main interpreter; call `PyGILState_*`, which binds a fresh thread to *main*.

use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::ffi::PyObject;

/// Proof that this thread holds the GIL of the interpreter branded `'i`.
#[derive(Clone, Copy)]
pub struct Gil<'i> {
    // Invariant in 'i, so that brands never unify; a raw pointer, so that the proof stays on its thread.
    brand: PhantomData<*mut &'i mut ()>,
}

/// The Python exception that a call left behind, taken off the thread state.
pub struct Raised<'i>(pub Object<'i>);

/// What a call into Python gives: a value, or the exception it raised.
pub type PyResult<'i, T> = Result<T, Raised<'i>>;

/// A strong reference to an object of the interpreter branded `'i`.
pub struct Object<'i> {
    pointer: NonNull<PyObject>,
    gil: Gil<'i>,
}

/// Takes the GIL back when it is dropped, by unwinding too: the frames above own Python objects. It stays on its thread.
struct Attach(*mut ffi::PyThreadState);

impl Drop for Attach {
    fn drop(&mut self) {
        // SAFETY: the thread state was saved by this very thread (a pointer keeps `Self` from being sent) and no other is
        // attached to it.
        unsafe { ffi::PyEval_RestoreThread(self.0) }
    }
}

/// What [`Gil::detached_lending`] lends: out of reach until this thread is attached again.
pub struct Lent<'a, S> {
    lent: &'a mut S,
    attach: Attach,
}

impl<S> Lent<'_, S> {
    /// Runs `body` with the GIL.
    pub fn attached<R>(&mut self, body: impl FnOnce(&mut S) -> R) -> R {
        /// Gives the GIL away again when `body` ends, by unwinding too: `Attach` is going to take it.
        struct Detach;
        impl Drop for Detach {
            fn drop(&mut self) {
                // SAFETY: made right after this thread was attached, which `body` leaves as it is.
                unsafe { ffi::PyEval_SaveThread() };
            }
        }
        // SAFETY: as for `Attach`: its own thread, which is detached between two calls of this function.
        unsafe { ffi::PyEval_RestoreThread(self.attach.0) };
        let detach = Detach;
        let result = body(self.lent);
        drop(detach);
        result
    }
}

impl<'i> Gil<'i> {
    /// Takes the caller's word that this thread is attached to the interpreter that `'i` stands for.
    ///
    /// # Safety
    /// The calling thread has an attached thread state, holds its interpreter's GIL for all of `'i` (but for the inside of
    /// [`Gil::detached`]), and `'i` brands no other interpreter.
    pub unsafe fn assume() -> Self {
        Self { brand: PhantomData }
    }

    /// Runs `body` without the GIL, so that threads which handlers started can run, then takes the GIL back.
    ///
    /// `body` is `Send`, which no [`Object`] and no [`Gil`] is: it cannot touch Python.
    pub fn detached<R>(self, body: impl FnOnce() -> R + Send) -> R {
        // SAFETY: `self` proves that this thread is attached, so there is a thread state to save.
        let attach = Attach(unsafe { ffi::PyEval_SaveThread() });
        let result = body();
        drop(attach);
        result
    }

    /// As [`Gil::detached`], for a `body` that comes back now and then: only attached again does it get at `lent`.
    pub fn detached_lending<S, R>(self, lent: &mut S, body: impl FnOnce(&mut Lent<'_, S>) -> R + Send) -> R {
        // SAFETY: `self` proves that this thread is attached, so there is a thread state to save.
        let state = unsafe { ffi::PyEval_SaveThread() };
        let mut lent = Lent { lent, attach: Attach(state) };
        body(&mut lent)
    }

    /// Runs `body` in a copy of this thread's current context (PEP 567): what it sets there is gone afterwards.
    ///
    /// It costs about 50 ns: contexts come from a list of free ones, and a copy shares what it does not change.
    pub fn in_own_context<R>(self, body: impl FnOnce() -> R) -> PyResult<'i, R> {
        /// Leaves the context when `body` ends, by unwinding too.
        struct Exit<'a, 'i>(&'a Object<'i>);
        impl Drop for Exit<'_, '_> {
            fn drop(&mut self) {
                // SAFETY: attached; a live context object. It refuses one that is not the current one, with an exception that is
                // taken off here: what ran did not leave its own contexts, and there is nobody to tell.
                unsafe {
                    if ffi::PyContext_Exit(self.0.as_ptr()) != 0 {
                        ffi::PyErr_Clear();
                    }
                }
            }
        }
        // SAFETY: attached; gives a new reference, or null with an exception.
        let context = unsafe { self.own(ffi::PyContext_CopyCurrent()) }?;
        // SAFETY: attached; the context is live and nobody else has it, so that it is not entered yet.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
            return Err(self.raised());
        }
        let exit = Exit(&context);
        let result = body();
        drop(exit);
        Ok(result)
    }

    /// An owned reference out of a pointer that a C function returned as a *new* reference; null means it raised.
    ///
    /// # Safety
    /// `pointer` is null with an exception set, or a new reference to an object of this interpreter.
    pub unsafe fn own(self, pointer: *mut PyObject) -> PyResult<'i, Object<'i>> {
        match NonNull::new(pointer) {
            Some(pointer) => Ok(Object { pointer, gil: self }),
            None => Err(self.raised()),
        }
    }

    /// An owned reference out of a *borrowed*, non-null pointer.
    ///
    /// # Safety
    /// `pointer` is not null and points to a live object of this interpreter.
    pub unsafe fn share(self, pointer: *mut PyObject) -> Object<'i> {
        // SAFETY: the caller vouches for the pointer; `self` proves the GIL that guards its count.
        unsafe {
            ffi::Py_INCREF(pointer);
            Object { pointer: NonNull::new_unchecked(pointer), gil: self }
        }
    }

    /// Takes the exception that is set on this thread.
    ///
    /// A C function that failed without setting one (a bug in it) is answered with a `SystemError`, as CPython does.
    pub fn raised(self) -> Raised<'i> {
        // SAFETY: attached, by `self`; PyErr_GetRaisedException gives a new reference or null.
        let exception = unsafe {
            let exception = ffi::PyErr_GetRaisedException();
            if exception.is_null() {
                ffi::PyErr_SetString(ffi::PyExc_SystemError, c"error return without exception set".as_ptr());
                ffi::PyErr_GetRaisedException()
            } else {
                exception
            }
        };
        let pointer = NonNull::new(exception).expect("an exception that was just set is there");
        Raised(Object { pointer, gil: self })
    }

    /// A new `str`. Fails only for want of memory.
    pub fn str(self, text: &str) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; the bytes are valid UTF-8 for the whole call and the length fits, as a slice's always does.
        unsafe { self.own(ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), text.len() as ffi::Py_ssize_t)) }
    }

    /// A new `str` of bytes read as ISO-8859-1: what a field value is (RFC 9110, 5.5, obs-text).
    pub fn latin1(self, bytes: &[u8]) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; the slice is valid for the whole call; null is allowed for the error handler's name.
        unsafe {
            let errors = std::ptr::null();
            self.own(ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t, errors))
        }
    }

    /// A new `bytes`.
    pub fn bytes(self, bytes: &[u8]) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; the slice is valid for the whole call.
        unsafe { self.own(ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t)) }
    }

    /// A new `int`.
    pub fn int(self, value: i64) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached.
        unsafe { self.own(ffi::PyLong_FromLongLong(value)) }
    }

    /// A new `float`.
    pub fn float(self, value: f64) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached.
        unsafe { self.own(ffi::PyFloat_FromDouble(value)) }
    }

    /// `True` or `False`.
    pub fn bool(self, value: bool) -> Object<'i> {
        // SAFETY: attached; both singletons are live in every interpreter.
        unsafe { self.share(if value { ffi::Py_True() } else { ffi::Py_False() }) }
    }

    /// `None`.
    pub fn none(self) -> Object<'i> {
        // SAFETY: attached; the singleton is live in every interpreter.
        unsafe { self.share(ffi::Py_None()) }
    }

    /// A tuple of these objects.
    pub fn tuple(
        self,
        items: impl IntoIterator<Item = Object<'i>, IntoIter: ExactSizeIterator>,
    ) -> PyResult<'i, Object<'i>> {
        let items = items.into_iter();
        // SAFETY: attached.
        let tuple = unsafe { self.own(ffi::PyTuple_New(items.len() as ffi::Py_ssize_t))? };
        for (index, item) in items.enumerate() {
            // SAFETY: the tuple is new and seen by nobody else; PyTuple_SetItem takes over the item's reference.
            let failed = unsafe { ffi::PyTuple_SetItem(tuple.as_ptr(), index as ffi::Py_ssize_t, item.into_ptr()) };
            if failed != 0 {
                return Err(self.raised());
            }
        }
        Ok(tuple)
    }

    /// `import name`, giving the module `name` itself (for `a.b`, that is `b`).
    pub fn import(self, name: &CStr) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; `name` is terminated by NUL.
        unsafe { self.own(ffi::PyImport_ImportModule(name.as_ptr())) }
    }

    /// Sets nothing and raises nothing: an exception object of a built-in type, for our own refusals.
    pub fn exception(self, kind: &Object<'i>, message: &str) -> Raised<'i> {
        match self.str(message).and_then(|message| kind.call(&[&message])) {
            Ok(exception) => Raised(exception),
            Err(raised) => raised,
        }
    }
}

impl<'i> Object<'i> {
    /// The proof that came with the reference.
    pub fn gil(&self) -> Gil<'i> {
        self.gil
    }

    /// The bare pointer, borrowed: valid while `self` lives.
    pub fn as_ptr(&self) -> *mut PyObject {
        self.pointer.as_ptr()
    }

    /// Gives up ownership: the caller now owes the decref.
    pub fn into_ptr(self) -> *mut PyObject {
        let pointer = self.pointer.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// `getattr(self, name)`.
    pub fn attr(&self, name: &CStr) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached, by `self.gil`; `name` is terminated by NUL; the result is a new reference or null.
        unsafe { self.gil.own(ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr())) }
    }

    /// `self(*args)`, by the vectorcall protocol (PEP 590): no tuple is made.
    pub fn call(&self, args: &[&Object<'i>]) -> PyResult<'i, Object<'i>> {
        // A borrowed reference is one pointer, and so is what C wants; copy the few there are.
        let mut pointers = [std::ptr::null_mut(); 9];
        if let Some(room) = pointers.get_mut(1..=args.len()) {
            for (slot, arg) in room.iter_mut().zip(args) {
                *slot = arg.as_ptr();
            }
            // SAFETY: attached; the slot before the first argument is ours to lend, which the offset flag promises; every
            // argument is borrowed for the whole call.
            unsafe { self.vectorcall(pointers.as_ptr().add(1), args.len()) }
        } else {
            let mut pointers = vec![std::ptr::null_mut(); args.len() + 1];
            for (slot, arg) in pointers[1..].iter_mut().zip(args) {
                *slot = arg.as_ptr();
            }
            // SAFETY: as above.
            unsafe { self.vectorcall(pointers.as_ptr().add(1), args.len()) }
        }
    }

    /// # Safety
    /// `args` points to `count` live objects of this interpreter, and the slot before it may be written to.
    unsafe fn vectorcall(&self, args: *const *mut PyObject, count: usize) -> PyResult<'i, Object<'i>> {
        let flags = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached, by `self.gil`; the rest is the caller's promise.
        unsafe { self.gil.own(ffi::PyObject_Vectorcall(self.as_ptr(), args, flags, std::ptr::null_mut())) }
    }

    /// `self(*args, **kwargs)` with a tuple and a dict (or nothing) that exist already.
    pub fn call_tuple(&self, args: &Object<'i>, kwargs: Option<&Object<'i>>) -> PyResult<'i, Object<'i>> {
        let kwargs = kwargs.map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: attached; CPython checks both types and raises TypeError for others.
        unsafe { self.gil.own(ffi::PyObject_Call(self.as_ptr(), args.as_ptr(), kwargs)) }
    }

    /// `getattr(self, name)(*args)`.
    pub fn call_method(&self, name: &CStr, args: &[&Object<'i>]) -> PyResult<'i, Object<'i>> {
        self.attr(name)?.call(args)
    }

    /// Whether this is `None`.
    pub fn is_none(&self) -> bool {
        // SAFETY: a comparison of pointers.
        unsafe { self.as_ptr() == ffi::Py_None() }
    }

    /// `isinstance(self, class)`. An exception inside the check counts as no.
    pub fn is_instance(&self, class: &Object<'i>) -> bool {
        // SAFETY: attached; both are live objects.
        let answer = unsafe { ffi::PyObject_IsInstance(self.as_ptr(), class.as_ptr()) };
        if answer < 0 {
            drop(self.gil.raised());
        }
        answer == 1
    }

    /// The truth value. An exception inside `__bool__` counts as false.
    pub fn truth(&self) -> bool {
        // SAFETY: attached; a live object.
        let answer = unsafe { ffi::PyObject_IsTrue(self.as_ptr()) };
        if answer < 0 {
            drop(self.gil.raised());
        }
        answer == 1
    }

    /// The text of a `str` (or subclass), borrowed from the object's own UTF-8 buffer. Raises TypeError for other objects
    /// and UnicodeEncodeError for lone surrogates.
    pub fn to_str(&self) -> PyResult<'i, &str> {
        let mut length = 0;
        // SAFETY: attached; the buffer belongs to the object, which `self` keeps alive and which is immutable.
        unsafe {
            let bytes = ffi::PyUnicode_AsUTF8AndSize(self.as_ptr(), &raw mut length);
            if bytes.is_null() {
                return Err(self.gil.raised());
            }
            Ok(std::str::from_utf8_unchecked(std::slice::from_raw_parts(bytes.cast(), length as usize)))
        }
    }

    /// The bytes of a `bytes` object (or subclass), borrowed. Raises TypeError for other objects.
    pub fn to_bytes(&self) -> PyResult<'i, &[u8]> {
        let mut bytes = std::ptr::null_mut();
        let mut length = 0;
        // SAFETY: attached; the buffer belongs to the immutable object, which `self` keeps alive.
        unsafe {
            if ffi::PyBytes_AsStringAndSize(self.as_ptr(), &raw mut bytes, &raw mut length) != 0 {
                return Err(self.gil.raised());
            }
            Ok(std::slice::from_raw_parts(bytes.cast(), length as usize))
        }
    }

    /// The value of an `int` that fits into 64 bits; OverflowError or TypeError otherwise.
    pub fn to_i64(&self) -> PyResult<'i, i64> {
        // SAFETY: attached; a live object. -1 is also the error value, hence the second question.
        unsafe {
            let value = ffi::PyLong_AsLongLong(self.as_ptr());
            if value == -1 && !ffi::PyErr_Occurred().is_null() { Err(self.gil.raised()) } else { Ok(value) }
        }
    }

    /// `repr(type(self).__name__)` without the quotes: what error messages call it.
    pub fn type_name(&self) -> String {
        // SAFETY: attached; every live object has a type, borrowed from it here.
        let class = unsafe { self.gil.share(ffi::Py_TYPE(self.as_ptr()).cast()) };
        class.attr(c"__name__").and_then(|name| name.to_str().map(str::to_owned)).unwrap_or_else(|_| "object".into())
    }

    /// The items of a tuple; empty for anything else.
    pub fn tuple_items(&self) -> Vec<Object<'i>> {
        (0..).map_while(|index| self.tuple_item(index)).collect()
    }

    /// One item of a tuple (or subclass); None past its end and for anything else.
    pub fn tuple_item(&self, index: isize) -> Option<Object<'i>> {
        // SAFETY: attached; the type is checked before the size, the size before the item, which is borrowed from a live tuple.
        unsafe {
            let inside = ffi::PyTuple_Check(self.as_ptr()) != 0 && index < ffi::PyTuple_GET_SIZE(self.as_ptr());
            inside.then(|| self.gil.share(ffi::PyTuple_GET_ITEM(self.as_ptr(), index)))
        }
    }

    /// One item of a list (or subclass); None past its present end and for anything else.
    pub fn list_item(&self, index: isize) -> Option<Object<'i>> {
        // SAFETY: attached; as for the tuple. The list may change between calls, not between the check and the new reference.
        unsafe {
            let inside = ffi::PyList_Check(self.as_ptr()) != 0 && index < ffi::PyList_GET_SIZE(self.as_ptr());
            inside.then(|| self.gil.share(ffi::PyList_GET_ITEM(self.as_ptr(), index)))
        }
    }

    /// The members of a dict (or subclass), past its own `items()`; nothing for anything else.
    pub fn dict_items(&self) -> DictItems<'_, 'i> {
        DictItems { dict: self, position: 0 }
    }

    /// `str(self)`, or the type's name where that raises.
    pub fn display(&self) -> String {
        // SAFETY: attached; a live object; a new reference or null.
        let text = unsafe { self.gil.own(ffi::PyObject_Str(self.as_ptr())) };
        text.and_then(|text| text.to_str().map(str::to_owned)).unwrap_or_else(|_| self.type_name())
    }
}

/// Walks a dict. A dict that changes meanwhile gives members that it has or had; never a dead one.
pub struct DictItems<'d, 'i> {
    dict: &'d Object<'i>,
    position: ffi::Py_ssize_t,
}

impl<'i> Iterator for DictItems<'_, 'i> {
    type Item = (Object<'i>, Object<'i>);

    fn next(&mut self) -> Option<Self::Item> {
        let dict = self.dict.as_ptr();
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached; the type is checked; PyDict_Next checks its position against the dict's present table, and what it
        // lends gets references of its own before anything else runs.
        unsafe {
            let more = ffi::PyDict_Check(dict) != 0
                && ffi::PyDict_Next(dict, &raw mut self.position, &raw mut key, &raw mut value) != 0;
            more.then(|| (self.dict.gil.share(key), self.dict.gil.share(value)))
        }
    }
}

impl Clone for Object<'_> {
    fn clone(&self) -> Self {
        // SAFETY: attached, by `self.gil`; a live object.
        unsafe { self.gil.share(self.as_ptr()) }
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and `'i` says that this thread is still attached to its interpreter: the closure
        // that [`Gil::detached`] runs cannot hold an Object.
        unsafe { ffi::Py_DECREF(self.as_ptr()) }
    }
}

impl<'i> Raised<'i> {
    /// Whether the exception's type is `class` or derives from it, whatever it says of itself (`__class__`). Runs no Python.
    pub fn is(&self, class: &Object<'i>) -> bool {
        // SAFETY: attached; the type of a live object, and a live type.
        unsafe {
            ffi::PyType_Check(class.as_ptr()) != 0
                && ffi::PyType_IsSubtype(ffi::Py_TYPE(self.0.as_ptr()), class.as_ptr().cast()) != 0
        }
    }

    /// `TypeName: message`, as the last line of a traceback has it.
    pub fn summary(&self) -> String {
        let text = self.0.display();
        let name = self.0.type_name();
        if text.is_empty() { name } else { format!("{name}: {text}") }
    }
}

/// Counts one level of recursion against the interpreter's limit until dropped.
pub struct Recursion(());

impl Recursion {
    /// Enters one level; RecursionError at the limit. `place` ends the message, e.g. `" while encoding a JSON object"`.
    pub fn enter<'i>(gil: Gil<'i>, place: &CStr) -> PyResult<'i, Self> {
        // SAFETY: attached; `place` is terminated by NUL.
        let full: c_int = unsafe { ffi::Py_EnterRecursiveCall(place.as_ptr()) };
        if full == 0 { Ok(Self(())) } else { Err(gil.raised()) }
    }
}

impl Drop for Recursion {
    fn drop(&mut self) {
        // SAFETY: paired with the successful Py_EnterRecursiveCall of `enter`, on the same thread.
        unsafe { ffi::Py_LeaveRecursiveCall() }
    }
}
