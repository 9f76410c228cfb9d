"""Handlers that no other interpreter could find by name. Making either app fails; both modules of setups need only that one."""

from polygil import App


def __getattr__(name: str) -> App:
    """Make the app that is asked for, so that one mistake does not hide the other."""
    app = App()
    if name == "with_lambda":
        app.get("/")(lambda: "never")
        return app
    if name == "with_closure":

        def inner() -> str:
            return "never"

        app.get("/")(inner)
        return app
    raise AttributeError(name)
