import sys

from dropx import main

sys.exit(main())
