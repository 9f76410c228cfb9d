"""A handler's parameters, inspected once when it is loaded, and filled from each request.

Where a parameter comes from, the first rule that applies:

1. its name is in the route's pattern: from the path, always text to convert (`{id:int}` chooses what matches, the
   annotation what arrives);
2. it is annotated `Request`, or named `request`: the `Request`;
3. it is named `body`: the JSON content (`bytes` as annotation: the content as it is);
4. otherwise: from the query.

`Plan.bind` is the whole semantics. `Plan.fast` names the parameters that the native side may fill by itself when the
text has the obvious form (`7`, `2.5`, `true`); for any other text it comes to `bind`, so that there is one definition
of what converts and one source of 422 answers, which are those of FastAPI with pydantic 2.
"""

from __future__ import annotations

import sys

from polygil._errors import SignatureError, ValidationError
from polygil._parameters import MISSING, Validator, fast_kind, validator_for
from polygil._request import Request
from polygil._response import HTTPException
from polygil._text import parse_query
from polygil._validation import Errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Parameter", "Plan", "SignatureError", "ValidationError", "inspect_handler"]

# inspect.CO_VARARGS and CO_VARKEYWORDS.
_CO_VARARGS, _CO_VARKEYWORDS = 0x04, 0x08


class Parameter:
    """One parameter: its name, where it comes from, and how it converts.

    `source` is "path", "query", "request" or "body"; `index` is its place among the path's values. `default` is MISSING
    for a required one. `kind` is what the native side needs to know to convert the obvious forms, or None.
    """

    __slots__ = ("copies_default", "default", "index", "is_list", "keyword_only", "kind", "name", "source", "validator")

    def __init__(
        self,
        name: str,
        source: str,
        validator: Validator | None,
        *,
        index: int = 0,
        default: Any = MISSING,
        keyword_only: bool = False,
        kind: str | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.validator = validator
        self.index = index
        self.default = default
        self.keyword_only = keyword_only
        self.kind = kind
        self.is_list = validator is not None and validator.is_list
        # A handler that appends to its default list must not change what the next request gets.
        self.copies_default = type(default) in (list, dict, set, bytearray)
        if self.copies_default:
            import copy  # noqa: F401  (now, when it is loaded, and not in the first request)

    def default_value(self) -> Any:
        """Return the default, a copy of it where it is mutable."""
        if self.copies_default:
            from copy import deepcopy

            return deepcopy(self.default)
        return self.default


class Plan:
    """How to call one handler: made once per interpreter, used for every request."""

    __slots__ = ("_parses_body", "fast", "needs_body", "needs_request", "parameters")

    def __init__(self, parameters: tuple[Parameter, ...]) -> None:
        self.parameters = parameters
        self.needs_request = any(parameter.source == "request" for parameter in parameters)
        self.needs_body = any(parameter.source == "body" for parameter in parameters)
        self._parses_body = any(p.source == "body" and p.kind is None for p in parameters)
        if self._parses_body:
            import json  # noqa: F401  (now, when it is loaded, and not in the first request)
        #: None, or for each positional parameter (name, source, kind, has_default, default): see `Plan.bind`.
        self.fast: tuple[tuple[str, str, str, bool, Any], ...] | None = None
        if all(p.kind is not None and not p.keyword_only and not p.copies_default for p in parameters):
            self.fast = tuple(
                (p.name, p.source, str(p.kind), p.default is not MISSING, None if p.default is MISSING else p.default)
                for p in parameters
            )

    def bind(
        self, path_params: tuple[str, ...], query_string: str, body: bytes, request: Request | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of one call.

        `path_params` are the decoded values in the pattern's order, `query_string` is what follows `?`, undecoded.
        Raises ValidationError with the errors of the path first, then the query's, then the body's, as FastAPI lists
        them, as many as `Errors` keeps; and HTTPException 400 for a body that is not text.
        """
        errors = Errors()
        values: dict[str, Any] = {}
        content = _parse_body(body) if self._parses_body else MISSING
        pairs: list[tuple[str, str]] | None = None
        for source in ("path", "query", "body"):
            for parameter in self.parameters:
                if parameter.source != source:
                    continue
                name = parameter.name
                loc: tuple[str | int, ...] = (source, name)
                given: Any
                if source == "path":
                    given = path_params[parameter.index]
                elif source == "query":
                    if pairs is None:
                        pairs = parse_query(query_string)
                    given = _from_query(pairs, name, parameter.is_list)
                else:
                    given = content if parameter.kind is None else body or MISSING
                    loc = ("body",)
                if given is not MISSING:
                    assert parameter.validator is not None
                    values[name] = parameter.validator(given, loc, errors)
                elif parameter.default is not MISSING:
                    values[name] = parameter.default_value()
                else:
                    errors.add("missing", loc, "Field required", None)
        if errors.count:
            raise ValidationError(errors.detail())
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.parameters:
            value = request if parameter.source == "request" else values[parameter.name]
            if parameter.keyword_only:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return tuple(args), kwargs


def _from_query(pairs: list[tuple[str, str]], name: str, is_list: bool) -> Any:
    """Return the last value of `name`, or every one for a list; MISSING without one."""
    if is_list:
        return [value for key, value in pairs if key == name] or MISSING
    for key, value in reversed(pairs):
        if key == name:
            return value
    return MISSING


def _parse_body(body: bytes) -> Any:
    """Return the JSON value, or MISSING for no content; raise what FastAPI answers for content that is not JSON."""
    if not body:
        return MISSING
    import json

    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": ["body", error.pos],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise ValidationError([detail]) from None
    except (ValueError, RecursionError):
        # Not UTF-8, an integer of more digits than CPython converts, or nested deeper than its stack.
        raise HTTPException(400, "There was an error parsing the body") from None


def inspect_handler(func: Callable[..., Any], path_names: tuple[str, ...]) -> Plan:
    """Return the plan for `func` on a route whose pattern has the parameters `path_names`, in order.

    Raises SignatureError for a parameter that no request can fill, and for a path parameter that is never received.
    """
    parameters: list[Parameter] = []
    for name, annotation, default, keyword_only in _parameters_of(func):
        parameters.append(_parameter(name, annotation, default, keyword_only, path_names))
    return Plan(tuple(parameters))


def _parameter(name: str, annotation: Any, default: Any, keyword_only: bool, path_names: tuple[str, ...]) -> Parameter:
    if name in path_names:
        source = "path"
        default = MISSING  # A path that matches has the value, always.
    elif annotation is Request or name == "request":
        if annotation not in (MISSING, Request) and not _is_any(annotation):
            raise SignatureError(
                f"parameter `request` receives the Request and cannot be annotated {_show(annotation)}; rename it"
            )
        return Parameter(name, "request", None, keyword_only=keyword_only, kind="raw")
    elif name == "body":
        source = "body"
    else:
        source = "query"
    try:
        validator = validator_for(annotation, source)
    except SignatureError as error:
        raise SignatureError(f"parameter `{name}` (from the {source}): {error}") from None
    return Parameter(
        name,
        source,
        validator,
        index=path_names.index(name) if source == "path" else 0,
        default=default,
        keyword_only=keyword_only,
        kind=fast_kind(validator, source),
    )


def _is_any(annotation: Any) -> bool:
    return annotation is object or (
        getattr(annotation, "__module__", None) == "typing" and getattr(annotation, "__name__", None) == "Any"
    )


def _show(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)


def _parameters_of(func: Callable[..., Any]) -> list[tuple[str, Any, Any, bool]]:
    """Return (name, annotation, default, keyword_only) of each parameter; MISSING stands for no annotation or default.

    By hand for plain functions, because `inspect` costs an interpreter 2 MiB; what is not one goes through `inspect`.
    """
    unwrapped: Any = func
    skip = 0
    while True:
        if hasattr(unwrapped, "__func__"):
            # A class method looked up on its class: the first parameter is filled already.
            unwrapped, skip = unwrapped.__func__, 1
        elif "__signature__" in getattr(unwrapped, "__dict__", ()):
            return _inspected(unwrapped)
        elif hasattr(unwrapped, "__wrapped__"):
            unwrapped = unwrapped.__wrapped__
        else:
            break
    code = getattr(unwrapped, "__code__", None)
    if code is None or not hasattr(unwrapped, "__globals__"):
        return _inspected(func)
    if code.co_flags & (_CO_VARARGS | _CO_VARKEYWORDS):
        raise _variadic()
    names = code.co_varnames
    positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    defaults = unwrapped.__defaults__ or ()
    keyword_defaults = unwrapped.__kwdefaults__ or {}
    annotations = _annotations_of(unwrapped)
    found: list[tuple[str, Any, Any, bool]] = []
    for index, name in enumerate(names[:total]):
        if index < skip:
            continue
        if index >= positional:
            default = keyword_defaults.get(name, MISSING)
        else:
            from_end = index - positional + len(defaults)
            default = defaults[from_end] if from_end >= 0 else MISSING
        annotation = _evaluated(name, annotations.get(name, MISSING), unwrapped.__globals__)
        found.append((name, annotation, default, index >= positional))
    return found


def _variadic() -> SignatureError:
    return SignatureError(
        "takes *args or **kwargs, so that there are no names to fill from a request; name the parameters "
        "(a decorator's wrapper needs @functools.wraps)"
    )


def _annotations_of(func: Any) -> dict[str, Any]:
    try:
        return func.__annotations__ or {}
    except NameError:
        # Python 3.14 evaluates annotations here, and a name is missing (imported under TYPE_CHECKING, say). Take
        # them one by one as text instead, so that only a parameter that needs its annotation fails.
        import annotationlib  # type: ignore[import-not-found,unused-ignore]

        return dict(annotationlib.get_annotations(func, format=annotationlib.Format.STRING))


def _evaluated(name: str, annotation: Any, namespace: dict[str, Any]) -> Any:
    try:
        return _without_quotes(annotation, namespace)
    except Exception as error:
        if name == "request":
            return MISSING  # `Request` imported under TYPE_CHECKING only: the name says enough.
        raise SignatureError(f"parameter `{name}`: the annotation {annotation!r} does not evaluate: {error}") from None


def _without_quotes(annotation: Any, namespace: dict[str, Any]) -> Any:
    """Return an annotation with its text evaluated, at any depth: `"Color"`, `list["Color"]`, `Optional["Color"]`."""
    while isinstance(annotation, str) or type(annotation).__name__ == "ForwardRef":
        # Twice for text under `from __future__ import annotations`. It is the program's own, as in typing.get_type_hints.
        text = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        annotation = eval(text, namespace)
    if hasattr(annotation, "__metadata__"):
        inner = _without_quotes(annotation.__origin__, namespace)
        return annotation if inner is annotation.__origin__ else annotation.copy_with((inner,))
    args = getattr(annotation, "__args__", None)
    origin = getattr(annotation, "__origin__", None)
    # The text in a Literal is a value.
    if not isinstance(args, tuple) or getattr(origin, "_name", None) == "Literal" or not any(map(_may_quote, args)):
        return annotation
    plain = tuple(_without_quotes(arg, namespace) if _may_quote(arg) else arg for arg in args)
    if all(one is other for one, other in zip(plain, args, strict=True)):
        return annotation
    if hasattr(annotation, "copy_with"):
        return annotation.copy_with(plain)
    if isinstance(annotation, type(int | None)):
        union = plain[0]
        for arg in plain[1:]:
            union = union | arg
        return union
    return origin[plain]  # type: ignore[index]


def _may_quote(arg: Any) -> bool:
    return isinstance(arg, str) or type(arg).__name__ == "ForwardRef" or hasattr(arg, "__args__") or hasattr(arg, "__metadata__")


def _inspected(func: Callable[..., Any]) -> list[tuple[str, Any, Any, bool]]:
    """Return the same as `_parameters_of` for callables that are not plain functions."""
    import builtins
    import inspect

    try:
        signature = inspect.signature(func, eval_str=True)
    except (TypeError, ValueError, NameError) as error:
        raise SignatureError(f"its parameters are not known: {error}") from None
    namespace = getattr(inspect.unwrap(func), "__globals__", None) or vars(sys.modules.get(func.__module__, builtins))
    found: list[tuple[str, Any, Any, bool]] = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _variadic()
        empty = parameter.empty
        found.append(
            (
                name,
                MISSING if parameter.annotation is empty else _evaluated(name, parameter.annotation, namespace),
                MISSING if parameter.default is empty else parameter.default,
                parameter.kind is parameter.KEYWORD_ONLY,
            )
        )
    return found
