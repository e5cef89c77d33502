"""papermill's own engine, but an error of ours that ends a notebook is a line and status 2.

papermill would print its own 50 lines of traceback around it. Registered as an entry point of the
package, so that the command ``papermill`` finds it; other errors are left as they are.
"""

from typing import Any

from click import ClickException
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError


class Refused(PapermillExecutionError, ClickException):
    """A notebook that ended with an error which tells itself in a line (``BdnbError``)."""

    exit_code = 2

    def __init__(self, error: PapermillExecutionError) -> None:
        self.__dict__.update(vars(error), show_color=None)
        Exception.__init__(self, *error.args)

    def __str__(self) -> str:
        return f"{self.ename}: {self.evalue}"

    def format_message(self) -> str:
        """Return what click prints."""
        return str(self)


class Engine(NBClientEngine):
    """nbclient, as papermill runs it."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, *given: Any, **named: Any) -> Any:
        """Return the executed notebook. Errors: Refused; PapermillExecutionError."""
        from papermill.execute import raise_for_execution_errors  # imports the engines itself

        done = super().execute_notebook(nb, kernel_name, *given, **named)
        try:
            raise_for_execution_errors(done, given[0] if given else named.get("output_path"))
        except PapermillExecutionError as error:
            if "\n".join(error.traceback) == f"{error.ename}: {error.evalue}":
                raise Refused(error) from None
            raise
        return done


papermill_engines.register(None, Engine)  # in place of papermill's default
