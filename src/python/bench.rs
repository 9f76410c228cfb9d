//! What it costs to get from a request to its function, four ways, and on to a response, measured in one sub-interpreter in one run.
//!
//! Serves `benches/dispatch_cost.py`. The rows are interleaved round by round, so that a machine whose speed drifts drifts
//! for all of them; each row gives one figure per round, and the script makes medians and spread of them.

use std::hint::black_box;
use std::time::Instant;

use pyo3::ffi as c;

use super::convert::{Converter, Refused};
use super::ffi::{Gil, Object, PyResult, Raised};
use super::handler::{CallError, Caller, Handler};
use super::interpreter::{Interpreter, STACK_BYTES};
use super::worker::{self, Setup};
use crate::http::Response;
use crate::task::Task;

/// Nanoseconds per call, one figure per round, of each way.
pub type Rows = Vec<(String, Vec<f64>)>;

/// Measures the first route of `setup` with `task`, which has no parameters. Blocks; call it detached.
pub fn dispatch_cost(setup: Setup, task: Task, rounds: usize, calls: u32) -> Result<Rows, String> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        // SAFETY: main was prepared by whoever made the setup, and waits for this thread; the thread is new.
        let mut interpreter = unsafe { Interpreter::create() }.map_err(|error| error.to_string())?;
        let rows = interpreter.run(|gil| measure(gil, &setup, &task, rounds, calls).map_err(|raised| raised.summary()));
        interpreter.end().map_err(|left| format!("{} threads are left in the interpreter", left.threads))?;
        rows
    });
    thread.map_err(|error| error.to_string())?.join().map_err(|_| "the measurement panicked".to_owned())?
}

fn measure<'i>(gil: Gil<'i>, setup: &Setup, task: &Task, rounds: usize, calls: u32) -> PyResult<'i, Rows> {
    let route = &setup.router.routes()[0];
    let handlers: Vec<Handler<'i>> =
        worker::resolve_all(gil, setup)?.into_iter().filter_map(|(_, outcome)| outcome.ok()).collect();
    let caller = Caller::new(gil, "bench")?;
    let (module, qualname) = (gil.str(&route.module)?, gil.str(&route.qualname)?);
    let function = gil.import(c"sys")?.attr(c"modules")?.call_method(c"get", &[&module])?.attr_object(&qualname)?;
    let converter = Converter::new(gil, u64::MAX)?;
    let pickle = gil.import(c"pickle")?;
    let (dumps, loads) = (pickle.attr(c"dumps")?, pickle.attr(c"loads")?);

    let mut ways: Vec<(&str, Way<'_, 'i>)> = vec![
        ("bare C-API call", Box::new(|| function.call_bare())),
        ("resolved once (polygil)", Box::new(|| handlers[task.route.0 as usize].call(&caller, task).map_err(raised))),
        (
            "resolved once, and its response",
            Box::new(|| {
                let value = handlers[task.route.0 as usize].call(&caller, task).map_err(raised)?;
                black_box(converter.response(&value, Response::empty()).map_err(|refused| refusal(gil, refused))?);
                Ok(value)
            }),
        ),
        ("import + getattr on every call", Box::new(|| gil.import_object(&module)?.attr_object(&qualname)?.call(&[]))),
        ("pickle round trip of the callable", Box::new(|| loads.call(&[&dumps.call(&[&function])?])?.call(&[]))),
    ];
    let mut rows: Rows = ways.iter().map(|(name, _)| ((*name).to_owned(), Vec::new())).collect();
    for round in 0..=rounds {
        for ((_, way), (_, figures)) in ways.iter_mut().zip(&mut rows) {
            let started = Instant::now();
            for _ in 0..calls {
                black_box(way()?);
            }
            let each = started.elapsed().as_nanos() as f64 / f64::from(calls);
            // The first round warms caches and the specializing interpreter up.
            if round > 0 {
                figures.push(each);
            }
        }
    }
    Ok(rows)
}

/// A refusal to convert, as the exception that a benchmark ends with.
fn refusal<'i>(gil: Gil<'i>, refused: Refused<'i>) -> Raised<'i> {
    match refused {
        Refused::Interrupted(raised) => raised,
        Refused::NoRoom => gil.str("there is no memory for it").map_or_else(|raised| raised, Raised),
        Refused::Unserializable(message) => gil.str(&message).map_or_else(|raised| raised, Raised),
    }
}

type Way<'w, 'i> = Box<dyn FnMut() -> PyResult<'i, Object<'i>> + 'w>;

fn raised(error: CallError<'_>) -> Raised<'_> {
    match error {
        CallError::Raised(raised) => raised,
        CallError::Invalid(detail) => Raised(detail),
    }
}

impl<'i> Object<'i> {
    /// The cheapest call that the C API has.
    fn call_bare(&self) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; a live object; a new reference, or null with an exception.
        unsafe { self.gil().own(c::PyObject_CallNoArgs(self.as_ptr())) }
    }

    fn attr_object(&self, name: &Object<'i>) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; live objects; a new reference, or null with an exception.
        unsafe { self.gil().own(c::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }
}

impl<'i> Gil<'i> {
    fn import_object(self, name: &Object<'i>) -> PyResult<'i, Object<'i>> {
        // SAFETY: attached; a live str; a new reference, or null with an exception.
        unsafe { self.own(c::PyImport_Import(name.as_ptr())) }
    }
}
