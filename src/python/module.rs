//! `polygil._native`: the door from the user's Python. The only file that uses PyO3's safe layer, because it is the only one
//! that runs in the main interpreter alone: PyO3 itself refuses to load the module anywhere else.

#[pyo3::pymodule]
mod _native {
    use std::ffi::OsString;
    use std::sync::Arc;

    use pyo3::exceptions::{PyRuntimeError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    use crate::config::Config;
    use crate::python::command::{self, Stop};
    use crate::python::ffi::Gil;
    use crate::python::json::Encoder;
    use crate::python::{bench, serve};
    use crate::router::{RouteSpec, Router};

    /// The command line: does what `args` (without the program's name) say and returns the exit code.
    #[pyfunction]
    fn main(py: Python<'_>, args: Vec<OsString>) -> i32 {
        command::main(py, &args)
    }

    /// The counters of the servers that run in this process, as a JSON list of objects.
    #[pyfunction]
    fn stats() -> String {
        serve::stats()
    }

    /// Serves `target`: `module:app`, the path of a manifest, or a table as JSON (it begins with a brace). Options are (name,
    /// text) pairs. Returns the exit code when the server has stopped; `control.on_ready(url, stop)` is called once when it
    /// accepts connections.
    #[pyfunction]
    #[pyo3(name = "serve")]
    fn serve_target(
        py: Python<'_>,
        target: &str,
        options: Vec<(String, String)>,
        control: Option<Py<PyAny>>,
    ) -> PyResult<i32> {
        let pairs = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let config = Config::from_pairs(pairs).map_err(|error| PyValueError::new_err(error.text))?;
        crate::streams::secure()?;
        let ready_fd = serve::ReadyFd::take(&config).map_err(error)?;
        let start = serve::Start { target, ready_fd, control, is_process: false };
        let load = || match target.strip_prefix('{') {
            Some(_) => command::table(command::parse_described(target)?, false),
            None => command::load(py, target, &config, false),
        };
        serve::serve(py, &config, start, load).map_err(error)
    }

    /// A value as the JSON that a handler's answer would be: what the tests hold against `json.dumps`.
    #[pyfunction]
    fn json_bytes<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        // SAFETY: `value` proves that this thread is attached to main for all of 'py, and the brand is used in here only.
        let (gil, object) = unsafe {
            let gil = Gil::assume();
            (gil, gil.share(value.as_ptr()))
        };
        let mut out = Vec::new();
        match Encoder::new(gil, usize::MAX).and_then(|encoder| encoder.write(&object, &mut out)) {
            Ok(()) => Ok(PyBytes::new(py, &out)),
            // SAFETY: a strong reference to an exception of this very interpreter changes hands.
            Err(raised) => Err(PyErr::from_value(unsafe { Bound::from_owned_ptr(py, raised.0.into_ptr()) })),
        }
    }

    /// Nanoseconds per call of four ways to a function, and of its response, one figure per round (benches/dispatch_cost.py).
    #[pyfunction]
    fn dispatch_cost(
        py: Python<'_>,
        module: String,
        function: String,
        rounds: usize,
        calls: u32,
    ) -> PyResult<Vec<(String, Vec<f64>)>> {
        let spec = serde_json::json!([{
            "method": "GET", "pattern": "/", "module": module, "qualname": function, "origin": "benchmark",
        }]);
        let specs: Vec<RouteSpec> = serde_json::from_value(spec).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let router = Router::build(specs).map_err(|_| PyValueError::new_err("no such route"))?;
        let setup = command::setup(py, Arc::new(router), None)?;
        let task = serve::sample_task();
        py.detach(|| bench::dispatch_cost(setup, task, rounds, calls)).map_err(PyRuntimeError::new_err)
    }

    fn error(stop: Stop) -> PyErr {
        PyRuntimeError::new_err(stop.message)
    }
}
