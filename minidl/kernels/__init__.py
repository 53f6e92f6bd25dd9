"""Loops. One contract, several providers: `reference` is the definition, `cpu` is quick, `cuda` is for NVIDIA's GPUs.

Every provider has the functions below, over arrays of its library. None of them knows calculus, and only two change an
input: ``add_at`` its ``out``, and ``blockwise`` what its function changes.

Letters: N images, C channels, F filters, G groups, H x W pixels in, I x J positions of the window out, K x L taps in a window.
Shapes are always those written here; the order in memory is the provider's own affair, but there are no gaps in it.

========================================================= ===================================================================
``matmul(a, b)``                                           (..., M, K) @ (..., K, N) -> (..., M, N)
``linear(x, w, bias, with_relu)``                          (..., K), (N, K), (N,) or None -> (..., N): rows times rows
``sum(x, dims, keepdims)``                                 the sum over some dimensions
``add_at(out, index, values)``                             ``out[index] += values``, also where an index repeats
``blockwise(function, *arrays)``                           ``function(*arrays)``, in place and elementwise, in blocks
``fused(function, steps, again)``                          ``function(*step)`` for those that a kernel can do; the others
``in_one(name, dtype)``                                    a function that takes fewer passes, or None: see below
``share(function, n, products)``                           ``function(slice)`` for slices of n items that do not meet
``running_extreme(x, dim, largest)``                       the largest (or smallest) element so far along ``dim``; NaN stays
``bits(n, seed, draw)``                                    n words of 32 random bits, the same for the same two numbers
``erf(x)``                                                 the error function of each element
``relu(x)``, ``relu_grad(g, out)``                         ``max(x, 0)``; 0 where ``out`` is at most 0, else ``g``
``softmax(x, dim)``, ``log_softmax(x, dim)``                along ``dim``
``softmax_grad(g, out, dim)``, ``log_softmax_grad(...)``   the gradient of x, from the result ``out``
``log_softmax_at(x, dim, places)``                         ``log_softmax(x)`` at one place of each line; size 1 along ``dim``
``log_softmax_at_grad(g, x, dim, places)``                 the gradient of x
``conv2d(x, w, bias, window, groups)``                     (N, C, H, W), (F, C/G, K, L), (F,) or None -> (N, F, I, J)
``conv2d_input_grad(g, w, window, groups, size)``          (N, F, I, J), (F, C/G, K, L) -> (N, C, H, W), ``size`` = (H, W)
``conv2d_weight_grad(x, g, window, groups)``               (N, C, H, W), (N, F, I, J) -> (F, C/G, K, L)
``conv2d_relu_pool(x, w, bias, window, groups, pool, ...)`` the three at once, and the taps if wanted
``max_pool2d(x, window)``                                  (N, C, H, W) -> (N, C, I, J), the largest of each window
``max_pool2d_taps(x, out, window)``                        (N, C, H, W), (N, C, I, J) -> (N, C, I, J): which tap that was
``max_pool2d_place(g, taps, window, size)``                (N, C, I, J) -> (N, C, H, W): each g added where its tap points
``max_pool2d_pick(x, taps, window)``                       (N, C, H, W) -> (N, C, I, J): what each tap points at
``sum_pool2d(x, window)``                                  (N, C, H, W) -> (N, C, I, J)
``sum_pool2d_spread(g, window, size)``                     (N, C, I, J) -> (N, C, H, W): each g added to its whole window
``unfold(x, window)``                                      (N, C, H, W) -> (N, C * K * L, I * J): what each window sees
``fold(columns, window, size)``                            (N, C * K * L, I * J) -> (N, C, H, W): each added where it was seen
``resample(x, maps)``                                      some dimensions mapped to other sizes, as in `ops.resize`
``normalise(x, weight, bias, dims, eps, ...)``              (x - center) / sqrt(variance + eps) * weight + bias, and these two
``normalise_grad(g, x, weight, center, ...)``              the gradients of x, weight and bias
========================================================= ===================================================================

What takes several functions of these may be one pass in a provider, and is then asked for by name with ``in_one``: the steps of
`minidl.sequences.steps` ("lstm", "lstm_back" and so on), "attention" and "attention_weights" (`minidl.sequences.attention`),
"class_loss" and "class_loss_grad" (`minidl.ops.loss`), "linear_grad" (`minidl.ops.linear`), "max_pool2d_grad"
(`minidl.ops.pool`), "conv2d_relu_pool_grad" (`minidl.ops.fused`), "cat" (`minidl.ops.layout`). It may also say of arguments
that it does not do it, by None. A function of elements (`minidl.ops.blocks`) is asked for by itself; what comes back is given
the number of arrays and then what the function takes.

The three convolutions are the partial derivatives of one form, ``T(x, w, g) = sum(conv2d(x, w, None) * g)``, linear in each
of its three arguments; the pooling functions come in pairs of a linear map and its transpose. The tests hold every provider to
that.
"""
