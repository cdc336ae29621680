"""Errors that users see: each says where, what was found, what was expected, and the cure."""

from __future__ import annotations


class MidgeError(Exception):
    """Base of all errors with a message for users.

    `exit_code` is the process exit status of the command line (DESIGN: 0 good, 1 comparison failed,
    2 bad usage or unreadable input, 3 does not fit, 4 unsupported, 5 tool missing or failed, 70 internal).
    """

    exit_code = 70

    def __init__(self, where: str, found: str, expected: str = "", cure: str = "") -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.cure = cure
        super().__init__(self.message())

    def message(self) -> str:
        """The whole message on one line: `where: found; expected …. Cure.`"""
        text = f"{self.where}: {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.cure:
            text += f". {self.cure}"
        return text


class UsageError(MidgeError):
    """The command or call was used wrongly: unknown board, wrong input shape, unwritable folder."""

    exit_code = 2


class ModelError(MidgeError):
    """The model file cannot be read, or breaks its own format's rules."""

    exit_code = 2


class DoesNotFitError(MidgeError):
    """The network needs more RAM or flash than the target (or the budget) has."""

    exit_code = 3


class UnsupportedError(MidgeError):
    """The model is valid but uses something Midge has no code for; lists everything at once."""

    exit_code = 4


class ToolError(MidgeError):
    """A compiler, emulator or optional package is missing or failed."""

    exit_code = 5


class MismatchError(MidgeError):
    """Firmware and reference computed different values."""

    exit_code = 1


class InternalError(MidgeError):
    """A broken invariant inside Midge: a bug."""

    exit_code = 70
