"""Has what a sink raises say that it is the sink's: nobody else can tell the side of a transfer's error."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import ParamSpec, TypeVar

from dataferry.domain.errors import DataFerryError

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")


def faults_of_sink(kind: type[C]) -> type[C]:
    """Decorate a writer of a sink, or a body on its way there: its public methods, not inherited ones.

    Not the sink itself: what it says of a name may be the fault of the source that has it.
    """
    for name, method in list(vars(kind).items()):
        if isinstance(method, FunctionType) and not name.startswith("_"):
            setattr(kind, name, fault_of_sink(method))
    return kind


def fault_of_sink(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that asks nobody but the sink."""

    @wraps(function)
    def telling(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except DataFerryError as error:
            error.of_sink = True
            raise

    return telling
