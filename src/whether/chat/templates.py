"""Sandboxed Jinja: a template reads its variables and nothing else, and always ends.

Besides what jinja2's own sandbox refuses (attributes that lead out of it, changes to what is passed in), loops together
make a bounded number of turns, and no operator and no filter makes a text of any size that a template likes.
"""

from functools import cache
from typing import Any

from jinja2 import (
    Environment,
    StrictUndefined,
    TemplateSyntaxError,
    UndefinedError,
    nodes,
    pass_eval_context,
)
from jinja2.exceptions import SecurityError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.filters import do_join
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from whether.errors import ConfigError, near_matches

TURNS = 100_000
"""Turns of all loops of one rendering, at most."""
CHARACTERS = 1_000_000
"""Longest text that an operator makes, and longest rendering."""
_TICK = "_one_more_turn"
_CONCATENATE = "_concatenate"
_UNBOUNDED_FILTERS = ("center", "format", "indent", "random")


class TemplateError(ConfigError):
    """What is wrong with a template, and in which of its lines."""

    def __init__(self, where: str, line: int, reason: str):
        super().__init__(f"{where}, line {line}: {reason}")
        self.line, self.reason = line, reason


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with bounds on time and size."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in _UNBOUNDED_FILTERS:
            del self.filters[name]
        self.filters |= {"replace": _replace, "join": _joined}
        self.globals = {"range": self.globals["range"]}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            call = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(call, lineno=loop.lineno))
            for node in loop.body[0].find_all(nodes.Node):
                node.set_lineno(loop.lineno)
                node.set_environment(self)
        _Concatenations(self).visit(tree)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(side) if isinstance(side, (str, list, tuple)) else 0 for side in (left, right)]
        numbers = [side for side in (left, right) if isinstance(side, (int, float))]
        if operator == "+" and sum(sizes) > CHARACTERS:
            raise SecurityError(f"`+` would make a text longer than {CHARACTERS:,} characters")
        if operator == "*" and any(sizes) and max(sizes) * max(numbers, default=0) > CHARACTERS:
            raise SecurityError(f"`*` would make a text longer than {CHARACTERS:,} characters")
        if operator == "**" and any(abs(number) > 1000 for number in numbers):
            raise SecurityError("`**` works on numbers up to 1000")
        if operator == "%" and not isinstance(left, (int, float)):
            raise SecurityError("`%` is for numbers: put texts together with ~")
        return super().call_binop(context, operator, left, right)


class _Concatenations(NodeTransformer):
    """Puts a call in the place of each `~`, which a sandbox cannot intercept."""

    def __init__(self, environment: Environment):
        self._environment = environment

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Return the call."""
        self.generic_visit(node)
        name = nodes.Name(_CONCATENATE, "load", lineno=node.lineno, environment=self._environment)
        return nodes.Call(name, node.nodes, [], None, None, lineno=node.lineno, environment=self._environment)


def _concatenated(*parts: Any) -> str:
    """Stand in for `~`, with a bound."""
    texts = [str(part) for part in parts]
    if sum(map(len, texts)) > CHARACTERS:
        raise SecurityError(f"`~` would make a text longer than {CHARACTERS:,} characters")
    return "".join(texts)


@pass_eval_context
def _joined(context: Any, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    """jinja2's filter, with a bound."""
    items = list(value)
    if len(items) * len(str(d)) > CHARACTERS:
        raise SecurityError(f"`join` would make a text longer than {CHARACTERS:,} characters")
    return str(do_join(context, items, d, attribute))


def _replace(text: str, old: str, new: str) -> str:
    """jinja2's filter, with a bound."""
    if str(text).count(str(old)) * len(str(new)) > CHARACTERS:
        raise SecurityError(f"`replace` would make a text longer than {CHARACTERS:,} characters")
    return str(text).replace(str(old), str(new))


class _StepBudget:
    """Counts turns of loops, and ends a rendering that makes too many."""

    def __init__(self) -> None:
        self.left = TURNS

    def __call__(self) -> str:
        self.left -= 1
        if self.left < 0:
            raise SecurityError(f"its loops make more than {TURNS:,} turns")
        return ""


@cache
def _environment() -> Environment:
    return _Sandbox()


@cache
def _template(text: str) -> Any:
    return _environment().from_string(text)


def render_template(template: str, variables: dict[str, Any], where: str) -> str:
    """Render a sandboxed template.

    Raises TemplateFault, a ConfigError that begins with `where` and the line, for a syntax error, a variable that is
    missing (with near matches), an attempt to leave the sandbox, and a template that does not come to an end.
    """
    try:
        parts, length = list[str](), 0
        for part in _template(template).generate({**variables, _TICK: _StepBudget(), _CONCATENATE: _concatenated}):
            parts.append(part)
            length += len(part)
            if length > CHARACTERS:
                raise SecurityError(f"it renders to more than {CHARACTERS:,} characters")
    except TemplateSyntaxError as error:
        raise TemplateError(where, error.lineno, error.message or "syntax error") from None
    except (JinjaError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as error:
        raise TemplateError(where, _line(error), _reason(error, variables)) from None
    return "".join(parts)


def check_template(template: str, where: str) -> None:
    """Raise TemplateError, which begins with `where`, for a template that no variables could make a text."""
    try:
        _template(template)
    except TemplateSyntaxError as error:
        raise TemplateError(where, error.lineno, error.message or "syntax error") from None


@cache
def template_variables(template: str) -> frozenset[str]:
    """Return the names of the variables that a template reads. Raises TemplateError for one that cannot be read."""
    check_template(template, "template")
    return frozenset(find_undeclared_variables(_environment().parse(template))) - {_TICK, _CONCATENATE}


def _line(error: BaseException) -> int:
    """Return the template's line that an error comes from: the last place in generated code."""
    line, place = 1, error.__traceback__
    while place is not None:
        if place.tb_frame.f_code.co_filename == "<template>":
            line = place.tb_lineno
        place = place.tb_next
    return line


def _reason(error: Exception, variables: dict[str, Any]) -> str:
    if isinstance(error, RecursionError):
        return "its macros call each other without end"
    if isinstance(error, UndefinedError):
        name = str(error).partition("'")[2].partition("'")[0]
        return f"{error}{near_matches(name, variables) if str(error).endswith('is undefined') else ''}"
    return str(error)
