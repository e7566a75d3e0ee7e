"""These tests want an image, which takes minutes to build: `make image` builds it, says where it is, and runs them."""

import os

collect_ignore = [] if "MODELSTEAD_IMAGE_ROOT" in os.environ else ["test_image.py"]
