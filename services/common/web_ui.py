"""Where MLflow's wheel is installed for the sake of its web UI: in a folder of its own, from which nothing is imported.

Beside other packages it would be a second `mlflow`, in the place of the one that clients use.
"""

import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "share" / "modelstead" / "web-ui"
DISTRIBUTION = "mlflow"
