"""The options that every command takes that judges: what is declared, how it is judged, and where the reports go."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import click


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", value, re.ASCII):
        raise click.BadParameter(f"{value!r} is not cpu, cuda or cuda:N")
    return value


def _seconds(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"{value!r} is not a number of seconds above zero")
    return value


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--declare",
        type=click.Choice(["tied", "untied", "both"]),
        help="What the model is meant to be, and with which value of its tie flag it is built, where it has one; "
        "both: each way, two reports, and the exit status is the worse.",
    ),
    click.option(
        "--assume",
        multiple=True,
        metavar="KEY=VALUE",
        help="Declare what the architecture adds on purpose, such as output_bias=true or 'input_scale=sqrt(D)'.",
    ),
    click.option("--device", metavar="cpu|cuda[:N]", callback=_device, help="Where the model runs."),
    click.option(
        "--dtype",
        type=click.Choice(["float64", "float32", "bfloat16", "float16"]),
        help="Cast the model first; without it, its own.",
    ),
    click.option(
        "--profile",
        type=click.Choice(["quick", "standard", "full"]),
        default="standard",
        show_default=True,
        help="quick: a handful of passes, nothing is rebuilt.",
    ),
    click.option("--strict", is_flag=True, help="A SHOULD that fails fails the run."),
    click.option("--select", multiple=True, metavar="ID_OR_CHAPTER", help="Judge only this; repeatable."),
    click.option("--deselect", multiple=True, metavar="ID_OR_CHAPTER", help="Judge all but this; repeatable."),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        default=0,
        show_default=True,
        metavar="N",
        help="Draw other inputs.",
    ),
    click.option("--expected-failures", metavar="FILE", help="TOML that names what is known to fail, and why."),
    click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON."),
    click.option("--junit", "junit_file", metavar="FILE", help="Write the report as JUnit XML."),
    click.option("--html", "html_file", metavar="FILE", help="Write the report as one HTML page."),
    click.option("--markdown", "markdown_file", metavar="FILE", help="Write the report for a pull request's summary."),
    click.option("--quiet", is_flag=True, help="Print the head line only."),
    click.option("--timeout", type=float, metavar="SECONDS", callback=_seconds, help="Stop asking after so long."),
    click.option("--traceback", is_flag=True, help="Show the Python traceback of what went wrong."),
)


def steering(command: Any) -> Any:
    """A command with all of them, in this order."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(OPTIONS), command)
