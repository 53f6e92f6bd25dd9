"""Functions without a rule of their own: composed of ops, so that their gradients come by themselves, or makers of new
tensors, which have none. A file a family.
"""
