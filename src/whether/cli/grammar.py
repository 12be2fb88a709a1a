"""How a command line is read: `whether VERB [NAME] [setting=value ...] [--option ...]`, in any order after the verb.

A word with `=` is a Hydra override, whatever the verb. What is not understood is a UsageError that names what is near.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from whether.errors import UsageError, near_matches

Settings = Annotated[
    list[str] | None, typer.Argument(metavar="setting=value", help="of conf/, such as task=fever or tuner.r=8")
]
SETTINGS = "settings"
"""What a verb that takes overrides calls this parameter."""


def group(title: str, end: str) -> typer.Typer:
    """Return a group without verbs yet. `title` and `end` are the beginning and the end of its help page."""
    return typer.Typer(
        cls=VerbGroup, help=title, epilog=end, rich_markup_mode=None, pretty_exceptions_enable=False,
        subcommand_metavar="VERB [NAME] [setting=value ...] [--option ...]", options_metavar="",
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
    )  # fmt: skip


class Words(NamedTuple):
    """A verb's words, the settings separate from what is read by its position."""

    others: list[str]
    settings: list[str]


def set_apart(words: Iterable[str], options: Mapping[str, bool]) -> Words:
    """Return the words after a verb, settings and others, each in their order.

    `options` maps each option to whether a value follows it. Words after `--` are names. Raises UsageError for another
    option.
    """
    found = Words([], [])
    waiting = iter(words)
    for word in waiting:
        if word == "--":
            found.others.extend([word, *waiting])
        elif word.startswith("-") and word != "-":
            option, equals, _ = word.partition("=")
            if option not in options:
                raise UsageError(f"no option {option!r}{near_matches(option, options)}")
            found.others.append(word)
            if options[option] and not equals:
                found.others.extend(value for value in [next(waiting, None)] if value is not None)
        else:
            (found.settings if is_setting(word) else found.others).append(word)
    return found


def is_setting(word: str) -> bool:
    """Return whether a word is an override, such as tuner.r=8 or ~robustness; an address with a query is not."""
    return word.startswith("~") or ("=" in word and "://" not in word.partition("=")[0])


class Verb(TyperCommand):
    """A verb: its words in any order, its help page in the project's own form."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the verb. Raises UsageError."""
        parameters: list[Any] = self.get_params(ctx)
        takes_settings = SETTINGS in [one.name for one in parameters]
        options = {name: not one.is_flag for one in parameters if is_option(one) for name in one.opts}
        with told_as_ours(ctx.command_path), self._without_settings():
            if ctx.resilient_parsing:  # the shell asks what could come next
                return super().parse_args(ctx, args)
            words = set_apart(args, options)
            if words.settings and not takes_settings:
                raise UsageError(f"{words.settings[0]!r} is a setting, and this verb takes none")
            ctx.allow_extra_args = True
            for extra in super().parse_args(ctx, words.others):
                hint = "is not a setting: expected one such as tuner.r=8" if takes_settings else "is a word too many"
                raise UsageError(f"{extra!r} {hint}")
            ctx.params |= {SETTINGS: words.settings} if takes_settings else {}
            return []

    @contextmanager
    def _without_settings(self) -> Iterator[None]:
        """Hide the settings from typer, which would read them by their position."""
        kept = self.params
        self.params = [one for one in kept if one.name != SETTINGS]
        try:
            yield
        finally:
            self.params = kept

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what the usage line shows after the verb."""
        parameters: list[Any] = self.get_params(ctx)
        pieces = [named(one) for one in parameters if not is_option(one)]
        if any(is_option(one) and one.name != "help" for one in parameters):
            pieces.append("[--option ...]")
        return pieces or ["[--help]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write what the words mean."""
        write_parameters(self.get_params(ctx), formatter)


class PassedVerb(Verb):
    """A verb whose words are all another program's, except a `--help` that comes first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave the words in `ctx.args`."""
        if args[:1] in (["--help"], ["-h"]):
            return super().parse_args(ctx, args[:1])
        ctx.args = args
        return args

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Return what the usage line shows after the verb."""
        return ["[word ...]"]


class VerbGroup(TyperGroup):
    """Verbs that are chosen by the first word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words up to the verb. Raises UsageError."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        parameters: list[Any] = self.get_params(ctx)
        options = {name for one in parameters for name in one.opts}
        with told_as_ours(ctx.command_path):
            if args in ([], ["--"]):
                raise UsageError(f"a verb is missing{near_matches('', self.commands)}")
            if args[0].startswith("-") and args[0] not in {*options, "--"}:
                raise UsageError(f"no option {args[0]!r}{near_matches(args[0], options)}")
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb's name, its command and the words after it. Raises UsageError."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageError(f"{ctx.command_path}: no verb {args[0]!r}{near_matches(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write what the verbs and the words before them mean."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(200)) for name, verb in self.commands.items()])
        write_parameters(self.get_params(ctx), formatter)


@contextmanager
def told_as_ours(command: str) -> Iterator[None]:
    """Turn what typer says of a word into a UsageError of one line, with the command it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{command}: {error}") from None
    except typer.TyperException as error:
        text = " ".join(error.format_message().split()).removesuffix(".")
        raise UsageError(f"{command}: {text[:1].lower()}{text[1:]}; see `{command} --help`") from None


def write_parameters(parameters: Sequence[Any], formatter: Any) -> None:
    """Write what arguments and options of a command mean, in two sections of a help page."""
    for title, kind in (("Arguments", False), ("Options", True)):
        rows = [described(one) for one in parameters if is_option(one) is kind]
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)


def is_option(parameter: Any) -> bool:
    """Return whether a parameter of a command begins with a dash."""
    return bool(parameter.param_type_name == "option")


def named(parameter: Any) -> str:
    """Return how the usage line shows an argument."""
    shown = f"{parameter.metavar}{' ...' if parameter.nargs == -1 else ''}"
    return shown if parameter.required else f"[{shown}]"


def described(parameter: Any) -> tuple[str, str]:
    """Return how a help page shows an argument or an option, and what it means."""
    if not is_option(parameter):
        return parameter.metavar, parameter.help
    shown = ", ".join(sorted(parameter.opts, key=len))
    text = "show this page" if parameter.name == "help" else parameter.help
    return f"{shown}{'' if parameter.is_flag else f' {parameter.metavar}'}", text


def examples(*commands: str) -> str:
    """Return commands as the end of a help page, each on a line of its own."""
    return "\n".join(["\b", "Examples:" if len(commands) > 1 else "Example:", *(f"  {line}" for line in commands)])


def one_only(command: str, **given: object) -> None:
    """Raise UsageError if more than one of some options is given, by the names of their parameters."""
    chosen = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if len(chosen) > 1:
        raise UsageError(f"{command}: {' and '.join(chosen)} exclude each other")


def overrides(settings: Sequence[str] | None) -> list[str]:
    """Return the settings of a command line as a list, which is empty if there are none."""
    return list(settings or [])
