"""Writes docs/surface.md: which of PyTorch's names are here, with which arguments, and which are left out and why.

    python docs/surface.py

Both libraries are inspected as they are installed. A name that is neither here nor in a line of `LEFT_OUT` is an error, so
that the page stays true: give it a reason there, or write it.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.utils.data

import minidl

PAGE = Path(__file__).resolve().with_name("surface.md")
SPACES = (
    "torch torch.Tensor torch.nn torch.nn.functional torch.nn.init torch.nn.utils torch.optim torch.optim.lr_scheduler "
    "torch.utils.data"
).split()
BY_NAME = {space: eval(space) for space in SPACES}
OURS = {space: eval(space.replace("torch", "minidl", 1)) for space in SPACES}
# Arguments that are left out everywhere, and that the tables do not repeat.
NOWHERE = (
    "out layout pin_memory memory_format names size_average foreach fused capturable differentiable non_blocking inplace_view"
).split()

# Words in the docstrings of PyTorch's methods that its functions do not take, and what they take instead.
MISNAMED = {
    "value": "other",
    "divisor": "other",
    "y": "other",
    "tensor": "other source",
    "tensor2": "other source",
    "batch2": "mat2",
    "indices": "index",
    "dimension": "dim",
    "shape": "size",
    "split_size_or_sections": "indices_or_sections",
    "orig_func": "func",
}

# Why a name is left out: the first line whose pattern is the whole name.
LEFT_OUT = {
    "complex numbers": (
        "real|imag|polar|angle|.*conj.*|adjoint|m?H|view_as_(complex|real).*|cdouble|cfloat|chalf|isreal|complex.*"
    ),
    "Fourier transforms, windows of signals": ("i?stft|(bartlett|blackman|hamming|hann|kaiser)_window"),
    "linear algebra beyond products (take `numpy.linalg`)": (
        "cholesky.*|det|logdet|slogdet|eig|symeig|lobpcg|geqrf|inverse|pinverse|qr|svd.*|lu|lu_.*|lstsq|solve|"
        "triangular_solve|or[gm]qr|matrix_(exp|rank)|nuclear_norm|frobenius_norm|chain_matmul|"
        "renorm_?"
    ),
    "special functions, whole numbers and bits": (
        "(i0|igammac?|m?v?lgamma|digamma|polygamma|erfinv|nextafter|frexp|gcd|lcm|bitwise_(left|right)_shift|"
        "float_power|binomial)_?"
    ),
    "quantised numbers": (".*quanti[sz].*|q_.*|qscheme|qu?int.*|int_repr|fbgemm.*|.*_qparams.*|.*fake_quant.*"),
    "sparse tensors": (
        ".*[sS]parse.*|[hd]?s?smm|hsmm|hspmm|sspaddmm|spmm|saddmm|(is_)?coalesced?|(crow|ccol|row|col)_indices.*|"
        "(values|indices)(_copy)?|dense_dim|to_dense"
    ),
    "numbers narrower or wider than those of `minidl.dtypes`": ("b?float[0-9]+_.*|bfloat16|(u?int|bits?)[0-9][0-9x]*|bit"),
    "devices other than the CPU": (
        "cudnn.*|miopen.*|mkldnn.*|to_mkldnn|xpu|ipu|mtia|"
        "is_(ipu|xpu|xla|mps|mtia|maia|mkldnn|vulkan|vulkan_available|meta|cpu|pinned)|get_device_module|"
        "record_stream|Event|Stream|DataParallel|convert_conv.d_.*|get_device"
    ),
    "distributed training": ("SyncBatchNorm|DistributedSampler|.*is_distributed|is_shared|share_memory_"),
    "mixed precision": (".*autocast.*|GradScaler|[sg]et_float32_matmul_precision"),
    "switches for debugging and determinism (all is deterministic here)": (
        ".*deterministic.*|.*anomaly.*|.*warn_always.*|is_inference|is_inference_mode_enabled|set_flush_denormal|"
        "[sg]et_num_interop_threads|typename"
    ),
    "memory by hand": (
        "as_strided.*|.*[sS]torage.*|Typed.*|Untyped.*|set_|resize.*|empty_(permuted|strided)|new_empty_strided|"
        "from_file|frombuffer|is_set_to|const_data_ptr|dim_order|layout|.*memory_format|.*_format|"
        "new|nonzero_static|is_storage|storage_offset"
    ),
    "old and second names (what they do is here under another)": (
        ".*Tensor|range|ger|set_default_tensor_type|NLLLoss2d|Container|upsample.*|constant|dirac|"
        "normal|orthogonal|uniform|(kaiming|xavier)_(normal|uniform)|clip_grad_norm|volatile|reinforce|"
        "is_nested|asarray|split_with_sizes|unsafe_.*|CrossMapLRN2d|newaxis|rsub|can_cast|"
        "norm_except_dim"
    ),
    "PyTorch's own machinery (views by copy, tracing, dispatch, data pipes)": (
        ".*_copy|.*_inverse|(select|slice|diagonal|index)_(scatter|reduce)_?|native_.*|.*[sS]ym[A-Z_].*|sym_.*|"
        "cond|fork|wait|vmap|thread_safe_generator|Tag|batch_norm_.*|convolution|"
        "constant_pad_nd|.*_cell|import_ir.*|parse_.*|merge_type.*|unify_type.*|init_num_threads|has_.*|"
        "handle_torch_function|hash_tensor|resolve_neg|is_neg|apply_|map2?_|module_load|as_subclass|"
        "to_padded_tensor|sum_to_size|output_nr|name|grad_dtype|index|AVG|SUM|"
        r"[A-Z]\w*(Exception|Type|Key|KeySet|Guard|Subclass|Function|Error|Context|Info|Reader|Writer|Builder|"
        "Schema|Graph|State|Stats|Config|Logger|Module|Script|Dict|List|Iterator|Property|Serializer|Table|"
        r"Bases?|Unit|Benchmark|Method|Object)\w*|Script\w+|AliasDb|Argument\w*|Block|CallStack|Capsule|Code|"
        r"\w*Argument\w*|IODescriptor|ErrorReport|Execution\w+|FileCheck|Future|Gradient|Graph\w*|Node|NoopLogger|"
        "Type|Use|Value|InferredType|TYPE_CHECKING|ScalingType|SwizzleType|"
        "assert_int_or_pair|.*_notes|(scaled_)?(grouped_)?mm|conv_tbc|scaled_mm|.*_MODES|BroadcastingList.|"
        r"factory_kwargs|Uninitialized\w+|Buffer|swap_in_optimizer.*|.*DataPipe|DataChunk|argument_validation|"
        "functional_datapipe|(guaranteed|non)_.*|runtime_validation.*|fuse_.*|skip_init|"
        "embedding_renorm_|.*grid_(sampler|generator).*|feature_dropout_?|fill|"
        "boolean_dispatch|register_post_accumulate_grad_hook"
    ),
    "sequences, what is behind their layers or rare: not yet": (
        "gru|lstm|rnn_(relu|tanh)|multi_head_attention_forward|ctc_loss|CTCLoss|[eE]mbedding_?[bB]ag"
    ),
    "volumes (3-d)": (".*3d(_with_indices)?"),
    "layers that are rare in courses: not yet": (
        "AdaptiveLogSoftmaxWithLoss|Lazy.*|[fF]ractional_?[mM]ax_?[pP]ool2d(_with_indices)?|"
        "(adaptive_)?max_pool[12]d_with_indices|LinearCrossEntropy.*|linear_cross_entropy|"
        "MultiLabelMarginLoss|multilabel_margin_loss|pdist|grid_sample|affine_grid|(remove_)?(spectral|weight)_norm|"
        "ASGD|Rprop|LBFGS|Adafactor|Muon|histogram|histogramdd|cumulative_trapezoid|gradient"
    ),
    "streams of data without a length: not yet": ("IterableDataset|ChainDataset|StackDataset|get_worker_info"),
}


class Parameter(NamedTuple):
    """An argument: its name, its default as text (None: it must be given), and whether it goes by name only."""

    name: str
    default: str | None
    by_name: bool


def names_of(space: str) -> list[str]:
    """The public names of a namespace of PyTorch: those it lists, or else all that is its own."""
    there = BY_NAME[space]
    own = re.compile(r"torch\b(?!\._C\._(?!nn\b))|None")
    listed = getattr(there, "__all__", None) or [
        name for name in dir(there) if own.match(str(getattr(getattr(there, name, None), "__module__", None)))
    ]
    found = {name for name in listed if not name.startswith("_")}
    return sorted(name for name in found if not isinstance(getattr(there, name, None), types.ModuleType))


def reason(space: str, name: str) -> str:
    """Why a name of PyTorch's is not here."""
    plain = name.rstrip("_")
    if space == "torch" and name.endswith("_") and hasattr(minidl.Tensor, name):
        return "functions that change a tensor in place (the methods are here: `x.relu_()`)"
    if space in ("torch", "torch.Tensor") and hasattr(minidl.nn.functional, plain):
        return "second names of functions of networks (here in `nn.functional`)"
    for why, pattern in LEFT_OUT.items():
        if re.fullmatch(pattern, name) or re.fullmatch(pattern, plain):
            return why
    raise LookupError(f"docs/surface.py: {space}.{name} is neither in minidl nor has it a reason in LEFT_OUT")


