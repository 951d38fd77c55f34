"""Machines that run already, make videos, and speak gRPC."""
