"""The clock of features, a frame every 10 ms, whatever their kind; and that of samples which do not say theirs."""

FRAMES_PER_SECOND = 100
FRAME_SECONDS = 0.01  # from the start of one feature frame to that of the next
FRAME_REACH_SECONDS = 0.0175  # a log-mel frame covers audio up to its start + 17.5 ms (25 ms window, centred)
RAW_RATE = 16000  # Hz, of a stream without a header, unless it is said otherwise
