"""What stands in for a GPU on a machine without one: `strict` for CuPy, `emulator` for the compiler and the cores."""
