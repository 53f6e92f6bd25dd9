"""Exercises: write an engine step by step, and be told what is wrong. ``python -m minidl.exercises`` starts them.

What a step is made of stands in one file of ``steps/``: its text, its solution, what the learner finds in its place, and the
mistakes that people make there, each with the words that help. `minidl.exercises.step` reads these files. What must hold of
a solution is in ``checks/``.
"""
