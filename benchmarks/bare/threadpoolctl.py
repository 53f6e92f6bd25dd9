"""In place of threadpoolctl where it cannot be installed: BLAS keeps the threads that it has. See gpu_check.py."""

import contextlib


class ThreadpoolController:
    lib_controllers = ()

    def select(self, **which):
        return self

    def limit(self, **to):
        return self

    def restore_original_limits(self):
        pass


def threadpool_limits(limits=None, user_api=None):
    return contextlib.nullcontext()


def threadpool_info():
    return []
