"""The loop of the examples on sequences: steps that can be broken off and taken up again, with a bar and a curve."""

import argparse
import math
import signal
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from tqdm.auto import tqdm

import minidl


def number(kind, least, most=math.inf):
    """For a parser: int or float, within bounds."""

    def read(text):
        value = kind(text)
        if not least <= value <= most:
            wanted = f"at least {least}" if most == math.inf else f"between {least} and {most}"
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text}")
        return value

    read.__name__ = kind.__name__  # argparse says it where the text is no number
    return read


def options(description, steps, batch_size, lr, every, name):
    """A parser of the command line with these defaults; ``every`` so many steps the network is tested and saved."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=number(int, 1), default=steps, help=f"steps of gradient descent ({steps})")
    parser.add_argument("--batch-size", type=number(int, 1), default=batch_size, help=f"sequences in a step ({batch_size})")
    parser.add_argument("--lr", type=number(float, 0), default=lr, help=f"learning rate ({lr})")
    parser.add_argument("--every", type=number(int, 1), default=every, help=f"test and save after so many steps ({every})")
    parser.add_argument("--device", default="cpu", help="where to compute (cpu)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", default=f"runs/{name}.safetensors", help="file to save to")
    parser.add_argument("--keep", type=number(int, 1), default=2, help="checkpoints to keep, with the newest (2)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--output", default="runs", help="folder for the pictures")
    parser.add_argument("--smoke", action="store_true", help="a few steps only, to see that everything works")
    parser.set_defaults(example=name)
    return parser


class Interrupt:
    """Ctrl-C noted, to be obeyed between two steps, when everything can be saved; a second Ctrl-C stops at once."""

    def __init__(self):
        self.wanted = False
        signal.signal(signal.SIGINT, self.note)

    def note(self, *_):
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


class Steps:
    """A training run: what learns, how far it is, and what was measured on the way.

    Parameters
    ----------
    args
        The command line, from `options`.
    parts : dict
        By name, all that has a ``state_dict()`` and goes into the checkpoint.
    step : function
        Takes one step of gradient descent and returns the loss. All that it draws at random must come from minidl's default
        generator, whose state is saved as well.
    test : function
        Measures the network: numbers by name.
    settings : dict
        What must not change when a run goes on.
    """

    def __init__(self, args, parts, step, test, settings):
        self.args, self.parts, self.step, self.test = args, parts, step, test
        self.settings = {"example": args.example, **settings, "batch_size": args.batch_size, "lr": args.lr, "seed": args.seed}
        self.done, self.history, self.recent = 0, [], [0.0, 0]  # recent: summed loss and steps since the last test
        self.seconds = 0.0

    def save(self, path):
        """Everything that is needed to go on as if nothing had happened."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"random": minidl.get_rng_state(), "settings": self.settings, "done": self.done, "history": self.history}
        if minidl.get_default_device().type == "cuda":
            state["random of the GPU"] = minidl.cuda.get_rng_state()
        try:
            minidl.Checkpoints(path, self.args.keep).save({**state, "recent": self.recent, "seconds": self.seconds})
        except OSError as error:  # a full disk, for example
            sys.exit(f"{error}")

    def load(self, path):
        """Go on from what `save` wrote."""
        state = load_checkpoint(path, self.args.example)
        settings = {k: (state["settings"].get(k), v) for k, v in self.settings.items()}
        changed = ", ".join(f"{k} {was}, not {now}" for k, (was, now) in settings.items() if was != now)
        if changed:
            sys.exit(f"{path} was trained with {changed}; give the same values, or leave out --resume")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        minidl.set_rng_state(state["random"])
        if "random of the GPU" in state and minidl.get_default_device().type == "cuda":
            minidl.cuda.set_rng_state(state["random of the GPU"])
        self.done, self.history, self.recent = state["done"], state["history"], state["recent"]
        self.seconds = state["seconds"]

    def run(self, stopped):
        """Steps until all are done; False if ``stopped()`` said to break off."""
        # disable=None: no bar in a log file, where the line after each test is enough
        with tqdm(total=self.args.steps, initial=self.done, unit=" steps", leave=False, disable=None) as bar:
            while self.done < self.args.steps:
                if stopped():
                    self.save(self.args.checkpoint)
                    return False
                started = time.perf_counter()
                loss = self.step()
                self.seconds += time.perf_counter() - started
                self.done, self.recent = self.done + 1, [self.recent[0] + loss, self.recent[1] + 1]
                bar.update()
                bar.set_postfix(loss=f"{self.recent[0] / self.recent[1]:.3f}")
                if self.done % self.args.every == 0 or self.done == self.args.steps:
                    self._report(bar)
        return True

    def _report(self, bar):
        """Test, note, save, and say it in a line."""
        measured = {"step": self.done, "training loss": self.recent[0] / self.recent[1], **self.test()}
        self.recent = [0.0, 0]
        self.history.append(measured)
        self.save(self.args.checkpoint)
        numbers = "  ".join(f"{name} {value:.3f}" for name, value in measured.items() if name != "step")
        bar.write(f"step {self.done:5d}/{self.args.steps}  {numbers}  {self.seconds:.0f} s")

    def draw(self, path):
        """What was measured, against the steps: a picture for each number."""
        names = [name for name in (self.history[0] if self.history else {}) if name != "step"]
        figure, axes = plt.subplots(1, max(len(names), 1), figsize=(4.5 * max(len(names), 1), 3.5), squeeze=False)
        for axis, name in zip(axes[0], names):
            axis.plot([h["step"] for h in self.history], [h[name] for h in self.history], "o-")
            axis.set(xlabel="step", ylabel=name)
            axis.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(path, dpi=120)
        plt.close(figure)