# -- arguments


def parameters(function: Any, name: str, documented: bool) -> list[Parameter] | None:
    """What a function takes, by its signature or (``documented``) the head of its docstring; None where neither says it."""
    found = None
    try:
        found = [
            Parameter(p.name, None if p.default is p.empty else default_text(p.default), p.kind == p.KEYWORD_ONLY)
            for p in inspect.signature(function).parameters.values()
        ]
    except (TypeError, ValueError):
        pass
    if found and not documented:
        return found
    if found and {p.name for p in found} != {"args", "kwargs"}:
        return found
    heads = re.findall(
        rf"^[ .:a-z]*\b{name}\((.*)\)(?: *->.*)?$", re.sub(r",\s*\n\s+", ", ", inspect.getdoc(function) or ""), re.M
    )
    merged: dict[str, Parameter] = {}
    for head in heads[:4]:
        for p in parsed(head.replace("\\*", "*")):
            merged.setdefault(p.name, p)
    return list(merged.values()) or None


def default_text(value: Any) -> str:
    """A default as it would be written."""
    return getattr(value, "__name__", "...") if " at 0x" in repr(value) else repr(value)


def parsed(head: str) -> list[Parameter]:
    """The arguments written between the brackets of a signature."""
    for text in (head, re.sub(r"=[^,]*", "", head)):  # an argument that must be given may come after one that need not
        try:
            args: Any = ast.parse(f"def f({text}): pass").body[0]
        except SyntaxError:
            continue
        args = args.args
        places = [*args.posonlyargs, *args.args]
        defaults = [None] * (len(places) - len(args.defaults)) + [ast.unparse(d) for d in args.defaults]
        found = [Parameter(a.arg, d, False) for a, d in zip(places, defaults)]
        if args.vararg:
            found.append(Parameter(args.vararg.arg, None, False))
        return found + [Parameter(a.arg, d and ast.unparse(d), True) for a, d in zip(args.kwonlyargs, args.kw_defaults)]
    return []


