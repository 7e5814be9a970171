"""Parts that every job needs of a cluster: machines, storage, names, progress, failures."""

import os

# Only the second version of Ray Train has what this package uses; its import and its processes look at this.
TRAIN_V2 = "RAY_TRAIN_V2_ENABLED"
os.environ[TRAIN_V2] = "1"
# A thread that is left over when a job ends would otherwise start a new Ray by asking the old one.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
