"""Serve GAN model packages over gRPC."""

import os

# onnxruntime would report to its maker and keep a device's id in the home folder. It reads this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