def value_of(default: str | None) -> Any:
    """A default as a value, if it is a plain one."""
    try:
        return ast.literal_eval(str(default))
    except (ValueError, SyntaxError):
        text = str(default).replace("torch.", "").replace("minidl.", "")
        return {"long": "int64", "float": "float32"}.get(text, text)


def differences(space: str, name: str) -> tuple[list[str], list[str]] | None:
    """The arguments of PyTorch's that are missing here, and what else differs; None if PyTorch does not say what it takes."""
    theirs, ours = getattr(BY_NAME[space], name), getattr(OURS[space], name)
    if not callable(theirs) or not callable(ours):
        return [], []
    there, here = parameters(theirs, name, True), parameters(ours, name, False)
    if there is None or here is None:
        return None
    silent = ["self", "args", "kwargs", *NOWHERE, *(["reduce"] if any(p.name == "size_average" for p in there) else [])]
    there = [p for p in there if p.name not in silent and not p.name.startswith("_")]
    known = {p.name: p for p in here if p.name != "self"}
    if space == "torch.Tensor":
        known = {p.name: p for i, p in enumerate(here) if i or p.name in {q.name for q in there}}
    there = [p for p in there if p.name in known or not any(word in known for word in MISNAMED.get(p.name, "").split())]
    takes_any = "options" in known or "kwargs" in known or "args" in known
    missing = [p.name for p in there if p.name not in known and p.name != "input"]
    if takes_any or (
        any(p.name in ("bounds", "sizes", "size", "dims", "tensors", "shape") for p in known.values()) and not missing
    ):
        return [], []
    other = []
    for p in there:
        q = known.get(p.name)
        known_default = p.default not in (None, "None", "...")  # with None the docstrings also say that it may be left out
        if q and known_default and q.default is not None and value_of(p.default) != value_of(q.default):
            other.append(f"`{p.name}={q.default}` (there `{p.default}`)")
    order = [p.name for p in there if not p.by_name and p.name in known]
    mine = [n for n, p in known.items() if not p.by_name and n in order]
    if order[: len(mine)] != mine and [n for n in order if n in mine] != mine:
        other.append(f"order {', '.join(mine)}")
    return missing, other


