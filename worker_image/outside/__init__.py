"""What the agent says to those outside: heartbeats, claims, the metadata service of its host, its owner's terminal."""
