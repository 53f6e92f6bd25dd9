"""Train a small GPT on text, character by character, and let it write.

    python examples/gpt.py                                # on Python's own help, some minutes
    python examples/gpt.py --text FILE                    # on a text of your own
    python examples/gpt.py --resume                       # go on where it stopped
    python examples/gpt.py --only-write --prompt "The "   # from the checkpoint: no training
    python examples/gpt.py --only-write --temperature 0.8 --top-k 20 --top-p 0.95

The network is GPT-2's, small: tokens and positions that are learnt, blocks of causal attention and of a network of two
layers, each normalised before and added after, and the same matrix for reading and for writing tokens. Its parameters have
GPT-2's names; where GPT-2's files have c_attn, c_proj and c_fc as (in, out), give `load_state_dict` the transposed weights.

Of Python's help it learns nine tenths. On the last tenth it comes to 1.90 bits per character in 2,000 steps, which take one
thread 8 minutes; PyTorch comes to 1.90 in 6 1/2 minutes.

Sources: Radford et al., Language Models are Unsupervised Multitask Learners, 2019; Holtzman et al., The Curious Case of Neural
Text Degeneration, ICLR 2020 (top-p).
"""

import math

from shared import text
from shared.steps import Steps, load_checkpoint, number, options, prepare, train

import minidl
import minidl.nn.functional as F
from minidl import nn, optim


class Attention(nn.Module):
    """Causal attention: queries, keys and values from one linear layer, the heads' findings put together by another."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x, cache=None):
        n, t, width = x.shape
        q, k, v = self.c_attn(x).reshape(n, t, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)  # each (N, H, T, E)
        if cache is not None:
            k, v = cache.extend(k, v)  # and those of all tokens before
        # several tokens at once come only where there are none before them; one token may look at all of them
        out = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        return self.c_proj(out.transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    """Attention, then a network for each position; each adds to what goes by."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x, cache=None):
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class GPT(nn.Module):
    """From tokens (N, T) the scores (N, T, vocabulary) of what comes next after each of them."""

    def __init__(self, vocabulary, length, width=128, heads=4, layers=4):
        super().__init__()
        self.length = length
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.h = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.dim() > 1:
                small = math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 1  # so many are added up on the way
                nn.init.normal_(p, std=0.02 / small)

    def forward(self, tokens, caches=None):
        start = 0 if caches is None else caches[0].length
        positions = minidl.arange(start, start + tokens.shape[1], device=tokens.device)
        x = self.wte(tokens) + self.wpe(positions)
        for i, block in enumerate(self.h):
            x = block(x, None if caches is None else caches[i])
        return F.linear(self.ln_f(x), self.wte.weight)


def pick(scores, temperature=1.0, top_k=0, top_p=1.0):
    """Draw a token for each row of scores (N, vocabulary).

    ``temperature`` divides the scores: below 1 what is likely gets likelier. Only the ``top_k`` best can be drawn (0: all), and
    of them only the likeliest that together have the probability ``top_p``.
    """
    if temperature < 1e-30:  # divided by so little the scores would overflow
        return scores.argmax(-1, keepdim=True)
    sure, order = F.softmax(scores / temperature, -1).sort(-1, descending=True)
    out = sure.cumsum(-1) - sure >= top_p  # those before it are enough
    out[:, 0] = False  # the likeliest is always in
    if top_k:
        out[:, top_k:] = True
    drawn = minidl.multinomial(sure.masked_fill(out, 0.0), 1)
    return order.gather(-1, drawn)


