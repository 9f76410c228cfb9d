"""The command line: `polygil` and `python -m polygil`. All of it is native; this only finds the native module."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line in `sys.argv` and return the exit code."""
    from polygil._serve import native
    from polygil._streams import complain, end

    try:
        module = native()
    except ImportError as error:
        complain(f"polygil: {error}")
        return 2
    code: int = module.main(sys.argv[1:])
    return end(code)


if __name__ == "__main__":
    sys.exit(main())
