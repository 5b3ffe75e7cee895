"""Sweeps of Hesper itself, and of others."""