def refusals(function: Any) -> tuple[list[str], bool]:
    """What a function or class says that it does not support, from its source; and whether it does nothing but refuse."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (TypeError, OSError, SyntaxError):
        return [], False
    said = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            text = template(node.exc.args[0])
            if getattr(node.exc.func, "id", "") == "NotImplementedError" or "not supported" in text:
                said.append(text)
    body = [n for n in getattr(tree.body[0], "body", []) if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return said, len(body) == 1 and isinstance(body[0], ast.Raise)


def template(node: ast.expr) -> str:
    """A message with ``...`` where something is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


# -- the page


def sorted_names(space: str) -> tuple[list[str], dict[str, str], dict[str, list[str]]]:
    """The names that are here, those that are here only to refuse (with what they say), and those left out by reason."""
    have, refused, left = [], {}, {}
    for name in names_of(space):
        if not hasattr(OURS[space], name):
            left.setdefault(reason(space, name), []).append(name)
            continue
        said, only = refusals(getattr(OURS[space], name))
        if only and said:
            refused[name] = said[0]
        else:
            have.append(name)
    return have, refused, left


def code(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def section(space: str) -> tuple[list[str], tuple[int, int, int, int]]:
    """The part of the page about one namespace, and its counts."""
    have, refused, left = sorted_names(space)
    lines = [f"## {space}", "", f"**Here** ({len(have)}): {code(have)}", ""]
    rows, unsaid, same = [], [], 0
    for name in have:
        found = differences(space, name)
        if found is None:
            unsaid.append(name)
        elif any(found):
            rows.append(f"| `{name}` | {code(found[0])} | {cell('; '.join(found[1]))} |")
        else:
            same += 1
    if rows:
        lines += ["| here, with other arguments | not here | differs |", "| --- | --- | --- |", *rows, ""]
    if unsaid:
        lines += [f"PyTorch does not say what these take: {code(unsaid)}", ""]
    said = [(name, text) for name in have for text in refusals(getattr(OURS[space], name))[0]] + list(refused.items())
    if said:
        lines += ["| refused | what it says |", "| --- | --- |", *(f"| `{n}` | {cell(text)} |" for n, text in said), ""]
    if left:
        lines += ["| left out: why | names |", "| --- | --- |"]
        lines += [f"| {why} | {code(names)} |" for why, names in sorted(left.items(), key=lambda item: item[0])]
        lines += [""]
    return lines, (len(have), len(rows), len(refused), sum(map(len, left.values())))


def page() -> str:
    """The whole page."""
    parts = {space: section(space) for space in SPACES}
    table = [f"| `{space}` | {' | '.join(map(str, counts))} |" for space, (_, counts) in parts.items()]
    totals = [sum(counts[i] for _, counts in parts.values()) for i in range(4)]
    head = f"""# What is here of PyTorch

Written by `python docs/surface.py`, which inspects both libraries (PyTorch {torch.__version__.split("+")[0]}): every
public name of the namespaces that a course meets, sorted into what is here, what is here and refuses, and what is left
out, with the reason. Where both have a name the arguments are compared too. Nothing is accepted and ignored: an argument
that is missing here is a `TypeError` that names it. Left out everywhere, and not repeated below, are the arguments
{code(NOWHERE)} and, of losses, `reduce`.

| namespace | here | of these with other arguments | refused | left out |
| --- | --- | --- | --- | --- |
"""
    rows = [*table, f"| in all | {' | '.join(map(str, totals))} |", ""]
    return head + "\n".join([*rows, *(line for lines, _ in parts.values() for line in lines)]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
