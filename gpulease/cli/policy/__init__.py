"""Policies, tried on traces and on what a fleet has seen, before anything is changed."""
