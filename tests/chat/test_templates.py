"""The sandbox: a template reads its variables and nothing else, and comes to an end."""

import pytest

from whether.chat.templates import CHARACTERS, TemplateError, render_template
from whether.errors import ConfigError

VARIABLES = {"labels": ["a", "b"], "instruction": "Say a or b.", "definitions": {"a": "first"}}


def test_a_template_reads_its_variables() -> None:
    template = "{{ instruction }}\n{% for label in labels %}\n{{ loop.index }} {{ label | upper }}\n{% endfor %}\nend"
    assert render_template(template, VARIABLES, "x") == "Say a or b.\n1 A\n2 B\nend"
    assert render_template("{% for x in [] %}y{% else %}none{% endfor %}{{ range(3) | join }}", {}, "x") == "none012"
    assert (
        render_template("{{ 7 % 4 }} {{ 'ab' * 2 }} {{ 2 ** 10 }} {{ 'aXb' | replace('X', '-') }}", {}, "x")
        == "3 abab 1024 a-b"
    )
    joined = "{{ 1 ~ 'b' ~ [3] }} {{ [3] + [4] }} {{ [1, 2] | join('-') }}"
    assert render_template(joined, {}, "x") == "1b[3] [3, 4] 1-2"
    assert render_template("{% macro m(x) %}{{ x ~ labels[0] }}{% endmacro %}{{ m(2) }}", VARIABLES, "x") == "2a"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("template", "line", "reason"),
    [
        ("\n{{ labells }}", 2, "'labells' is undefined; did you mean 'labels'"),
        ("\n\n{{ definitions.b }}", 3, "has no attribute 'b'"),
        ("a\n{% for x in labels %}{{ x }}\n", 2, "Unexpected end of template"),
        ("a {{ labels[ }}", 1, "unexpected '}'"),
        ("{{ 1 / 0 }}", 1, "division by zero"),
        ("\n{% include 'other.j2' %}", 2, "no loader"),
        # Out of the sandbox.
        ("\n{{ labels.__class__.__mro__ }}", 2, "'__class__'"),
        ("{{ instruction.format.__globals__ }}", 1, "__globals__"),
        ("{{ labels.append('c') }}", 1, "'append'"),
        ("{{ '{0.__class__}'.format(labels) }}", 1, "__class__"),
        ("{{ self.__init__.__globals__ }}", 1, "__init__"),
        ("{{ lipsum() }}", 1, "'lipsum' is undefined"),
        ("{{ cycler.__init__ }}", 1, "'__init__'"),
        ("{{ _one_more_turn.__call__ }}", 1, "unsafe"),
        # Without end, or without measure.
        (
            "{% for a in range(9999) %}\n{% for b in range(9999) %}{% endfor %}{% endfor %}",
            None,
            "more than 100,000 turns",
        ),
        ("{% for a in range(10 ** 9) %}{% endfor %}", 1, "Range too big"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "without end"),
        ("{% for a in labels recursive %}{{ loop(labels) }}{% endfor %}", 1, "without end"),
        ("{{ 'x' * 10 ** 9 }}", 1, "longer than 1,000,000 characters"),
        ("{{ [labels] * 10 ** 9 }}", 1, "longer than 1,000,000 characters"),
        ("{{ 9 ** 9999 }}", 1, "numbers up to 1000"),
        ("{{ '%0999999999d' % 1 }}", 1, "`%` is for numbers"),
        ("{{ 'x' | center(10 ** 9) }}", 1, "No filter named 'center'"),
        ("{% set x = 'x' * 400000 %}\n{% set x = x ~ 1 ~ x ~ x %}", 2, "`~` would make"),
        ("{% set x = 'x' * 600000 %}{{ x + x }}", 1, "`+` would make"),
        ("{{ ('x' * 999) | join('y' * 999999) }}", 1, "`join` would make"),
        ("{{ ('x' * 999999) | replace('x', 'y' * 999999) }}", 1, "`replace` would make"),
        ("{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}", 1, "renders to more than 1,000,000 characters"),
        ("{% set ns = namespace(x='y') %}{{ ns.x }}", 1, "'namespace' is undefined"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(template: str, line: int | None, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        render_template(template, VARIABLES, "conf/x.yaml")
    assert isinstance(error.value, TemplateError)
    assert reason in error.value.reason
    assert str(error.value).startswith("conf/x.yaml, line ")
    if line is not None:
        assert error.value.line == line


def test_a_long_text_made_step_by_step_ends() -> None:
    doubling = "{% set a = 'x' * 999999 %}" + "{% set a = a ~ a %}" * 3 + "{{ a }}"
    with pytest.raises(TemplateError, match=f"{CHARACTERS:,} characters"):
        render_template(doubling, {}, "x")
