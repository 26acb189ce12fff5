"""The server: streams of many clients over one trained network, transcription by HTTP, and a live page."""