def load_checkpoint(path, example):
    """What `Steps.save` wrote for this example; the program ends if there is no such thing."""
    try:
        state = minidl.Checkpoints(path).load(map_location=minidl.get_default_device())
    except (OSError, RuntimeError) as error:
        sys.exit(f"checkpoint: {error}")
    if not isinstance(state, dict) or not {"settings", "done", "history", "random"} <= set(state):
        sys.exit(f"checkpoint: {path} holds something else than what this example saves")
    if state["settings"].get("example") != example:
        sys.exit(f"checkpoint: {path} is of another example, {state['settings'].get('example')}")
    return state


def prepare(args):
    """Look at the options and make the folders, before anything takes time; for a smoke test, few steps."""
    width, heads = (getattr(args, name, 1) for name in ("width", "heads"))
    if width % heads:
        sys.exit(f"--heads {heads} must divide --width {width}")
    try:
        minidl.manual_seed(args.seed)
        minidl.set_default_device(args.device)  # from here on everything is made there
        Path(args.output).mkdir(parents=True, exist_ok=True)
        Path(args.checkpoint).parent.mkdir(parents=True, exist_ok=True)
        if Path(args.checkpoint).is_dir():
            raise IsADirectoryError(f"--checkpoint {args.checkpoint} is a folder; give the name of a file")
    except (RuntimeError, OSError, ValueError) as error:
        sys.exit(f"{error}")
    if args.smoke:
        args.steps, args.every, args.batch_size = min(args.steps, 4), 2, min(args.batch_size, 4)
    return args


def train(steps):
    """Run to the end, or until Ctrl-C; True if all steps are done."""
    args, interrupt = steps.args, Interrupt()
    if args.resume:
        steps.load(args.checkpoint)
        print(f"Going on from {args.checkpoint}: {steps.done} steps done.")
    if not steps.run(lambda: interrupt.wanted):
        print(f"\nStopped after {steps.done} steps, saved to {args.checkpoint}. Go on: the same command and --resume.")
        return False
    return True
