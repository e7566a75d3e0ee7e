"""What a training job or an inference service installs of Modelstead: gRPC stubs and the `modelstead` command."""

__version__ = "0.1.0"