@minidl.no_grad()
def write(net, tokens, count, **how):
    """``count`` more tokens after ``tokens`` (N, T), each computed from the caches of all before it.

    When the context is full, the second half of it is read again as a new beginning.
    """
    training = net.training
    net.eval()
    caches, new = None, tokens
    for _ in range(count):
        if caches is None or caches[0].length + new.shape[1] > net.length:
            caches, new = [nn.KVCache(net.length) for _ in net.h], tokens[:, -max(net.length // 2, 1) :]
        new = pick(net(new, caches)[:, -1], **how)
        tokens = minidl.cat([tokens, new], 1)
    net.train(training)
    return tokens


def loss_of(net, tokens, targets):
    """The mean cross-entropy over all positions, in nats."""
    return F.cross_entropy(net(tokens).flatten(0, 1), targets.flatten())


def command_line():
    parser = options(__doc__, steps=2000, batch_size=16, lr=1e-3, every=200, name="gpt")
    parser.add_argument("--text", help="file to learn from (Python's own help)")
    parser.add_argument("--length", type=number(int, 1), default=128, help="characters that it sees at once (128)")
    parser.add_argument("--width", type=number(int, 1), default=128, help="features of a token (128)")
    parser.add_argument("--heads", type=number(int, 1), default=4, help="of each layer; they share the width (4)")
    parser.add_argument("--layers", type=number(int, 1), default=4, help="blocks one above the other (4)")
    parser.add_argument("--compile", action="store_true", help="fuse the network's ops with minidl.compile")
    parser.add_argument("--only-write", action="store_true", help="do not train; write with the checkpoint")
    parser.add_argument("--prompt", default="The ", help="what the sample begins with")
    parser.add_argument("--count", type=number(int, 0), default=400, help="characters to write (400)")
    parser.add_argument("--temperature", type=number(float, 0), default=0.8, help="0: always the likeliest (0.8)")
    parser.add_argument("--top-k", type=number(int, 0), default=0, help="draw only from so many (0: all)")
    parser.add_argument(
        "--top-p", type=number(float, 0, 1), default=0.95, help="draw only from the likeliest with this probability (0.95)"
    )
    return parser


def main():
    args = prepare(command_line().parse_args())
    if args.only_write:  # the network that the checkpoint holds
        state = load_checkpoint(args.checkpoint, args.example)
        shape = {name: state["settings"][name] for name in ("length", "width", "heads", "layers")}
    else:
        shape = {name: getattr(args, name) for name in ("length", "width", "heads", "layers")}
    net = GPT(len(text.ALPHABET), **shape)
    if args.only_write:
        net.load_state_dict(state["model"])
    else:
        finished = learn(net, args, shape)
        if not finished:
            return
    prompt = minidl.tensor(text.encode(args.prompt or "\n"))[None]
    written = write(net, prompt, args.count, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p)
    print("\n" + text.decode(written[0].tolist()))


def learn(net, args, shape):
    """Train; False if it was broken off."""
    data = text.Text(text.load(args.text), args.length)
    optimizer = optim.AdamW(net.parameters(), args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    steps, warm_up = args.steps, max(1, args.steps // 20)
    rates = optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm_up, 0.55 + 0.45 * math.cos(math.pi * min(i / steps, 1)))
    )
    forward = minidl.compile(net) if args.compile else net

    def step():
        optimizer.zero_grad()
        loss = loss_of(forward, *data.batch(args.batch_size))
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rates.step()
        return loss.item()

    def test():
        net.eval()
        with minidl.no_grad():
            losses = [loss_of(net, *batch).item() for batch in data.test_batches(32, 1 if args.smoke else 20)]
        net.train()
        return {"test loss": sum(losses) / len(losses), "bits per character": sum(losses) / len(losses) / math.log(2)}

    parts = {"model": net, "optimizer": optimizer, "rates": rates}
    run = Steps(args, parts, step, test, {**shape, "steps": args.steps, "checksum of the text": data.checksum})
    print(f"{sum(p.numel() for p in net.parameters()):,} parameters, {len(data.train):,} characters to learn from.")
    finished = train(run)
    if run.history:
        run.draw(f"{args.output}/gpt.png")
        print(f"Curves: {args.output}/gpt.png")
    return finished


if __name__ == "__main__":
    main()
