"""``python -m minidl``: the program ``minidl``."""

import sys

from minidl_doctor import main

if __name__ == "__main__":
    sys.exit(main())
