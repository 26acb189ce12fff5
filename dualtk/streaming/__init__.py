"""Streams: audio in pieces in, labels and times out."""
