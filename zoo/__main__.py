"""Run the command line: `python -m zoo` does what `zoo` does."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # `python -m` puts the working folder first on the path: a torch.py there must not take the place of torch.
    if os.path.realpath(sys.path[0]) == os.path.realpath(""):
        del sys.path[0]
    root = __file__.removesuffix("/zoo/__main__.py")
    if root not in sys.path:  # zoo runs from a folder that is not installed
        sys.path.append(root)
    from zoo_cli import main

    main()
