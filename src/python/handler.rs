//! Module and qualified name → callable, found once per interpreter; then: task → arguments → call.
//!
//! Finding happens in `polygil._worker.resolve`, in Python, because it is imports and attribute access and runs at load. What
//! it finds is kept as a [`Handler`]: the function object itself, so that a request costs a call and not an import, and the
//! plan of its parameters, so that a signature is inspected once.
//!
//! Arguments take one of two ways. [`Handler::call`] itself converts what is in its obvious form (an `int` of up to 18 digits,
//! a plain decimal `float`, `true`, any `str`); anything else, wrong or merely unusual, goes to the plan's `bind`, in
//! Python, which is the whole truth about conversion and writes the 422. The short way only ever answers as `bind` would.

use percent_encoding::percent_decode_str;

use super::ffi::{Gil, Object, PyResult, Raised};
use super::request;
use crate::error::Failure;
use crate::router::RouteSpec;
use crate::task::Task;

/// A function resolved in one interpreter, with the plan of its parameters.
pub struct Handler<'i> {
    callable: Object<'i>,
    bind: Object<'i>,
    /// The names of the path parameters, a tuple: the Request pairs them with the values when it is asked to.
    path_names: Object<'i>,
    needs_request: bool,
    /// None where only `bind` will do (lists, enums, keyword-only parameters).
    direct: Option<Vec<Parameter<'i>>>,
}

/// Why a handler's name leads to nothing that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// `module_not_found`, `import_failed`, `function_not_found` or `not_callable`.
    pub failure: Failure,
    /// One line: what is missing or raised.
    pub message: String,
    /// The traceback of the import that failed, or nothing.
    pub traceback: String,
    /// The whole report as JSON: library, import chain and ways out for a refused extension.
    pub report: String,
}

/// Why a call gave no value.
pub enum CallError<'i> {
    /// The parameters do not convert: the 422's `detail`, a list.
    Invalid(Object<'i>),
    /// The handler (or Python code on its way) raised.
    Raised(Raised<'i>),
}

impl<'i> From<Raised<'i>> for CallError<'i> {
    fn from(raised: Raised<'i>) -> Self {
        Self::Raised(raised)
    }
}

/// The Python objects that calls use, looked up once per interpreter.
pub struct Caller<'i> {
    gil: Gil<'i>,
    requests: request::Factory<'i>,
    validation_error: Object<'i>,
}

struct Parameter<'i> {
    name: String,
    source: Source,
    kind: Kind,
    default: Option<Object<'i>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The n-th parameter of the path pattern.
    Path(usize),
    Query,
    Request,
    Body,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Str,
    Int,
    Float,
    Bool,
    /// As it is: the request, the body's bytes.
    Raw,
}

impl<'i> Caller<'i> {
    /// Looks up what calls need; imports `polygil`. `request_id_prefix` begins every request id.
    pub fn new(gil: Gil<'i>, request_id_prefix: &str) -> PyResult<'i, Self> {
        Ok(Self {
            gil,
            requests: request::Factory::new(gil, request_id_prefix)?,
            validation_error: gil.import(c"polygil._errors")?.attr(c"ValidationError")?,
        })
    }
}

impl<'i> Handler<'i> {
    /// Finds the route's handler in this interpreter, importing its module if nothing has yet.
    ///
    /// `app` is the module and the attribute of the App that has the route: what the name leads to must be what that App has
    /// registered in this interpreter. The outer error is a defect of polygil's own Python part; a handler that is not there is
    /// the inner one.
    pub fn resolve(
        gil: Gil<'i>,
        route: &RouteSpec,
        names: &[String],
        app: Option<&(String, String)>,
    ) -> PyResult<'i, Result<Self, Unresolved>> {
        let pair = |first: &str, second: &str| gil.tuple(vec![gil.str(first)?, gil.str(second)?]);
        let app = app.map_or_else(|| pair("", ""), |(module, attribute)| pair(module, attribute))?;
        let key = pair(&route.method, &route.pattern)?;
        let path_names = names.iter().map(|name| gil.str(name)).collect::<PyResult<Vec<_>>>()?;
        let (module, qualname) = (gil.str(&route.module)?, gil.str(&route.qualname)?);
        let path_names = gil.tuple(path_names)?;
        let resolve = gil.import(c"polygil._worker")?.attr(c"resolve")?;
        let outcome = resolve.call(&[&module, &qualname, &path_names, &app, &key])?.tuple_items();
        let [verdict, callable, plan] = outcome.as_slice() else {
            let type_error = gil.import(c"builtins")?.attr(c"TypeError")?;
            return Err(gil.exception(&type_error, "polygil._worker.resolve gave no triple"));
        };
        let failure = match verdict.to_str()? {
            "ok" => {
                let direct = direct_parameters(&plan.attr(c"fast")?, names)?;
                return Ok(Ok(Self {
                    callable: callable.clone(),
                    bind: plan.attr(c"bind")?,
                    path_names,
                    needs_request: plan.attr(c"needs_request")?.truth(),
                    direct,
                }));
            }
            "module_not_found" => Failure::ModuleNotFound,
            "function_not_found" => Failure::FunctionNotFound,
            "not_callable" => Failure::NotCallable,
            _ => Failure::ImportFailed,
        };
        let dumps = gil.import(c"json")?.attr(c"dumps")?;
        let text = |key| -> PyResult<'i, String> { Ok(plan.call_method(c"get", &[&gil.str(key)?])?.display()) };
        Ok(Err(Unresolved {
            failure,
            message: text("message")?,
            traceback: text("traceback")?,
            report: dumps.call(&[plan])?.to_str()?.to_owned(),
        }))
    }

