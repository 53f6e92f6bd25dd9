"""Train an LSTM on text, character by character, and let it write.

    python examples/char_rnn.py                              # on Python's own help, some minutes
    python examples/char_rnn.py --text FILE                  # on a text of your own
    python examples/char_rnn.py --resume                     # go on where it stopped
    python examples/char_rnn.py --only-write --prompt "The " --temperature 0.5

Of Python's help it learns nine tenths. On the last tenth it comes to 1.70 bits per character in 2,000 steps, which take one
thread 7 minutes; PyTorch comes to 1.71 in 6 minutes.

Sources: Graves, Generating Sequences With Recurrent Neural Networks, 2013; Karpathy, The Unreasonable Effectiveness of
Recurrent Neural Networks, 2015.
"""

import math

from shared import text
from shared.steps import Steps, load_checkpoint, number, options, prepare, train

import minidl
import minidl.nn.functional as F
from minidl import nn, optim


class CharRNN(nn.Module):
    """From characters (N, T) the scores (N, T, vocabulary) of what comes next after each, and the state to go on from."""

    def __init__(self, vocabulary, width, layers):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens, state=None):
        out, state = self.lstm(self.embedding(tokens), state)  # (N, T, width)
        return self.head(out), state


@minidl.no_grad()
def write(net, tokens, count, temperature):
    """``count`` more characters after ``tokens`` (N, T); the state holds all that has been read.

    ``temperature`` divides the scores: below 1 what is likely gets likelier, at 0 the likeliest is taken.
    """
    training = net.training
    net.eval()
    scores, state = net(tokens)
    for _ in range(count):
        last = scores[:, -1]
        if temperature < 1e-30:  # divided by so little the scores would overflow
            new = last.argmax(-1, keepdim=True)
        else:
            new = minidl.multinomial(F.softmax(last / temperature, -1), 1)
        tokens = minidl.cat([tokens, new], 1)
        scores, state = net(new, state)
    net.train(training)
    return tokens


def loss_of(net, tokens, targets):
    """The mean cross-entropy over all positions, in nats."""
    return F.cross_entropy(net(tokens)[0].flatten(0, 1), targets.flatten())


class Learner:
    """The network with all that changes in training."""

    def __init__(self, args, net):
        self.net, self.data, self.args = net, text.Text(text.load(args.text), args.length), args
        self.optimizer = optim.Adam(net.parameters(), args.lr)
        self.rates = optim.lr_scheduler.CosineAnnealingLR(self.optimizer, args.steps, args.lr / 10)
        settings = {name: getattr(args, name) for name in ("width", "layers", "length", "steps")}
        settings["checksum of the text"] = self.data.checksum
        parts = {"model": net, "optimizer": self.optimizer, "rates": self.rates}
        self.steps = Steps(args, parts, self.step, self.test, settings)

    def step(self):
        """One step of gradient descent on pieces of the text from anywhere."""
        self.optimizer.zero_grad()
        loss = loss_of(self.net, *self.data.batch(self.args.batch_size))
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.rates.step()
        return loss.item()

    def test(self):
        """The loss on text that it has not learnt from."""
        with minidl.no_grad():
            losses = [loss_of(self.net, *batch).item() for batch in self.data.test_batches(32, 1 if self.args.smoke else 20)]
        loss = sum(losses) / len(losses)
        return {"test loss": loss, "bits per character": loss / math.log(2)}


def command_line():
    """The options of this example."""
    parser = options(__doc__, steps=2000, batch_size=32, lr=2e-3, every=200, name="char_rnn")
    parser.add_argument("--text", help="file to learn from (Python's own help)")
    parser.add_argument("--length", type=number(int, 1), default=128, help="characters in a sequence (128)")
    parser.add_argument("--width", type=number(int, 1), default=256, help="units of a layer (256)")
    parser.add_argument("--layers", type=number(int, 1), default=1, help="LSTMs one above the other (1)")
    parser.add_argument("--only-write", action="store_true", help="do not train; write with the checkpoint")
    parser.add_argument("--prompt", default="The ", help="what the sample begins with")
    parser.add_argument("--count", type=number(int, 0), default=400, help="characters to write (400)")
    parser.add_argument("--temperature", type=number(float, 0), default=0.7, help="0: always the likeliest (0.7)")
    return parser


def main():
    args = prepare(command_line().parse_args())
    if args.only_write:  # the network that the checkpoint holds
        state = load_checkpoint(args.checkpoint, args.example)
        net = CharRNN(len(text.ALPHABET), state["settings"]["width"], state["settings"]["layers"])
        net.load_state_dict(state["model"])
    else:
        net = CharRNN(len(text.ALPHABET), args.width, args.layers)
        learner = Learner(args, net)
        print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(learner.data.train):,} characters to learn from.")
        finished = train(learner.steps)
        if learner.steps.history:
            learner.steps.draw(f"{args.output}/char_rnn.png")
            print(f"Curves: {args.output}/char_rnn.png")
        if not finished:
            return
    prompt = minidl.tensor(text.encode(args.prompt or "\n"))[None]
    print("\n" + text.decode(write(net, prompt, args.count, args.temperature)[0].tolist()))


if __name__ == "__main__":
    main()
