"""`portrait` and `comfyui` by the ComfyUI of a rented node."""
