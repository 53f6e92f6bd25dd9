"""Say what is on a picture, with a network that examples/cifar10.py trained.

python examples/predict.py picture.png --checkpoint runs/cifar10.safetensors
python examples/predict.py --export cifar10.onnx    # the network as a file that onnxruntime runs, without minidl
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from cifar10 import TO_INPUT, Net, load_checkpoint
from PIL import Image

import minidl
import minidl.nn.functional as F


def load_picture(path):
    """The middle square of an image file, made 32 x 32, as the network's input (1, 3, 32, 32)."""
    picture = Image.open(path).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.LANCZOS)
    return TO_INPUT(np.asarray(picture))[None]


def load_network(checkpoint):
    """The network of a checkpoint, and the names of its classes."""
    state = load_checkpoint(checkpoint)
    net = Net()
    net.load_state_dict(state["model"])
    return net.eval(), state["classes"]


def predict(picture, checkpoint):
    """The classes in falling order of probability, as ``[(name, probability), ...]``."""
    net, classes = load_network(checkpoint)
    with minidl.no_grad():
        sure, order = F.softmax(net(load_picture(picture)), 1)[0].sort(descending=True)
    return [(classes[i], p) for i, p in zip(order.tolist(), sure.tolist())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", help="an image file")
    parser.add_argument("--checkpoint", default="runs/cifar10.safetensors")
    parser.add_argument("--export", metavar="FILE", help="write the network as an ONNX file (pip install 'minidl[onnx]')")
    parser.add_argument("--smoke", action="store_true", help="try it with a new network and a grey picture")
    args = parser.parse_args()
    if args.smoke:
        folder = Path(tempfile.mkdtemp())
        args.picture, args.checkpoint = folder / "grey.png", folder / "new.safetensors"
        Image.new("RGB", (60, 40), "grey").save(args.picture)
        minidl.save({"model": Net().state_dict(), "classes": [str(i) for i in range(10)], "settings": {}}, args.checkpoint)
    if args.export:
        axes = {"pictures": {0: "batch"}}
        net, _ = load_network(args.checkpoint)
        minidl.onnx.export(net, minidl.zeros(2, 3, 32, 32), args.export, input_names=["pictures"], dynamic_axes=axes)
        print(f"{args.export}: pictures (N, 3, 32, 32) in, ten scores each out")
    elif args.picture is None:
        parser.error("give an image file, or --export FILE")
    if args.picture is None:
        return
    try:
        answers = predict(args.picture, args.checkpoint)
    except OSError as error:
        sys.exit(f"picture: {error}")
    for name, p in answers[:3]:
        print(f"{p:6.1%}  {name}")


if __name__ == "__main__":
    main()
