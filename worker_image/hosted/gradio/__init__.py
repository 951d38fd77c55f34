"""Gradio apps as engines: the wire, and the two apps of a media node."""
