"""`gpulease demo`: the whole way of a job, once, on this machine."""
