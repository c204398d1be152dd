"""What can go wrong, as one small tree. Every message says what, where and the next action.

LotgateError                 exit 1: a defect of Lotgate or of the machine under it
├── InputError               exit 2: something the caller gave cannot be used
│   ├── LotError             the lot on trial
│   ├── TrustedError         the trusted set
│   ├── ContextError         an earlier release given as context
│   ├── SettingsError        params.yaml or a command-line option
│   ├── ModelError           a model brought by the user
│   ├── OutputError          the folder to write to
│   └── RegistryError        the data registry: dirty, locked, diverged, unreachable
└── IntegrityError           exit 1: released bytes are not the bytes that were judged
"""

from __future__ import annotations

from typing import ClassVar


class LotgateError(Exception):
    """Root of every error that Lotgate raises on purpose.

    Args:
        what: one sentence, what is wrong.
        where: the path, row, column or option it is about.
        action: what the reader can do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: object = "", action: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.action = action

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.action:
            lines.append(f"  next:  {self.action}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.action)


def _rebuild(kind: type[LotgateError], what: str, where: str, action: str) -> LotgateError:
    return kind(what, where=where, action=action)


class InputError(LotgateError):
    """Something the caller gave cannot be used; nothing was written."""

    exit_code = 2


class LotError(InputError):
    """The lot on trial cannot be read as a lot."""


class TrustedError(InputError):
    """The trusted set is missing, empty or does not fit the lot."""


class ContextError(InputError):
    """An earlier release given as context does not fit the lot, or is not what was released."""


class SettingsError(InputError):
    """A setting or command-line option is unknown or out of range."""


class ModelError(InputError):
    """A model brought by the user cannot be loaded or does not fit the data."""


class OutputError(InputError):
    """The output folder cannot be written."""


class RegistryError(InputError):
    """The data registry is dirty, locked, diverged or unreachable."""


class IntegrityError(LotgateError):
    """Bytes differ from the bytes that were judged and released."""
