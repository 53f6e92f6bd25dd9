"""Functions composed of ops: they have no rule of their own, and their gradients come by themselves. A file a family."""
