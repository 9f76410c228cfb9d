"""What missing.toml looks into."""

VALUE = 42


class Users:
    count = 3

    @staticmethod
    def show() -> str:
        return "shown"


def good() -> str:
    return "good"


def probe() -> str:
    return "polygil conformance probe"
