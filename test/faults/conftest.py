"""The fixtures of faults_world."""

from faults_world import made, model, world

__all__ = ["made", "model", "world"]
