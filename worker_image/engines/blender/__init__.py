"""`blender`: a `.blend` to frames, an archive of them, or films. The script that Blender runs is ours and fixed."""
