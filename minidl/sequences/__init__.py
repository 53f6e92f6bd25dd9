"""Ops of sequences: recurrent networks and attention. Each file has the textbook's form, composed of ops, and a quick one."""
