"""Sort wheels into the folders of a simple index (PEP 503): `index.py WHEELS FOLDER`."""

import re
import shutil
import sys
from pathlib import Path

wheels, folder = Path(sys.argv[1]), Path(sys.argv[2])
for wheel in sorted(wheels.glob("*.whl")):
    project = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
    (folder / project).mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, folder / project / wheel.name)
