"""Engines tried and measured on this machine: what `gpulease doctor` and `gpulease bench-gpu` show."""
