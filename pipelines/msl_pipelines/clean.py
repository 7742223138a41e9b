"""The job "clean", to be scheduled: ``python -m msl_pipelines.clean sources.yaml --out trust``.

The same as ``msl clean``: sources in, a report and weights out.
"""

import sys

from msl.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "clean")
    main()