    /// Calls the handler with the task's parameters.
    pub fn call(&self, caller: &Caller<'i>, task: &Task) -> Result<Object<'i>, CallError<'i>> {
        if let Some(parameters) = &self.direct {
            if parameters.is_empty() {
                return Ok(self.callable.call(&[])?);
            }
            if let Some(args) = self.direct_arguments(caller, parameters, task)? {
                let borrowed: Vec<&Object<'i>> = args.iter().collect();
                return Ok(self.callable.call(&borrowed)?);
            }
        }
        let (args, kwargs) = self.bound_arguments(caller, task)?;
        Ok(self.callable.call_tuple(&args, Some(&kwargs))?)
    }

    /// The arguments when every one is there and in its obvious form; None sends the task to `bind`.
    fn direct_arguments(
        &self,
        caller: &Caller<'i>,
        parameters: &[Parameter<'i>],
        task: &Task,
    ) -> PyResult<'i, Option<Vec<Object<'i>>>> {
        let gil = caller.gil;
        let query = task.request.head.query().unwrap_or("");
        let mut args = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let arg = match parameter.source {
                Source::Path(index) => convert(gil, parameter.kind, &task.params[index])?,
                Source::Query => match query_value(query, &parameter.name) {
                    QueryValue::Text(text) => convert(gil, parameter.kind, &text)?,
                    QueryValue::Absent => parameter.default.clone(),
                    QueryValue::NotUtf8 => None,
                },
                Source::Request => Some(caller.requests.make(gil, task, &self.path_names)?),
                Source::Body if task.request.body.is_empty() => None,
                Source::Body => Some(gil.bytes(&task.request.body)?),
            };
            match arg {
                Some(arg) => args.push(arg),
                None => return Ok(None),
            }
        }
        Ok(Some(args))
    }

