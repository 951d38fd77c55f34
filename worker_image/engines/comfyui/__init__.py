"""ComfyUI as an engine: its HTTP and WebSocket, the SONIC graph for portraits, and any workflow in API format."""
