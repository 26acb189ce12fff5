"""The network: encoder, predictor, joiner, and the losses of its passes."""
