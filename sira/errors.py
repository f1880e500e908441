"""The one exception a user sees."""

from __future__ import annotations


class SiraError(Exception):
    """Bad input, told in one line: what, where, expected, found, remedy.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: str = "",
        found: str = "",
        remedy: str = "",
    ) -> None:
        parts = [f"{where}: {what}" if where else what]
        if expected:
            parts.append(f"expected {expected}")
        if found:
            parts.append(f"found {' '.join(found.split())}")  # other libraries' texts have lines
        text = ", ".join(parts)
        super().__init__(f"{text}; {remedy}" if remedy else text)
