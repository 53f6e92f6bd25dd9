"""In place of safetensors where it cannot be installed: it can be imported, but neither writes nor reads. See gpu_check.py."""


class SafetensorError(Exception):
    pass
