// Normalisation. An array is seen as lines: the `count` = outer * inner numbers over which the mean is taken; they lie in `outer`
// runs of `inner`, and the runs of all `lines` take turns. Of (N, C, H, W), batch normalisation has N runs of H * W in each of
// C lines, and layer normalisation over (C, H, W) one run in each of N lines.
//
// A parameter that is broadcast is an array with the rule which of its numbers belongs to element t: t / repeat % period.

#define RULE(name) const real *name, const Divisor name##_repeat, const Divisor name##_period
#define AT(name, t) name[REMAINDER(QUOTIENT(t, name##_repeat), name##_period)]
#define ELEMENT(r) ((QUOTIENT(r, inner) * lines + line) * inner.n + REMAINDER(r, inner))  // number r of a line
#define MOST_WARPS 32

// The mean of each line, unless that is given, and the mean square of the distances from it. Two passes: the square of a small
// distance is exact enough where the difference of two large squares is not. Where the lines are few, a block has only a part of
// one, `length` numbers, so that all of the GPU has work: it gives the sum of the squares, not their mean, and `merge` makes one
// line of the parts.
extern "C" __global__ void moments(
    const real* x, const real* given, real* centers, real* squares, int lines, const Divisor inner, int count, int length) {
  __shared__ real warps[MOST_WARPS];
  int line = blockIdx.x, first = blockIdx.y * length, stop = first + min(length, count - first), n = stop - first;
  real mean = given ? given[line] : real(0);
  if (!given) {
#pragma unroll 4
    for (unsigned r = first + threadIdx.x; r < stop; r += blockDim.x) mean += x[ELEMENT(r)];
    mean = block_sum(mean, warps) / n;
  }
  real square = 0, rest = 0;
#pragma unroll 4
  for (unsigned r = first + threadIdx.x; r < stop; r += blockDim.x) {
    real distance = x[ELEMENT(r)] - mean;
    square += distance * distance;
    rest += distance;
  }
  square = block_sum(square, warps);
  rest = given ? 0 : block_sum(rest, warps) / n;  // what rounding the sum of large numbers has cost the mean
  square -= n * rest * rest;
  if (threadIdx.x == 0) {
    centers[blockIdx.y * lines + line] = mean + rest;
    squares[blockIdx.y * lines + line] = gridDim.y == 1 ? square / n : square;
  }
}

// The mean and the variance of each line from those of its parts (Chan, Golub and LeVeque, Algorithms for computing the sample
// variance, The American Statistician, 1983).
extern "C" __global__ void merge(
    const real* centers, const real* squares, real* center, real* variance, int lines, int parts, int count, int length) {
  int line = THREAD;
  if (line >= lines) return;
  real mean = centers[line], square = squares[line];
  for (int p = 1, seen = length; p < parts; p++) {
    int n = min(length, count - seen);
    real distance = centers[p * lines + line] - mean, share = real(n) / (seen + n);
    mean += distance * share;
    square += squares[p * lines + line] + distance * distance * share * seen;
    seen += n;
  }
  center[line] = mean;
  variance[line] = square / count;
}

// (x - center) / sqrt(variance + eps) * weight + bias.
extern "C" __global__ void normalise(
    const real* x, real* out, int n, RULE(center), RULE(variance), RULE(weight), RULE(bias), real eps) {
  int t = THREAD;
  if (t >= n) return;
  real y = (x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps);
  if (weight) y *= AT(weight, t);
  if (bias) y += AT(bias, t);
  out[t] = y;
}

// For each line, or part of one, the sums of g * weight * standard, where standard = (x - center) / sqrt(variance + eps), and of
// g * weight: (parts, 2, lines).
extern "C" __global__ void line_sums(
    const real* g, const real* x, real* sums, int lines, const Divisor inner, int count, int length, RULE(center), RULE(variance),
    RULE(weight), real eps) {
  __shared__ real warps[MOST_WARPS];
  int line = blockIdx.x, first = blockIdx.y * length, stop = first + min(length, count - first);
  real sum = 0, product = 0;
#pragma unroll 4
  for (unsigned r = first + threadIdx.x; r < stop; r += blockDim.x) {
    int t = ELEMENT(r);
    real a = weight ? g[t] * AT(weight, t) : g[t];
    sum += a;
    product += a * ((x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps));
  }
  sum = block_sum(sum, warps);
  product = block_sum(product, warps);
  if (threadIdx.x == 0) {
    sums[(blockIdx.y * 2 + 0) * lines + line] = product;
    sums[(blockIdx.y * 2 + 1) * lines + line] = sum;
  }
}

// The gradient of x: g * weight, less the part that shifts a line's own center and the part that stretches its own variance. Those
// are told by the line's sums, of g * weight if they are `weighted`; else of g, since all of the line has one weight.
extern "C" __global__ void input_grad(
    const real* g, const real* x, real* gx, int n, RULE(along), RULE(plain), RULE(center), RULE(variance), RULE(weight),
    int weighted, int own_center, int own_variance, real count, real eps) {
  int t = THREAD;
  if (t >= n) return;
  real scale = 1 / sqrt(AT(variance, t) + eps), standard = (x[t] - AT(center, t)) * scale;
  real a = g[t], w = weight ? AT(weight, t) : real(1);
  if (weighted) a *= w;
  if (own_center) a -= AT(plain, t) / count;
  if (own_variance) a -= standard * (AT(along, t) / count);
  gx[t] = (weighted ? a : a * w) * scale;
}

// The gradients of weight and bias: sums of g * standard and of g over all elements that have the same one, p = t / repeat % period.
// A block has `across` of these side by side, and for each 256 / across threads that share the elements; `parts` blocks share
// them further, and their sums, (parts, 2, period), are added up afterwards.
extern "C" __global__ void __launch_bounds__(256) parameter_sums(
    const real* g, const real* x, real* sums, int n, const Divisor repeat, int period, int across, int parts, RULE(center),
    RULE(variance), real eps) {
  __shared__ real products[256], plains[256];
  int p = blockIdx.x * across + threadIdx.x % across, walker = threadIdx.x / across, walkers = 256 / across;
  real product = 0, plain = 0;
  if (p < period)
#pragma unroll 4
    for (unsigned r = blockIdx.y * walkers + walker; r < n / period; r += walkers * parts) {
      int t = (QUOTIENT(r, repeat) * period + p) * repeat.n + REMAINDER(r, repeat);
      product += g[t] * ((x[t] - AT(center, t)) / sqrt(AT(variance, t) + eps));
      plain += g[t];
    }
  products[threadIdx.x] = product;
  plains[threadIdx.x] = plain;
  __syncthreads();
  for (int half = walkers / 2; half; half /= 2) {
    if (walker < half) {
      products[threadIdx.x] += products[threadIdx.x + half * across];
      plains[threadIdx.x] += plains[threadIdx.x + half * across];
    }
    __syncthreads();
  }
  if (walker == 0 && p < period) {
    sums[(blockIdx.y * 2 + 0) * period + p] = products[threadIdx.x];
    sums[(blockIdx.y * 2 + 1) * period + p] = plains[threadIdx.x];
  }
}
