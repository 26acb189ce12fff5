"""Networks as ONNX graphs: written, made lean for many streams, and run."""
