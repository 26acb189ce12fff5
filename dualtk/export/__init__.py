"""A trained network as ONNX graphs: for unmodified sherpa-onnx, or plain."""
