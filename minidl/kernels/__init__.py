"""Loops. One contract, several providers: `reference` is the definition, `cpu` is quick.

Every provider has the same functions over arrays; none of them knows calculus. Letters: N images, C channels,
F filters, G groups, H x W pixels in, I x J pixels out, K x L taps.
"""
