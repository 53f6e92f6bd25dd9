"""Calculus: each op's forward and its rules side by side, a file for each family."""
