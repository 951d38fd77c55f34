"""Engine backends: how each engine of the catalogue runs on this machine, if it honestly can."""
