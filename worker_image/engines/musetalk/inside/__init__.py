"""What runs under MuseTalk's own Python, in its checkout: the standard library and MuseTalk's packages, nothing else.

It imports nothing of ours from outside this folder, since its Python has none of our packages.
"""