    /// The arguments as the plan's `bind` makes them, or its 422.
    fn bound_arguments(&self, caller: &Caller<'i>, task: &Task) -> Result<(Object<'i>, Object<'i>), CallError<'i>> {
        let gil = caller.gil;
        let path = task.params.iter().map(|value| gil.str(value)).collect::<PyResult<Vec<_>>>()?;
        let path = gil.tuple(path)?;
        let query = gil.str(task.request.head.query().unwrap_or(""))?;
        let body = gil.bytes(&task.request.body)?;
        let request = if self.needs_request { caller.requests.make(gil, task, &self.path_names)? } else { gil.none() };
        match self.bind.call(&[&path, &query, &body, &request]) {
            Ok(bound) => match bound.tuple_items().as_slice() {
                [args, kwargs] => Ok((args.clone(), kwargs.clone())),
                _ => {
                    let type_error = gil.import(c"builtins")?.attr(c"TypeError")?;
                    Err(CallError::Raised(gil.exception(&type_error, "polygil's bind gave no pair")))
                }
            },
            Err(raised) if raised.is(&caller.validation_error) => Err(CallError::Invalid(raised.0.attr(c"detail")?)),
            Err(raised) => Err(CallError::Raised(raised)),
        }
    }
}

fn direct_parameters<'i>(fast: &Object<'i>, path_names: &[String]) -> PyResult<'i, Option<Vec<Parameter<'i>>>> {
    if fast.is_none() {
        return Ok(None);
    }
    let mut parameters = Vec::new();
    for item in fast.tuple_items() {
        let fields = item.tuple_items();
        let [name, source, kind, has_default, default] = fields.as_slice() else { return Ok(None) };
        let name = name.to_str()?.to_owned();
        let source = match source.to_str()? {
            "path" => path_names.iter().position(|path_name| *path_name == name).map(Source::Path),
            "query" => Some(Source::Query),
            "request" => Some(Source::Request),
            "body" => Some(Source::Body),
            _ => None,
        };
        let kind = match kind.to_str()? {
            "str" => Some(Kind::Str),
            "int" => Some(Kind::Int),
            "float" => Some(Kind::Float),
            "bool" => Some(Kind::Bool),
            "raw" => Some(Kind::Raw),
            _ => None,
        };
        // A word of the plan that is not known here: `bind` knows it.
        let (Some(source), Some(kind)) = (source, kind) else { return Ok(None) };
        parameters.push(Parameter { name, source, kind, default: has_default.truth().then(|| default.clone()) });
    }
    Ok(Some(parameters))
}

/// The value of a text in its kind's obvious form; None for every other text.
fn convert<'i>(gil: Gil<'i>, kind: Kind, text: &str) -> PyResult<'i, Option<Object<'i>>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    match kind {
        Kind::Str => gil.str(text).map(Some),
        Kind::Int if is_digits(digits) && digits.len() <= 18 => {
            text.parse().ok().map(|value| gil.int(value)).transpose()
        }
        Kind::Float if digits.len() <= 24 && is_plain_decimal(digits) => {
            text.parse().ok().map(|value| gil.float(value)).transpose()
        }
        Kind::Bool => Ok(match text {
            "true" | "1" => Some(gil.bool(true)),
            "false" | "0" => Some(gil.bool(false)),
            _ => None,
        }),
        Kind::Int | Kind::Float | Kind::Raw => Ok(None),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_plain_decimal(text: &str) -> bool {
    match text.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(text),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum QueryValue {
    Absent,
    Text(String),
    NotUtf8,
}

/// The last value of `name` in a raw query: `&` separates, `+` is a space, the rest is percent-encoded UTF-8.
fn query_value(query: &str, name: &str) -> QueryValue {
    for pair in query.rsplit('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let matches = if key.contains(['%', '+']) {
            match decode(key) {
                Some(key) => key == name,
                None => return QueryValue::NotUtf8,
            }
        } else {
            key == name
        };
        if matches {
            return decode(value).map_or(QueryValue::NotUtf8, QueryValue::Text);
        }
    }
    QueryValue::Absent
}

fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_counts_and_names_are_decoded_too() {
        let text = |text: &str| QueryValue::Text(text.to_owned());
        assert_eq!(query_value("a=1&b=2&a=3", "a"), text("3"));
        assert_eq!(query_value("a=1", "b"), QueryValue::Absent);
        assert_eq!(query_value("a", "a"), text(""));
        assert_eq!(query_value("&&a=x+y%20z&", "a"), text("x y z"));
        assert_eq!(query_value("%61=1", "a"), text("1"));
        assert_eq!(query_value("a=%ff", "a"), QueryValue::NotUtf8);
        assert_eq!(query_value("a=b=c", "a"), text("b=c"));
    }

    #[test]
    fn only_obvious_numbers_are_converted_here() {
        assert!(is_plain_decimal("1") && is_plain_decimal("1.5") && is_plain_decimal("007"));
        for text in ["", ".5", "5.", "1e3", "1_0", " 1", "1.2.3", "+1", "٣"] {
            assert!(!is_plain_decimal(text), "{text}");
        }
    }
}
