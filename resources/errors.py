"""The one error that users meet: what is wrong, where, what to do about it, and which kind of fault it is."""

from typing import Any


class SultanaError(Exception):
    """A fault in what the user gave or in the machine: one sentence of what and where, a remedy, and a code.

    The command line prints it without a traceback and exits with status 1; Dagster shows it as the
    step's error. `orchestration/errors.md` lists the codes.
    """

    def __init__(self, problem: str, remedy: str, *, code: str) -> None:
        """`problem` says what is wrong and where; `remedy` what to do about it; `code` names the kind of fault."""
        self.code = code
        self.problem = problem.rstrip(". ")
        self.remedy = remedy.rstrip(". ")
        super().__init__(f"{self.problem}. {self.remedy}. [{code}]")

    def __reduce__(self) -> tuple[Any, ...]:
        """From its parts again, in another process: what exceptions are pickled by is their message alone."""
        return _again, (type(self), self.problem, self.remedy, self.code)


class TransientError(SultanaError):
    """A fault that may be gone at the next try: the network, a server that is busy. Steps are tried again after it."""


def _again(kind: type[SultanaError], problem: str, remedy: str, code: str) -> SultanaError:
    return kind(problem, remedy, code=code)
