"""The errors that every part raises for what a user can mend: a line each, no traceback."""


class BdnbError(Exception):
    """An error that is expected: its message says what is wrong, where, and what to do.

    status: of a command that ends with it.
    """

    status = 2

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(BdnbError, ValueError):
    """A parameter, file or name that cannot be used: says which, where, and what was expected."""
