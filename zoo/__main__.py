"""Run the command line: `python -m zoo` does what `zoo` does."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # `python -m` puts the working folder first on the path: a torch.py there must not take the place of torch. When zoo is
    # itself imported from the working folder, that folder must stay.
    try:
        working_folder = os.path.realpath("")
        if os.path.realpath(sys.path[0]) == working_folder != os.path.realpath(f"{__file__}/../.."):
            del sys.path[0]
    except OSError:  # the working folder does not exist any more
        pass
    from zoo_cli import main

    main()
