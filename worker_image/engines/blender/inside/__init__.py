"""What runs inside Blender, whose Python has neither our packages nor, always, numpy."""
