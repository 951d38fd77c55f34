"""The parts of an agent at work: heartbeats, claims, the attempts it holds, its owner's and its host's wishes."""
