"""Loops only: no checks, no allocation, no exceptions."""
