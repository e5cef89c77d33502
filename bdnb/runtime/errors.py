"""The error that every part raises for what a user can mend."""


class ConfigError(ValueError):
    """A parameter, file or name that cannot be used: says which, where, and what was expected."""
